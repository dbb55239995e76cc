package layers

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Merge joins contributions, in the order of the layers, into one plan and
// reports every conflict: two layers that claim the same path, unit, account,
// port, slot or check. Finishers run last, on the merged plan.
func Merge(site Site, ls []Layer) (Plan, []Conflict) {
	m := merger{plan: Plan{Site: site, Owner: map[string]string{}}}
	for _, l := range ls {
		m.plan.LayerNames = append(m.plan.LayerNames, l.Name())
		m.add(l.Name(), l.Contribute(site))
	}
	for _, l := range ls {
		if f, ok := l.(Finisher); ok {
			m.add(l.Name(), f.Finish(m.plan))
		}
	}
	slices.Sort(m.plan.Packages)
	m.plan.Packages = slices.Compact(m.plan.Packages)
	slices.SortStableFunc(m.plan.Ports, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Port, b.Port))
	})
	return m.plan, m.conflicts
}

// Conflict is a claim that two layers make.
type Conflict struct {
	First, Second string // layer names
	What          string // "file /etc/x", "port tcp/443 from internet"
}

func (c Conflict) Error() string {
	if c.First == c.Second {
		return fmt.Sprintf("layer %s claims %s twice", c.First, c.What)
	}
	return fmt.Sprintf("layers %s and %s both claim %s", c.First, c.Second, c.What)
}

type merger struct {
	plan      Plan
	conflicts []Conflict
}

// claim records that layer owns what, or a conflict when another already does.
func (m *merger) claim(layer, what string) {
	if first, taken := m.plan.Owner[what]; taken {
		m.conflicts = append(m.conflicts, Conflict{First: first, Second: layer, What: what})
		return
	}
	m.plan.Owner[what] = layer
}

func (m *merger) add(layer string, c Contribution) {
	p := &m.plan
	p.Packages = append(p.Packages, c.Packages...)
	for _, name := range c.Packages {
		if _, asked := p.Owner["package "+name]; !asked {
			p.Owner["package "+name] = layer
		}
	}
	m.fragment(layer, &p.Image, c.Image)
	m.fragment(layer, &p.Instance, c.Instance)
	p.Identity = append(p.Identity, c.Identity...)
	p.Disposable = append(p.Disposable, c.Disposable...)
	for _, port := range c.Ports {
		m.claim(layer, fmt.Sprintf("port %s/%d from %s", port.Proto, port.Port, port.From))
		port.Layer = layer
		p.Ports = append(p.Ports, port)
	}
	for _, e := range c.Egress {
		e.Layer = layer
		p.Egress = append(p.Egress, e)
	}
	for _, f := range c.Forwards {
		what := fmt.Sprintf("forward from %s to %s", f.In, f.Out)
		if f.Port != 0 {
			what += fmt.Sprintf(" of port %s/%d", f.Proto, f.Port)
		}
		m.claim(layer, what)
		f.Layer = layer
		p.Forwards = append(p.Forwards, f)
	}
	for _, i := range c.Images {
		m.claim(layer, "container image "+i.Name)
		i.Layer = layer
		p.Images = append(p.Images, i)
	}
	for _, s := range c.SUID {
		m.claim(layer, "suid "+path.Clean(s.Path))
		s.Layer = layer
		p.SUID = append(p.SUID, s)
	}
	p.Modules = append(p.Modules, c.Modules...)
	for _, r := range c.Removed {
		r.Layer = layer
		p.Removed = append(p.Removed, r)
	}
	for _, a := range c.Profiles {
		m.claim(layer, "AppArmor profile "+a.Name)
		m.claim(layer, "AppArmor profile of "+a.Unit)
		a.Layer = layer
		p.Profiles = append(p.Profiles, a)
	}
	for _, s := range c.SealOnly {
		s.Layer = layer
		p.SealOnly = append(p.SealOnly, s)
	}
	for _, s := range c.Secrets {
		m.claim(layer, "secret slot "+s.Name)
		s.Layer = layer
		p.Secrets = append(p.Secrets, s)
	}
	for _, s := range c.State {
		m.claim(layer, "state "+path.Clean(s.Path))
		s.Layer = layer
		p.State = append(p.State, s)
	}
	for _, v := range c.Validators {
		v.Layer = layer
		p.Validators = append(p.Validators, v)
	}
	m.wayIn(layer, c)
	for _, k := range c.Checks {
		m.claim(layer, "check "+k.ID)
		k.Layer = layer
		p.Checks = append(p.Checks, k)
	}
}

func (m *merger) wayIn(layer string, c Contribution) {
	p := &m.plan
	for _, l := range c.Logins {
		l.Layer = layer
		p.Logins = append(p.Logins, l)
	}
	for _, e := range c.Entrances {
		e.Layer = layer
		p.Entrances = append(p.Entrances, e)
	}
	for _, t := range c.Tunnels {
		m.claim(layer, "interface "+t.Interface)
		t.Layer = layer
		p.Tunnels = append(p.Tunnels, t)
	}
	for _, f := range c.Firewalls {
		f.Layer = layer
		p.Firewalls = append(p.Firewalls, f)
	}
}

func (m *merger) fragment(layer string, dst *Fragment, src Fragment) {
	for _, f := range src.Files {
		m.claim(layer, "file "+path.Clean(f.Path))
	}
	for _, d := range src.Directories {
		m.claim(layer, "directory "+path.Clean(d.Path))
	}
	for _, l := range src.Links {
		m.claim(layer, "file "+path.Clean(l.Path))
	}
	for _, u := range src.Users {
		m.claim(layer, "user "+u.Name)
	}
	for _, g := range src.Groups {
		m.claim(layer, "group "+g.Name)
	}
	for _, u := range src.Units {
		m.unit(layer, u)
	}
	for _, k := range src.KernelArguments {
		name, _, _ := strings.Cut(k, "=")
		if name == "console" { // the only one that adds up: each names one more
			name = k
		}
		m.claim(layer, "kernel argument "+name)
	}
	dst.Files = append(dst.Files, src.Files...)
	dst.Directories = append(dst.Directories, src.Directories...)
	dst.Links = append(dst.Links, src.Links...)
	dst.Users = append(dst.Users, src.Users...)
	dst.Groups = append(dst.Groups, src.Groups...)
	dst.Units = mergeUnits(dst.Units, src.Units)
	dst.KernelArguments = append(dst.KernelArguments, src.KernelArguments...)
}

// unit claims what a unit entry really claims: several layers may hang
// drop-ins on the same unit, but only one may define, enable or mask it.
func (m *merger) unit(layer string, u Unit) {
	if u.Contents != "" || u.Mask || u.Enabled != nil {
		m.claim(layer, "unit "+u.Name)
	}
	for _, d := range u.Dropins {
		m.claim(layer, "drop-in "+u.Name+".d/"+d.Name)
	}
}

// mergeUnits joins entries for the same unit, so that each appears once as
// Ignition demands.
func mergeUnits(dst, src []Unit) []Unit {
	for _, u := range src {
		u.Dropins = slices.Clone(u.Dropins)
		for i, d := range u.Dropins { // the entries' reasons differ
			u.Dropins[i].Why = cmp.Or(d.Why, u.Why)
		}
		i := slices.IndexFunc(dst, func(d Unit) bool { return d.Name == u.Name })
		if i < 0 {
			dst = append(dst, u)
			continue
		}
		d := dst[i]
		d.Contents = cmp.Or(d.Contents, u.Contents)
		d.Enabled = cmp.Or(d.Enabled, u.Enabled)
		d.Why = cmp.Or(d.Why, u.Why)
		d.Mask = d.Mask || u.Mask
		d.Dropins = slices.Concat(d.Dropins, u.Dropins)
		dst[i] = d
	}
	return dst
}
