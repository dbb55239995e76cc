package layers

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Login is an account that a person logs in to.
type Login struct {
	Layer string // set by Merge
	User  string
	Keys  int // how many public keys open it
}

// Entrance is a service that lets people log in.
type Entrance struct {
	Layer     string // set by Merge
	Proto     string // "tcp"
	Port      int
	Interface string   // it listens there; empty is everywhere
	Users     []string // whom it lets in
	Units     []string // without which it does not run
}

// Tunnel is an interface whose peers reach the machine's private ports.
type Tunnel struct {
	Layer     string // set by Merge
	Interface string
	Port      int      // UDP, on the internet side
	Peers     int      // how many of them have a public key here
	Units     []string // without which it does not come up
}

// Firewall drops what it does not admit. Without one loaded there is no network.
type Firewall struct {
	Layer  string   // set by Merge
	Admits []Port   // those it made a rule for
	Units  []string // without which it is not loaded
}

// Lockout is a missing link of the only way in: after boot, nobody could
// repair the machine.
type Lockout struct {
	// Layer is the one to repair. It may be off.
	Layer string
	Link  string // "peer", "rule", …: the same word for the same link
	// What is the claim that takes the link away, as in [Conflict]; empty
	// when nothing does and it was never there.
	What string
	// Option leads from the layer's node in ingot.yaml to the option behind
	// that claim; nil is the layer itself.
	Option  []any
	Message string
	Advice  string
}

// The layers that make the way in, each named in the findings about its links.
const (
	loginLayer    = "admin"
	entranceLayer = "ssh"
	tunnelLayer   = "wireguard"
	firewallLayer = "nftables"
)

// LayersOff returns the links that cannot be there because of the layers that
// are off. It needs no plan, so that it can be told beside other mistakes.
func LayersOff(on []string) []Lockout {
	var list []Lockout
	for _, l := range []Lockout{
		{entranceLayer, "entrance", "", nil, "nobody would be able to log in: the layer ssh is off", "add ssh to layers"},
		{tunnelLayer, "tunnel", "", nil, "nobody would be able to connect: the layer wireguard is off, and ssh answers in its tunnel only", "add wireguard to layers"},
		{firewallLayer, "firewall", "", nil, "everything would be open: the layer nftables is off", "add nftables to layers"},
	} {
		if !slices.Contains(on, l.Layer) {
			list = append(list, l)
		}
	}
	return list
}

// WayIn proves from a merged plan that a person can log in after boot, link by
// link: a user with a key, a service that lets this user in, a tunnel with a
// peer that the service can be reached through, and a firewall that admits
// both. It returns the links that are missing; none is the proof.
func WayIn(p Plan) []Lockout {
	w := wayIn{plan: p}
	w.login()
	for _, t := range p.Tunnels {
		w.tunnel(t)
	}
	for _, e := range p.Entrances {
		w.entrance(e)
	}
	for _, f := range p.Firewalls {
		w.units(f.Layer, f.Units)
	}
	w.untouched()
	for _, l := range LayersOff(p.LayerNames) {
		w.report(l.Layer, l.Link, l.Advice, "%s", l.Message)
	}
	w.nothing()
	return w.missing
}

type wayIn struct {
	plan    Plan
	missing []Lockout
}

func (w *wayIn) report(layer, link, advice, format string, a ...any) {
	w.add(Lockout{Layer: layer, Link: link, Message: fmt.Sprintf(format, a...), Advice: advice})
}

// add notes a missing link once: several parts of the way need the same unit.
func (w *wayIn) add(l Lockout) {
	if !slices.ContainsFunc(w.missing, func(x Lockout) bool { return x.Layer == l.Layer && x.Message == l.Message }) {
		w.missing = append(w.missing, l)
	}
}

// nothing reports a layer that is on and does not bring its link.
func (w *wayIn) nothing() {
	for _, x := range []struct {
		layer, link, what string
		n                 int
	}{
		{loginLayer, "login", "no account that could", len(w.plan.Logins)},
		{entranceLayer, "entrance", "no service that lets anybody in", len(w.plan.Entrances)},
		{tunnelLayer, "tunnel", "no tunnel to come through", len(w.plan.Tunnels)},
		{firewallLayer, "firewall", "no firewall, and without one there is no network", len(w.plan.Firewalls)},
	} {
		told := slices.ContainsFunc(w.missing, func(l Lockout) bool { return l.Link == x.link })
		if x.n == 0 && !told {
			w.report(x.layer, x.link, "this is a mistake of the layer "+x.layer+", not of the file: report it",
				"nobody would be able to log in: there is %s", x.what)
		}
	}
}

// login wants an account that exists, can run a shell and has a key.
func (w *wayIn) login() {
	if len(w.plan.Logins) == 0 || slices.ContainsFunc(w.plan.Logins, w.opens) {
		return
	}
	for _, l := range w.plan.Logins {
		switch i := slices.IndexFunc(w.plan.Image.Users, func(u User) bool { return u.Name == l.User }); {
		case l.Keys == 0:
			w.report(l.Layer, "key", "add the line of a .pub file to its keys", "nobody would be able to log in: %s has no key", l.User)
		case i < 0:
			w.report(l.Layer, "account", "name an account that the image has", "nobody would be able to log in: there is no account %s", l.User)
		default:
			w.report(l.Layer, "shell", "give the account /bin/bash", "nobody would be able to log in: the shell of %s is %s", l.User, w.plan.Image.Users[i].Shell)
		}
	}
}

// opens reports a login that has all that belongs to one.
func (w *wayIn) opens(l Login) bool {
	return l.Keys > 0 && slices.ContainsFunc(w.plan.Image.Users, func(u User) bool {
		return u.Name == l.User && !strings.HasSuffix(u.Shell, "/nologin") && !strings.HasSuffix(u.Shell, "/false")
	})
}

// tunnel wants a peer, and the firewall to admit the tunnel's port.
func (w *wayIn) tunnel(t Tunnel) {
	if t.Peers == 0 {
		w.report(t.Layer, "peer", "add one: peers: [{name: laptop, address: 10.8.0.2, publicKey: …}]",
			"nobody would be able to connect: the tunnel %s has no peers", t.Interface)
	}
	if !w.admits("udp", t.Port, FromInternet) {
		w.report(t.Layer, "tunnel port", "leave the tunnel's port in the port table: no layer may take it out",
			"nobody would be able to connect: the firewall does not admit the tunnel's port udp/%d from the internet", t.Port)
	}
	w.alone(t.Layer, "udp", t.Port)
	w.units(t.Layer, t.Units)
}

// entrance wants a service to let a user in who has a key, to listen where a
// peer arrives, and the firewall to let that peer through to it.
func (w *wayIn) entrance(e Entrance) {
	admitted := func(l Login) bool { return w.opens(l) && slices.Contains(e.Users, l.User) }
	if slices.ContainsFunc(w.plan.Logins, w.opens) && !slices.ContainsFunc(w.plan.Logins, admitted) {
		w.report(e.Layer, "user", "let in an account that has a key",
			"nobody would be able to log in: %s/%d lets in %s, and none of them has a key", e.Proto, e.Port, list(e.Users))
	}
	reached := slices.ContainsFunc(w.plan.Tunnels, func(t Tunnel) bool { return e.Interface == "" || e.Interface == t.Interface })
	if len(w.plan.Tunnels) > 0 && !reached {
		w.report(e.Layer, "interface", "let it listen on "+TunnelInterface,
			"nobody would be able to log in: %s/%d listens on %s, where no tunnel arrives", e.Proto, e.Port, e.Interface)
	}
	// What comes out of the tunnel is admitted by the rules for the tunnel and
	// by those for the internet, which hold for every interface.
	if !w.admits(e.Proto, e.Port, FromWireGuard) && !w.admits(e.Proto, e.Port, FromInternet) {
		w.report(e.Layer, "rule", "leave the service's port in the port table: no layer may take it out",
			"nobody would be able to log in: the firewall does not admit %s/%d from the tunnel", e.Proto, e.Port)
	}
	w.alone(e.Layer, e.Proto, e.Port)
	w.units(e.Layer, e.Units)
}

// alone wants nobody else to claim a port, from wherever: whichever of two
// services starts first keeps the other from listening.
func (w *wayIn) alone(layer, proto string, port int) {
	for _, p := range w.plan.Ports {
		if p.Proto == proto && p.Port == port && p.Layer != layer {
			w.add(Lockout{
				Layer: p.Layer, Link: "port", What: fmt.Sprintf("port %s/%d from %s", p.Proto, p.Port, p.From), Option: p.Option,
				Message: fmt.Sprintf("nobody may be able to log in: %s claims port %s/%d too, where %s listens", p.Layer, proto, port, layer),
				Advice:  "use another port",
			})
		}
	}
}

// admits reports whether the firewall has a rule. Without a firewall that is
// another link's finding.
func (w *wayIn) admits(proto string, port int, from From) bool {
	if len(w.plan.Firewalls) == 0 {
		return true
	}
	return !slices.ContainsFunc(w.plan.Firewalls, func(f Firewall) bool {
		return !slices.ContainsFunc(f.Admits, func(p Port) bool { return p.Proto == proto && p.Port == port && p.From == from })
	})
}

// units wants none of the units to be masked.
func (w *wayIn) units(layer string, names []string) {
	for _, u := range slices.Concat(w.plan.Image.Units, w.plan.Instance.Units) {
		if !u.Mask || !slices.Contains(names, u.Name) {
			continue
		}
		if owner := w.plan.Owner["unit "+u.Name]; owner != "" {
			layer = owner
		}
		w.add(Lockout{
			Layer: layer, Link: "unit", What: "unit " + u.Name, Advice: "do not mask it",
			Message: fmt.Sprintf("nobody would be able to log in: the unit %s is masked", u.Name),
		})
	}
}

// untouched wants no custom layer to change what those units do: what is in them
// is not read here.
func (w *wayIn) untouched() {
	var needed []string
	for _, e := range w.plan.Entrances {
		needed = append(needed, e.Units...)
	}
	for _, t := range w.plan.Tunnels {
		needed = append(needed, t.Units...)
	}
	for _, f := range w.plan.Firewalls {
		needed = append(needed, f.Units...)
	}
	for _, what := range slices.Sorted(maps.Keys(w.plan.Owner)) {
		owner := w.plan.Owner[what]
		unit := unitOf(what)
		all := slices.Contains([]string{"service", "socket", "device"}, unit) // drop-ins of every such unit
		if !strings.HasPrefix(owner, CustomPrefix) || !all && !slices.Contains(needed, unit) {
			continue
		}
		if all {
			unit = "every " + unit
		}
		w.add(Lockout{
			Layer: owner, Link: "unit", What: what, Advice: "leave it as it is",
			Message: fmt.Sprintf("nobody may be able to log in: %s changes %s", owner, unit),
		})
	}
}

// unitOf is the unit that a claim is about, or its kind for drop-ins of all of
// that kind; empty for other claims.
func unitOf(what string) string {
	kind, name, _ := strings.Cut(what, " ")
	switch kind {
	case "unit":
		return name
	case "drop-in":
		unit, _, _ := strings.Cut(name, ".d/")
		return unit
	case "file", "directory":
		for _, folder := range []string{"/etc/systemd/system/", "/usr/lib/systemd/system/", "/usr/local/lib/systemd/system/"} {
			if below, ok := strings.CutPrefix(name, folder); ok {
				first, _, _ := strings.Cut(below, "/")
				return strings.TrimSuffix(first, ".d")
			}
		}
	}
	return ""
}

func list(names []string) string {
	if len(names) == 0 {
		return "nobody"
	}
	return strings.Join(names, ", ")
}
