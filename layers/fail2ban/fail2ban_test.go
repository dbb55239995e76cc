package fail2ban

import (
	"strings"
	"testing"

	"ingot/layers"
)

func TestJails(t *testing.T) {
	t.Parallel()
	l := Layer{Options{MaxRetry: 5, FindTime: "30m", BanTime: "2h", Recidive: Recidive{Bans: 3, FindTime: "2w", BanTime: "60d"}, Ignore: []string{"198.51.100.0/24"}}}
	plan := layers.Plan{Ports: []layers.Port{
		{Layer: "ssh", Proto: "tcp", Port: 2222, From: layers.FromInternet}, {Layer: "ssh", Proto: "tcp", Port: 2222, From: layers.FromWireGuard},
		{Layer: "nftables", Proto: "tcp", Port: 443, From: layers.FromInternet},
	}}
	for name, c := range map[string]struct {
		layer          Layer
		sshd, recidive []string
	}{
		"defaults": {Layer{}, []string{"maxretry = 3", "findtime = 24h", "bantime = 24h"}, []string{"maxretry = 2", "findtime = 7d", "bantime = 30d"}},
		"options":  {l, []string{"port = 2222", "maxretry = 5", "findtime = 30m", "bantime = 2h"}, []string{"maxretry = 3", "findtime = 2w", "bantime = 60d"}},
	} {
		files := c.layer.Finish(plan).Image.Files
		if len(files) != 1 {
			t.Fatalf("%s: %d files", name, len(files))
		}
		head, rest, _ := strings.Cut(files[0].Contents, "\n[sshd]\n")
		sshd, recidive, _ := strings.Cut(rest, "\n[recidive]\n")
		for _, want := range c.sshd {
			if !strings.Contains(sshd, want+"\n") {
				t.Errorf("%s: %q is not in\n%s", name, want, sshd)
			}
		}
		for _, want := range c.recidive {
			if !strings.Contains(recidive, want+"\n") {
				t.Errorf("%s: %q is not in\n%s", name, want, recidive)
			}
		}
		if want := strings.Join(append([]string{"ignoreip = 127.0.0.0/8", "::1"}, c.layer.Options.Ignore...), " ") + "\n"; !strings.Contains(head, want) {
			t.Errorf("%s: %q is not in\n%s", name, want, head)
		}
	}
}

// The script and the rule must speak of the interface that the plan speaks of.
func TestTunnelIsLeftOut(t *testing.T) {
	t.Parallel()
	if !strings.Contains(ignoreScript, " dev "+layers.TunnelInterface+" ") {
		t.Error("fail2ban-ignore asks about another interface than the tunnel's")
	}
	if !strings.Contains(nftAction, " "+layers.TunnelInterface+" ") {
		t.Error("the rule leaves out another interface than the tunnel's")
	}
	if !strings.Contains(rereadScript, `"`+database+`"`) || !strings.Contains(rereadScript, `'`+recidiveJail+`'`) {
		t.Error("fail2ban-reread clears another database or jail than the layer's")
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		options Options
		path    []any // nil is fine
		message string
	}{
		"defaults":              {Options{}, nil, ""},
		"longer":                {Options{BanTime: "3d", Recidive: Recidive{Bans: 3, FindTime: "7d", BanTime: "4d"}}, nil, ""},
		"addresses":             {Options{Ignore: []string{"192.0.2.1", "2001:db8::/32", "198.51.100.0/24"}}, nil, ""},
		"negative":              {Options{MaxRetry: -1}, []any{"maxRetry"}, "not a limit"},
		"many":                  {Options{MaxRetry: 101}, []any{"maxRetry"}, "not a limit"},
		"one ban":               {Options{Recidive: Recidive{Bans: 1}}, []any{"recidive", "bans"}, "not a second tier"},
		"no unit":               {Options{FindTime: "24"}, []any{"findTime"}, "not a duration"},
		"go's":                  {Options{FindTime: "1h30m"}, []any{"findTime"}, "not a duration"},
		"short":                 {Options{FindTime: "59s"}, []any{"findTime"}, "too short or too long"},
		"for ever":              {Options{BanTime: "-1"}, []any{"banTime"}, "not a duration"},
		"too long":              {Options{BanTime: "366d"}, []any{"banTime"}, "too short or too long"},
		"overflow":              {Options{BanTime: "99999999w"}, []any{"banTime"}, ""},
		"never fires":           {Options{BanTime: "7d"}, []any{"recidive", "findTime"}, "could never fire"},
		"three never fire":      {Options{Recidive: Recidive{Bans: 8}}, []any{"recidive", "findTime"}, "could never fire"},
		"not longer":            {Options{Recidive: Recidive{BanTime: "24h"}}, []any{"recidive", "banTime"}, "not longer"},
		"everybody":             {Options{Ignore: []string{"192.0.2.1", "0.0.0.0/0"}}, []any{"ignore", 1}, "nobody would ever be banned"},
		"everybody over IPv6":   {Options{Ignore: []string{"::/0"}}, []any{"ignore", 0}, "nobody would ever be banned"},
		"host bits":             {Options{Ignore: []string{"192.0.2.1/24"}}, []any{"ignore", 0}, "bits set"},
		"a name":                {Options{Ignore: []string{"example.com"}}, []any{"ignore", 0}, "not an address"},
		"a zone":                {Options{Ignore: []string{"fe80::1%eth0"}}, []any{"ignore", 0}, "not an address"},
		"IPv4 in IPv6":          {Options{Ignore: []string{"::ffff:192.0.2.1"}}, []any{"ignore", 0}, "not an address"},
		"empty address":         {Options{Ignore: []string{""}}, []any{"ignore", 0}, "not an address"},
		"a line more":           {Options{Ignore: []string{"192.0.2.1\nignorecommand = true"}}, []any{"ignore", 0}, "not an address"},
		"two addresses":         {Options{Ignore: []string{"192.0.2.1 0.0.0.0/0"}}, []any{"ignore", 0}, "not an address"},
		"interpolation":         {Options{Ignore: []string{"%(known/ignoreip)s"}}, []any{"ignore", 0}, "not an address"},
		"a duration's line":     {Options{FindTime: "24h\nmaxretry = 999"}, []any{"findTime"}, "not a duration"},
		"a duration's end":      {Options{FindTime: "24h\n"}, []any{"findTime"}, "not a duration"},
		"a ban's section":       {Options{BanTime: "24h\n[sshd]\nenabled = false"}, []any{"banTime"}, "not a duration"},
		"a second tier's shell": {Options{Recidive: Recidive{BanTime: "$(reboot)d"}}, []any{"recidive", "banTime"}, "not a duration"},
	} {
		findings := Layer{c.options}.Validate(layers.Site{})
		if c.path == nil {
			if len(findings) > 0 {
				t.Errorf("%s: %+v", name, findings)
			}
			continue
		}
		if len(findings) != 1 || !strings.Contains(findings[0].Message, c.message) || findings[0].Advice == "" || !equal(findings[0].Path, c.path) {
			t.Errorf("%s: got %+v, want one at %v that says %q", name, findings, c.path, c.message)
		}
	}
}

func equal(a, b []any) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// A check that was never seen failing is none.
func TestEveryCheckHasASabotage(t *testing.T) {
	t.Parallel()
	for _, c := range (Layer{}).Contribute(layers.Site{}).Checks {
		if c.Sabotage == "" {
			t.Errorf("%s has none", c.ID)
		}
	}
}
