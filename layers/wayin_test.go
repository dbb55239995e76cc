package layers_test

import (
	"strings"
	"testing"

	"ingot/layers"
	"ingot/layers/admin"
	"ingot/layers/nftables"
	"ingot/layers/ssh"
	"ingot/layers/wireguard"
)

// open is the merged plan of a server that its owner can reach.
func open(t *testing.T, more ...layers.Layer) layers.Plan {
	t.Helper()
	site := layers.Site{Name: "a", Admin: layers.Admin{User: "clawadmin", Keys: []string{"ssh-ed25519 AAAA"}}}
	plan, conflicts := layers.Merge(site, append([]layers.Layer{
		admin.Layer{}, ssh.Layer{}, nftables.Layer{},
		wireguard.Layer{Options: wireguard.Options{Peers: []wireguard.Peer{{Name: "laptop", Address: "10.8.0.2"}}}},
	}, more...))
	if len(conflicts) > 0 {
		t.Fatal(conflicts)
	}
	return plan
}

func TestWayIn(t *testing.T) {
	t.Parallel()
	if missing := layers.WayIn(open(t)); len(missing) > 0 {
		t.Fatalf("the way in is complete: %+v", missing)
	}
}

// TestWayInLinks takes out each link of the way in; the one finding names it
// and the layer to repair.
func TestWayInLinks(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cut               func(*layers.Plan)
		layer, link, says string
	}{
		"no key":              {func(p *layers.Plan) { p.Logins[0].Keys = 0 }, "admin", "key", "clawadmin has no key"},
		"no login":            {func(p *layers.Plan) { p.Logins = nil }, "admin", "login", "no account that could"},
		"no account":          {func(p *layers.Plan) { p.Image.Users = nil }, "admin", "account", "no account clawadmin"},
		"no shell":            {func(p *layers.Plan) { p.Image.Users[0].Shell = "/usr/sbin/nologin" }, "admin", "shell", "/usr/sbin/nologin"},
		"false shell":         {func(p *layers.Plan) { p.Image.Users[0].Shell = "/bin/false" }, "admin", "shell", "/bin/false"},
		"no peer":             {func(p *layers.Plan) { p.Tunnels[0].Peers = 0 }, "wireguard", "peer", "wg0 has no peers"},
		"no tunnel":           {func(p *layers.Plan) { p.Tunnels = nil }, "wireguard", "tunnel", "no tunnel"},
		"other tunnel port":   {func(p *layers.Plan) { p.Tunnels[0].Port++ }, "wireguard", "tunnel port", "udp/51821"},
		"tunnel port shut":    {func(p *layers.Plan) { forget(p, 51820) }, "wireguard", "tunnel port", "udp/51820"},
		"tunnel port private": {func(p *layers.Plan) { from(p, 51820, layers.FromWireGuard) }, "wireguard", "tunnel port", "udp/51820"},
		"no sshd":             {func(p *layers.Plan) { p.Entrances = nil }, "ssh", "entrance", "no service"},
		"other sshd port":     {func(p *layers.Plan) { p.Entrances[0].Port = 2222 }, "ssh", "rule", "tcp/2222"},
		"other interface":     {func(p *layers.Plan) { p.Entrances[0].Interface = "lo" }, "ssh", "interface", "listens on lo"},
		"no rule":             {func(p *layers.Plan) { forget(p, 22) }, "ssh", "rule", "tcp/22"},
		"loopback rule":       {func(p *layers.Plan) { from(p, 22, layers.FromLoopback) }, "ssh", "rule", "tcp/22"},
		"other user":          {func(p *layers.Plan) { p.Entrances[0].Users = []string{"other"} }, "ssh", "user", "lets in other"},
		"user without a key":  {keyless, "ssh", "user", "lets in keyless"},
		"no user":             {func(p *layers.Plan) { p.Entrances[0].Users = nil }, "ssh", "user", "lets in nobody"},
		"no firewall":         {func(p *layers.Plan) { p.Firewalls = nil }, "nftables", "firewall", "no firewall"},
		"second service":      {func(p *layers.Plan) { second(p, "tcp", 22) }, "other", "port", "other claims port tcp/22 too, where ssh"},
		"second tunnel":       {func(p *layers.Plan) { second(p, "udp", 51820) }, "other", "port", "other claims port udp/51820 too, where wireguard"},
		"masked socket":       {func(p *layers.Plan) { mask(p, "ssh.socket") }, "ssh", "unit", "ssh.socket is masked"},
		"masked networkd":     {func(p *layers.Plan) { mask(p, "systemd-networkd.service") }, "wireguard", "unit", "systemd-networkd.service is masked"},
		"masked firewall":     {func(p *layers.Plan) { mask(p, "nftables.service") }, "nftables", "unit", "nftables.service is masked"},
		"ssh off":             {func(p *layers.Plan) { p.LayerNames = []string{"nftables", "wireguard"} }, "ssh", "entrance", "ssh is off"},
		"wireguard off":       {func(p *layers.Plan) { p.LayerNames = []string{"nftables", "ssh"} }, "wireguard", "tunnel", "wireguard is off"},
		"nftables off":        {func(p *layers.Plan) { p.LayerNames = []string{"ssh", "wireguard"} }, "nftables", "firewall", "nftables is off"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plan := open(t)
			c.cut(&plan)
			missing := layers.WayIn(plan)
			if len(missing) == 0 {
				t.Fatal("the way in is cut and nothing is said")
			}
			for _, l := range missing {
				if l.Message == "" || l.Advice == "" {
					t.Errorf("incomplete: %+v", l)
				}
			}
			if l := missing[0]; l.Layer != c.layer || l.Link != c.link || !strings.Contains(l.Message, c.says) {
				t.Errorf("%+v, want link %s of layer %s: …%s…", missing, c.link, c.layer, c.says)
			}
		})
	}
}

// A service that listens everywhere is reached by the tunnel's peers too, and
// through the rule for the internet.
func TestWayInExposed(t *testing.T) {
	t.Parallel()
	plan := open(t)
	plan.Entrances[0].Interface = ""
	from(&plan, 22, layers.FromInternet)
	if missing := layers.WayIn(plan); len(missing) > 0 {
		t.Errorf("%+v", missing)
	}
}

// Another layer may not take a link out either: it is named, as it has the
// line to correct.
func TestWayInMaskedByAnother(t *testing.T) {
	t.Parallel()
	missing := layers.WayIn(open(t, masker("ssh.service")))
	if len(missing) != 1 || missing[0].Layer != "masker" || missing[0].Link != "unit" {
		t.Errorf("%+v", missing)
	}
}

// masker is a layer that masks a unit.
type masker string

func (masker) Name() string                          { return "masker" }
func (masker) Validate(layers.Site) []layers.Finding { return nil }
func (m masker) Contribute(layers.Site) layers.Contribution {
	return layers.Contribution{Image: layers.Fragment{Units: []layers.Unit{{Name: string(m), Mask: true}}}}
}

func mask(p *layers.Plan, unit string) {
	p.Image.Units = append(p.Image.Units, layers.Unit{Name: unit, Mask: true})
	delete(p.Owner, "unit "+unit)
}

func forget(p *layers.Plan, port int) {
	var left []layers.Port
	for _, x := range p.Firewalls[0].Admits {
		if x.Port != port {
			left = append(left, x)
		}
	}
	p.Firewalls[0].Admits = left
}

func from(p *layers.Plan, port int, from layers.From) {
	forget(p, port)
	for _, x := range p.Ports {
		if x.Port == port {
			x.From = from
			p.Firewalls[0].Admits = append(p.Firewalls[0].Admits, x)
		}
	}
}

func second(p *layers.Plan, proto string, port int) {
	p.Ports = append(p.Ports, layers.Port{Layer: "other", Proto: proto, Port: port, From: layers.FromLoopback})
}

// keyless lets sshd admit an account that has no key, and not the one that has.
func keyless(p *layers.Plan) {
	p.Logins = append(p.Logins, layers.Login{Layer: "admin", User: "keyless"})
	p.Image.Users = append(p.Image.Users, layers.User{Name: "keyless", Shell: "/bin/bash"})
	p.Entrances[0].Users = []string{"keyless"}
}
