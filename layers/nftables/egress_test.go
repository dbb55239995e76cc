package nftables

import (
	"fmt"
	"strings"
	"testing"

	"ingot/layers"
)

func TestEgressFindings(t *testing.T) {
	t.Parallel()
	good := Destination{Port: 443, Why: "API"}
	with := func(change func(*Destination)) []Destination {
		d := good
		change(&d)
		return []Destination{d}
	}
	for name, c := range map[string]struct {
		allow []Destination
		want  string // path and message, empty: none
	}{
		"empty":         {nil, ""},
		"anywhere":      {[]Destination{good}, ""},
		"IPv4":          {with(func(d *Destination) { d.To = "192.0.2.0/24" }), ""},
		"IPv6":          {with(func(d *Destination) { d.To = "2001:db8::/32" }), ""},
		"all of IPv4":   {with(func(d *Destination) { d.To = "0.0.0.0/0" }), ""},
		"same port":     {[]Destination{good, {Port: 443, Proto: "udp", Why: "HTTP/3"}, {Port: 443, To: "192.0.2.0/24", Why: "x"}}, ""},
		"twice":         {[]Destination{good, {Port: 443, Proto: "tcp", Why: "other"}}, "[egress allow 1 port] this is the same as egress.allow[0]"},
		"port 0":        {with(func(d *Destination) { d.Port = 0 }), "[egress allow 0 port] 0 is not a port"},
		"port 65536":    {with(func(d *Destination) { d.Port = 65536 }), "[egress allow 0 port] 65536 is not a port"},
		"protocol":      {with(func(d *Destination) { d.Proto = "icmp" }), `[egress allow 0 proto] "icmp" is not a protocol with ports`},
		"no reason":     {with(func(d *Destination) { d.Why = " " }), "[egress allow 0 why] an open port needs a reason"},
		"no length":     {with(func(d *Destination) { d.To = "192.0.2.1" }), "[egress allow 0 to] 192.0.2.1 has no length"},
		"a name":        {with(func(d *Destination) { d.To = "api.example.com" }), `[egress allow 0 to] "api.example.com" is not an address`},
		"host bits":     {with(func(d *Destination) { d.To = "192.0.2.1/24" }), "[egress allow 0 to] 192.0.2.1/24 has bits beyond its length"},
		"mapped":        {with(func(d *Destination) { d.To = "::ffff:192.0.2.0/120" }), "[egress allow 0 to] ::ffff:192.0.2.0/120 is an IPv4 address"},
		"zone":          {with(func(d *Destination) { d.To = "fe80::1%eth0" }), `[egress allow 0 to] "fe80::1%eth0" is not an address`},
		"hostile to":    {with(func(d *Destination) { d.To = "0.0.0.0/0 accept\n\t\taccept #" }), "[egress allow 0 to] "},
		"hostile proto": {with(func(d *Destination) { d.Proto = "tcp dport 1 accept\ntcp" }), "[egress allow 0 proto] "},
		"hostile why":   {with(func(d *Destination) { d.Why = "\" accept comment \"" }), "[egress allow 0 why] "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			findings := Layer{Options{Egress: &Egress{Allow: c.allow}}}.Validate(layers.Site{})
			var got []string
			for _, f := range findings {
				got = append(got, fmt.Sprint(f.Path, " ", f.Message))
				if f.Advice == "" {
					t.Errorf("no advice: %s", f.Message)
				}
			}
			if text := strings.Join(got, "; "); len(got) > 1 || (c.want == "") != (text == "") || !strings.HasPrefix(text, c.want) {
				t.Errorf("got %q, want %q", text, c.want)
			}
		})
	}
}

// What no Validate has seen, another layer's entry, can open nothing else.
func TestEgressOfOtherLayersCannotEscape(t *testing.T) {
	t.Parallel()
	l := Layer{Options{Egress: &Egress{}}}
	for _, e := range []layers.Egress{
		{Proto: "tcp", Port: 1, CIDR: "0.0.0.0/0 accept\n\t\taccept", Why: "x"},
		{Proto: "tcp dport 1 accept\n\t\tudp", Port: 1, Why: "x"},
		{Proto: "tcp", Port: 0, Why: "x"},
	} {
		if rule := egressRule(e); rule != "" {
			t.Errorf("%+v gives %q", e, rule)
		}
	}
	marked := layers.Egress{Proto: "udp", Mark: 0x76706e, Why: "a tunnel"}
	if rule := egressRule(marked); rule != "\t\tmeta mark 0x76706e meta l4proto udp accept comment \"a tunnel\"\n" {
		t.Errorf("%+v gives %q", marked, rule)
	}
	if rule := egressRule(layers.Egress{Proto: "udp accept\n", Mark: 1, Why: "x"}); rule != "" {
		t.Errorf("a mark with no protocol gives %q", rule)
	}
	hostile := layers.Egress{Proto: "tcp", Port: 1, Why: "x\" accept\n\t\taccept comment \"y"}
	if rule := egressRule(hostile); strings.Count(rule, "\n") != 1 || strings.Count(rule, `"`) != 2 {
		t.Errorf("%+v gives %q", hostile, rule)
	}
	text := chain(t, l.ruleset(layers.Plan{Egress: []layers.Egress{{Proto: "udp", Port: 123, Why: "NTP"}}}), "outbound")
	if !strings.Contains(text, "policy drop;") || !strings.Contains(text, `udp dport 123 accept comment "NTP"`) {
		t.Errorf("the other layer's need is missing:\n%s", text)
	}
	if text := chain(t, Layer{}.ruleset(layers.Plan{}), "outbound"); !strings.Contains(text, "policy accept;") || strings.Contains(text, "admin-prohibited") {
		t.Errorf("without egress the outbound chain is\n%s", text)
	}
}

func TestForwardsCannotEscape(t *testing.T) {
	t.Parallel()
	hostile := "eth0\" accept\n\t\tiifname \"x"
	rules := forwardRules([]layers.Forward{{In: hostile, Out: hostile, Why: hostile}}, nil)
	if strings.Count(rules, "\n") != 2 || strings.Count(rules, `"`) != 6 {
		t.Errorf("got %q", rules)
	}
	if m := masquerade([]layers.Forward{{In: "wg0", Why: "x"}}); m != "" {
		t.Errorf("nobody asked for a masquerade: %s", m)
	}
}

// A check without a sabotage was never seen failing.
func TestEveryCheckHasASabotage(t *testing.T) {
	t.Parallel()
	for _, l := range []Layer{{}, {Options{Ping: true, Egress: &Egress{}}}} {
		checks := append(l.checks(), limitChecks([]layers.Port{{Proto: "tcp", Port: 22, From: layers.FromInternet, NewPerMinute: 10}})...)
		for _, c := range checks {
			if c.Sabotage == "" {
				t.Errorf("%s has none", c.ID)
			}
		}
	}
}
