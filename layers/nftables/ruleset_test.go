package nftables

import (
	"strings"
	"testing"
	"unicode/utf8"

	"ingot/layers"
)

func TestPortsLandInTheirChain(t *testing.T) {
	t.Parallel()
	text := Layer{}.ruleset(layers.Plan{Ports: []layers.Port{
		{Proto: "tcp", Port: 1, From: layers.FromInternet, Why: "a"},
		{Proto: "udp", Port: 2, From: layers.FromWireGuard, Why: "b"},
		{Proto: "tcp", Port: 3, From: layers.FromLoopback, Why: "c"},
	}})
	internet, tunnel := chain(t, text, "from_internet"), chain(t, text, "from_tunnel")
	for _, c := range []struct {
		rule             string
		internet, tunnel bool
	}{
		{`tcp dport 1 accept comment "a"`, true, false},
		{`udp dport 2 accept comment "b"`, false, true},
		{`dport 3 `, false, false},
		{`echo-request`, false, true},
	} {
		if strings.Contains(internet, c.rule) != c.internet || strings.Contains(tunnel, c.rule) != c.tunnel {
			t.Errorf("%s is in the wrong chain:\n%s\n%s", c.rule, internet, tunnel)
		}
	}
	if !strings.Contains(chain(t, Layer{Options{Ping: true}}.ruleset(layers.Plan{}), "from_internet"), "echo-request") {
		t.Error("ping does not open echo")
	}
}

func chain(t *testing.T, text, name string) string {
	t.Helper()
	_, after, found := strings.Cut(text, "chain "+name+" {\n")
	body, _, closed := strings.Cut(after, "\t}\n")
	if !found || !closed {
		t.Fatalf("no chain %s", name)
	}
	return body
}

// A reason of another layer's must not become a rule.
func TestCommentCannotEscape(t *testing.T) {
	t.Parallel()
	for _, why := range []string{"a\" accept\n\t\ttcp dport 22 accept comment \"b", strings.Repeat("é", 100), "\\\"\x00"} {
		rule := portRules([]layers.Port{{Proto: "tcp", Port: 1, From: layers.FromInternet, Why: why}}, layers.FromInternet)
		if strings.Count(rule, "\n") != 1 || strings.Count(rule, `"`) != 2 || !utf8.ValidString(rule) || len(comment(why)) > maxWhy {
			t.Errorf("%q gives %q", why, rule)
		}
	}
	for _, why := range []string{"HTTPS", "it's # fine; {really} $x", "日本"} {
		if whyProblem(why) != "" || comment(why) != why {
			t.Errorf("%q is changed or refused", why)
		}
	}
}

func TestFinishUsesTheWholeTable(t *testing.T) {
	t.Parallel()
	other := layers.Port{Proto: "udp", Port: 7777, From: layers.FromInternet, Why: "another layer's"}
	got := Layer{}.Finish(layers.Plan{Ports: []layers.Port{other}})
	if len(got.Image.Files) != 1 || !strings.Contains(got.Image.Files[0].Contents, "udp dport 7777 accept") {
		t.Errorf("the port is missing: %+v", got)
	}
}
