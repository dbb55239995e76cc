package timesync

import (
	"strings"
	"testing"

	"ingot/layers"
)

func TestConfig(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		options    Options
		has, lacks []string
	}{
		"defaults": {Options{}, []string{
			"server time.cloudflare.com iburst nts\n", "server nts.netnod.se iburst nts\n", "server ptbtime1.ptb.de iburst nts\n",
			"\nport 0\n", "\ncmdport 0\n", "\nnocerttimecheck 1\n", "\nmakestep 1.0 3\n", "\nauthselectmode require\n", "\nminsources 2\n",
		}, nil},
		"one":      {Options{[]Server{{"192.0.2.1", false}}}, []string{"server 192.0.2.1 iburst\n"}, []string{"authselectmode", "minsources", " nts\n"}},
		"some nts": {Options{[]Server{{"a.example", true}, {"b.example", false}}}, []string{"server a.example iburst nts\n", "server b.example iburst\n"}, []string{"authselectmode"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := Layer{test.options}
			if findings := l.Validate(layers.Site{}); len(findings) > 0 {
				t.Fatal(findings)
			}
			got := l.config()
			for _, s := range test.has {
				if !strings.Contains(got, s) {
					t.Errorf("%q is missing in\n%s", s, got)
				}
			}
			for _, s := range test.lacks {
				if strings.Contains(got, s) {
					t.Errorf("%q is in\n%s", s, got)
				}
			}
		})
	}
}

func TestHostileServers(t *testing.T) {
	t.Parallel()
	for _, host := range []string{
		"", "a b", "a\nport 123", "a#", "a;b", "\"a\"", "-a", "a..b", "a.", ".a", "A.example", "ä.example", "a\x00", "fe80::1%eth0", strings.Repeat("a.", 200) + "a",
	} {
		if findings := (Layer{Options{[]Server{{Host: host}}}}).Validate(layers.Site{}); len(findings) != 1 || findings[0].Advice == "" {
			t.Errorf("%.30q: %v", host, findings)
		}
	}
	for name, servers := range map[string][]Server{
		"nts by address": {{"192.0.2.1", true}},
		"twice":          {{"a.example", true}, {"a.example", false}},
	} {
		if findings := (Layer{Options{servers}}).Validate(layers.Site{}); len(findings) != 1 {
			t.Errorf("%s: %v", name, findings)
		}
	}
	many := make([]Server, 17)
	for i := range many {
		many[i].Host = strings.Repeat("a", i+1) + ".example"
	}
	if findings := (Layer{Options{many}}).Validate(layers.Site{}); len(findings) != 1 {
		t.Errorf("17 servers: %v", findings)
	}
}
