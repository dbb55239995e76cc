package openstack

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/portsecurity"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/rules"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"

	"ingot/providers"
)

// guarded is a wall on a port that a machine could have: it has the project's default
// group, as a server has that somebody else made.
func guarded(t *testing.T, p *Provider) (providers.Wall, string) {
	t.Helper()
	network, err := p.findNetwork(t.Context(), "inside", false)
	if err != nil {
		t.Fatal(err)
	}
	_, e := journalFor(t, p)
	collect(t, p, e)
	server := providers.Server{ID: "server-of-" + e.ID, Name: "claw", Labels: map[string]string{providers.LabelID: e.ID, providers.LabelServer: "claw"}}
	port, err := ports.Create(t.Context(), p.network, ports.CreateOpts{NetworkID: network, DeviceID: server.ID, Description: markOf(server.Labels).text()}).Extract()
	if err != nil {
		t.Fatal(err)
	}
	w, err := p.Wall(t.Context(), server)
	if err != nil {
		t.Fatal(err)
	}
	return w, port.ID
}

func apply(t *testing.T, w providers.Wall, exclusive bool, want ...providers.Rule) providers.Plan {
	t.Helper()
	plan, err := providers.Apply(t.Context(), w, want, exclusive)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func read(t *testing.T, w providers.Wall) providers.State {
	t.Helper()
	state, err := w.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// owned are our rules as they are read.
func owned(t *testing.T, w providers.Wall) (list []providers.Rule) {
	for _, i := range read(t, w).Rules {
		if i.Owned {
			list = append(list, i.Rule)
		}
	}
	providers.Sort(list)
	return list
}

func TestWall(t *testing.T) {
	c := needCloud(t)
	var seen log
	p := c.open(t, Options{Transport: watch{before: seen.note}})
	w, _ := guarded(t, p)
	if state := read(t, w); state.Active || len(state.Rules) != 1 || !strings.HasPrefix(state.Rules[0].Opaque, "security group default: ") || state.Rules[0].Owned {
		t.Errorf("at first it reads %+v", state)
	}
	long := strings.Repeat("ü", 300)
	want := []providers.Rule{
		wireguard,
		rule4("tcp", 8000, 8010, long),
		{Proto: "tcp", From: 22, To: 22, Source: netip.MustParsePrefix("2001:db8::/32"), Why: "SSH"},
		rule4("icmp", 8, 8, "ping"),
		rule4("icmp", 0, 0, "the answers to pings"),
		{Proto: "icmpv6", From: 128, To: 128, Source: netip.MustParsePrefix("::/0"), Why: "ping"},
		{Proto: "icmpv6", From: -1, To: -1, Source: netip.MustParsePrefix("fe80::/10"), Why: "neighbours"},
	}
	seen.take()
	plan := apply(t, w, false, want...)
	if len(plan.Add) != len(want) || !plan.Activate || len(plan.Foreign) != 1 {
		t.Errorf("the plan was\n%s", plan.Text())
	}
	lines := seen.take()
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, "PUT /v2.0/ports/") || len(lines) != len(want)+2 {
		t.Errorf("it has to be activated last, and was done: %v", lines)
	}
	state := read(t, w)
	if !state.Active {
		t.Error("it is not active")
	}
	have := owned(t, w)
	sorted := slices.Clone(want)
	providers.Sort(sorted)
	if len(have) != len(sorted) {
		t.Fatalf("it has %v, not %v", have, sorted)
	}
	for n, r := range sorted {
		if r.Why == long {
			r.Why = strings.Repeat("ü", maxDescription-len(ruleMark)-2) + "…"
		}
		if have[n] != r {
			t.Errorf("it has %+v, not %+v", have[n], r)
		}
	}
	seen.take()
	if plan := apply(t, w, false, want...); !plan.Empty() {
		t.Errorf("the second plan is\n%s", plan.Text())
	}
	if lines := seen.take(); len(lines) != 0 {
		t.Errorf("the second time was sent: %v", lines)
	}
	apply(t, w, false, wireguard, rule4("tcp", 443, 443, "HTTPS"))
	lines = seen.take()
	if len(lines) != 7 || !strings.HasPrefix(lines[0], "POST") || slices.ContainsFunc(lines[1:], func(l string) bool { return !strings.HasPrefix(l, "DELETE") }) {
		t.Errorf("rules have to be added before others are removed: %v", lines)
	}
}

// What others have put there is shown, stays, and goes when that is asked for.
func TestWallForeign(t *testing.T) {
	c := needCloud(t)
	p := c.open(t, Options{})
	w, port := guarded(t, p)
	apply(t, w, false, wireguard)
	group, _, err := w.(*wall).group(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	byHand := func(o rules.CreateOpts) {
		t.Helper()
		o.SecGroupID, o.Direction = group, rules.DirIngress
		if err := rules.Create(t.Context(), p.network, o).Err; err != nil {
			t.Fatal(err)
		}
	}
	byHand(rules.CreateOpts{EtherType: rules.EtherType4, Protocol: rules.ProtocolTCP, PortRangeMin: 80, PortRangeMax: 80, Description: "mine"})
	byHand(rules.CreateOpts{EtherType: rules.EtherType4, Protocol: rules.ProtocolSCTP})
	byHand(rules.CreateOpts{EtherType: rules.EtherType4, RemoteGroupID: group})
	byHand(rules.CreateOpts{EtherType: rules.EtherType4, Protocol: rules.ProtocolICMP, PortRangeMin: 3, PortRangeMax: 4})
	plan := apply(t, w, false, wireguard)
	if !plan.Empty() || len(plan.Foreign) != 5 {
		t.Errorf("the plan is\n%s", plan.Text())
	}
	// Neutron has no second rule that does the same: theirs has to do.
	http80 := rule4("tcp", 80, 80, "HTTP")
	apply(t, w, false, wireguard, http80)
	if have := owned(t, w); len(have) != 2 {
		t.Errorf("ours are %v", have)
	}
	apply(t, w, true, wireguard)
	if state := read(t, w); len(state.Rules) != 1 || !state.Active {
		t.Errorf("alone it reads %+v", state)
	}
	x, err := ports.Get(t.Context(), p.network, port).Extract()
	if err != nil || !slices.Equal(x.SecurityGroups, []string{group}) {
		t.Errorf("the port has the groups %v, %v", x, err)
	}
	all, err := p.listGroups(t.Context())
	if err != nil || !slices.ContainsFunc(all, func(g groups.SecGroup) bool { return g.Name == "default" && len(g.Rules) > 2 }) {
		t.Errorf("the default group has lost its rules: %v, %v", all, err)
	}
	pages, err := rules.List(p.network, rules.ListOpts{SecGroupID: group, Direction: "egress"}).AllPages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if out, err := rules.ExtractRules(pages); err != nil || len(out) != 2 {
		t.Errorf("the rules for what goes out: %v, %v", out, err)
	}
}

// A port that is not filtered at all is not taken for guarded, and is afterwards.
func TestWallWithoutPortSecurity(t *testing.T) {
	c := needCloud(t)
	p := c.open(t, Options{})
	w, port := guarded(t, p)
	off := false
	err := ports.Update(t.Context(), p.network, port, portsecurity.PortUpdateOptsExt{UpdateOptsBuilder: ports.UpdateOpts{SecurityGroups: &[]string{}}, PortSecurityEnabled: &off}).Err
	if err != nil {
		t.Fatal(err)
	}
	if read(t, w).Active {
		t.Error("it is active without port security")
	}
	apply(t, w, false, wireguard)
	if state := read(t, w); !state.Active || len(state.Rules) != 1 {
		t.Errorf("afterwards it reads %+v", state)
	}
}

// Somebody changes the port between our look and our write: what they did stays.
func TestWallRace(t *testing.T) {
	c := needCloud(t)
	var other func()
	p := c.open(t, Options{Transport: watch{before: func(r *http.Request) error {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/ports/") && other != nil {
			do := other
			other = nil
			do()
		}
		return nil
	}}})
	w, port := guarded(t, p)
	theirs, err := groups.Create(t.Context(), p.network, groups.CreateOpts{Name: "late"}).Extract()
	if err != nil {
		t.Fatal(err)
	}
	other = func() {
		x, err := ports.Get(t.Context(), p.network, port).Extract()
		if err != nil {
			t.Fatal(err)
		}
		list := append(x.SecurityGroups, theirs.ID)
		if err := ports.Update(t.Context(), p.network, port, ports.UpdateOpts{SecurityGroups: &list}).Err; err != nil {
			t.Error(err)
		}
	}
	apply(t, w, false, wireguard)
	x, err := ports.Get(t.Context(), p.network, port).Extract()
	if err != nil || len(x.SecurityGroups) != 3 || !slices.Contains(x.SecurityGroups, theirs.ID) {
		t.Errorf("the port has the groups %v, %v", x.SecurityGroups, err)
	}
}
