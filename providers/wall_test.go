package providers

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"ingot/layers"
)

var (
	wireguard4 = Rule{"udp", 51820, 51820, anywhere4, "WireGuard"}
	wireguard6 = Rule{"udp", 51820, 51820, anywhere6, "WireGuard"}
	https4     = Rule{"tcp", 443, 443, anywhere4, "HTTPS"}
	ssh4       = Rule{"tcp", 22, 22, anywhere4, "first SSH"}
)

func TestRules(t *testing.T) {
	t.Parallel()
	ports := []layers.Port{
		{Proto: "udp", Port: 51820, From: layers.FromInternet, Why: "WireGuard"},
		{Proto: "tcp", Port: 22, From: layers.FromWireGuard, Why: "SSH"},
		{Proto: "udp", Port: 61820, From: layers.FromNobody, Why: "VPN"},
		{Proto: "tcp", Port: 8080, From: layers.FromLoopback, Why: "app"},
	}
	if got := Rules(ports, false); !slices.Equal(got, []Rule{wireguard4, wireguard6}) {
		t.Errorf("%v", got)
	}
	got := Rules(ports, true)
	if len(got) != 4 || got[0].String() != "icmp type 8 from 0.0.0.0/0" || got[1].String() != "icmpv6 type 128 from ::/0" {
		t.Errorf("with ping: %v", got)
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	ours := func(r Rule) Installed { return Installed{Rule: r, ID: r.String(), Owned: true} }
	theirs := func(r Rule) Installed { return Installed{Rule: r, ID: "their " + r.String()} }
	tests := map[string]struct {
		want      []Rule
		have      State
		exclusive bool
		text      string
	}{
		"nothing there":   {[]Rule{wireguard4}, State{}, false, "+ udp 51820 from 0.0.0.0/0  # WireGuard\n! the firewall is not active, and will be\n"},
		"all there":       {[]Rule{wireguard4}, State{true, []Installed{ours(wireguard4)}}, false, "= udp 51820 from 0.0.0.0/0  # WireGuard\n"},
		"one too many":    {[]Rule{wireguard4}, State{true, []Installed{ours(wireguard4), ours(ssh4)}}, false, "- tcp 22 from 0.0.0.0/0  # first SSH\n= udp 51820 from 0.0.0.0/0  # WireGuard\n"},
		"twice":           {[]Rule{wireguard4}, State{true, []Installed{ours(wireguard4), ours(wireguard4)}}, false, "- udp 51820 from 0.0.0.0/0  # WireGuard\n= udp 51820 from 0.0.0.0/0  # WireGuard\n"},
		"another's":       {[]Rule{wireguard4}, State{true, []Installed{ours(wireguard4), theirs(https4)}}, false, "= udp 51820 from 0.0.0.0/0  # WireGuard\n? tcp 443 from 0.0.0.0/0  # not made by Ingot, stays; --exclusive removes it\n"},
		"another's, same": {[]Rule{https4}, State{true, []Installed{theirs(https4)}}, false, "+ tcp 443 from 0.0.0.0/0  # HTTPS\n? tcp 443 from 0.0.0.0/0  # not made by Ingot, stays; --exclusive removes it\n"},
		"exclusive":       {[]Rule{wireguard4}, State{true, []Installed{ours(wireguard4), theirs(https4)}}, true, "- tcp 443 from 0.0.0.0/0  # HTTPS\n= udp 51820 from 0.0.0.0/0  # WireGuard\n"},
		"exclusive, same": {[]Rule{https4}, State{true, []Installed{theirs(https4)}}, true, "= tcp 443 from 0.0.0.0/0  # HTTPS\n"},
		"opaque":          {[]Rule{https4}, State{true, []Installed{ours(https4), {Opaque: "allow all of group web"}}}, false, "= tcp 443 from 0.0.0.0/0  # HTTPS\n? allow all of group web  # not made by Ingot, stays; --exclusive removes it\n"},
		"other family":    {[]Rule{wireguard6}, State{true, []Installed{ours(wireguard4)}}, false, "+ udp 51820 from ::/0  # WireGuard\n- udp 51820 from 0.0.0.0/0  # WireGuard\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := Compare(test.want, test.have, test.exclusive).Text(); got != test.text {
				t.Errorf("got\n%swant\n%s", got, test.text)
			}
		})
	}
	if !(Rule{Proto: "tcp", From: 1, To: 1, Source: netip.MustParsePrefix("10.1.2.3/8")}).Does(Rule{Proto: "tcp", From: 1, To: 1, Source: netip.MustParsePrefix("10.0.0.0/8"), Why: "x"}) {
		t.Error("the same network written in two ways is two")
	}
}

// memory is a wall that shows what it has been told only after some reads.
type memory struct {
	now, shown State
	lag, left  int
	calls      []string
	broken     error
}

func (m *memory) Read(context.Context) (State, error) {
	if m.left--; m.left <= 0 {
		m.shown = State{m.now.Active, slices.Clone(m.now.Rules)}
	}
	return m.shown, nil
}

func (m *memory) Change(_ context.Context, add []Rule, remove []Installed) error {
	m.calls = append(m.calls, "change")
	for _, r := range add {
		m.now.Rules = append(m.now.Rules, Installed{Rule: r, ID: r.String(), Owned: true})
	}
	for _, r := range remove {
		m.now.Rules = slices.DeleteFunc(m.now.Rules, func(i Installed) bool { return i.ID == r.ID })
	}
	m.left = m.lag
	return m.broken
}

func (m *memory) Activate(context.Context) error {
	m.calls = append(m.calls, "activate")
	m.now.Active, m.left = true, m.lag
	return nil
}

func TestApply(t *testing.T) {
	defer func(was struct{ deadline, pause time.Duration }) { settle = was }(settle)
	settle.pause = time.Millisecond
	want := []Rule{wireguard4, wireguard6}
	m := &memory{lag: 5, now: State{Rules: []Installed{{Rule: ssh4, ID: "old", Owned: true}}}}
	if _, err := Apply(t.Context(), m, want, false); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(m.calls, []string{"change", "activate"}) || m.left > 0 {
		t.Errorf("calls %v, %d reads before it shows", m.calls, m.left)
	}
	if plan, err := Apply(t.Context(), m, want, false); err != nil || !plan.Empty() || len(m.calls) != 2 {
		t.Errorf("the second time: %v, %v, calls %v", plan, err, m.calls)
	}
	settle.deadline = 20 * time.Millisecond
	m = &memory{lag: 1 << 30}
	if _, err := Apply(t.Context(), m, want, false); err == nil || !strings.Contains(err.Error(), "+ udp 51820 from ::/0") {
		t.Errorf("never shown: %v", err)
	}
	m = &memory{broken: errors.New("no")}
	if _, err := Apply(t.Context(), m, want, false); err == nil || slices.Contains(m.calls, "activate") {
		t.Errorf("%v, calls %v: switched on without its rules", err, m.calls)
	}
}
