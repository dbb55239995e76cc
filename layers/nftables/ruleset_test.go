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

// Containers' ports pass to their bridge alone, and what leaves a bridge goes
// neither into the tunnel nor to another bridge.
func TestForwardsOfContainers(t *testing.T) {
	t.Parallel()
	rules := forwardRules([]layers.Forward{
		{In: layers.TunnelInterface, Out: "ct-a", Proto: "tcp", Port: 80, Why: "peers"},
		{Out: "ct-a", Proto: "udp", Port: 53, Why: "everybody"},
		{In: "ct-b", Out: "ct-b", Why: "among them"},
		{In: "ct-a", Why: "out"},
	}, nil)
	for _, want := range []string{
		`iifname "wg0" oifname "ct-a" meta l4proto tcp ct status dnat ct original proto-dst 80 accept comment "peers"`,
		`iifname != "ct-a" oifname "ct-a" meta l4proto udp ct status dnat ct original proto-dst 53 accept comment "everybody"`,
		`iifname "ct-a" oifname != { "ct-a", "ct-b", "wg0" } accept comment "out"`,
	} {
		if !strings.Contains(rules, want) {
			t.Errorf("%s is not in\n%s", want, rules)
		}
	}
}

// The allowlist of the machine holds for its containers, and not for its peers.
func TestEgressOfContainers(t *testing.T) {
	t.Parallel()
	rules := forwardRules([]layers.Forward{{In: "ct-a", Why: "out"}, {In: layers.TunnelInterface, Why: "a full tunnel"}}, &Egress{Allow: []Destination{
		{Port: 443, To: "192.0.2.0/24", Why: "the model's API"}, {Port: 123, Proto: "udp", Why: "time"},
	}})
	want := `		iifname "ct-a" oifname != { "ct-a", "wg0" } ip daddr 192.0.2.0/24 tcp dport 443 accept comment "the model's API"
		iifname "ct-a" oifname != { "ct-a", "wg0" } udp dport 123 accept comment "time"
		iifname "ct-a" oifname != { "ct-a", "wg0" } reject with icmpx admin-prohibited comment "not in the allowlist"
		iifname "wg0" oifname != { "ct-a", "wg0" } accept comment "a full tunnel"
`
	if _, got, _ := strings.Cut(rules, "drop }\n"); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// A container reaches the resolver of its network, and nothing that the internet
// may reach.
func TestContainersAreNoStrangers(t *testing.T) {
	t.Parallel()
	web := layers.Port{Proto: "tcp", Port: 443, From: layers.FromInternet, Why: "web"}
	names := layers.Port{Proto: "udp", Port: 53, From: layers.FromContainers, Why: "names"}
	without, with := Layer{}.ruleset(layers.Plan{Ports: []layers.Port{web}}), Layer{}.ruleset(layers.Plan{Ports: []layers.Port{web, names}})
	if strings.Contains(without, "ct-") || !strings.Contains(without, "\n\t\tjump from_internet\n") {
		t.Errorf("a machine without containers has rules for them:\n%s", without)
	}
	for _, want := range []string{
		"\t\tiifname \"ct-*\" jump from_containers\n\t\tiifname != \"ct-*\" jump from_internet\n",
		"\tchain from_containers {\n\t\tudp dport 53 accept comment \"names\"\n\t}\n",
	} {
		if !strings.Contains(with, want) {
			t.Errorf("%s is not in\n%s", want, with)
		}
	}
}
