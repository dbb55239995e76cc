package layers

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Explanation says which layer put a thing on the machine, by which of its
// options, and what for.
type Explanation struct {
	What   string // "port tcp/22 from wireguard"
	Layer  string
	Option []any  // from the layer's node in ingot.yaml; nil is the layer itself
	Why    string // one line; empty when the layer gives none
}

// Explain returns what the plan knows of a port ("22/tcp", "tcp/22" or "22"),
// an absolute path, a unit (".service" may be left out), a package, an account,
// a check, a kernel argument or a secret slot; also with its kind before it, as
// in "package sudo". It is nil for anything else.
func Explain(plan Plan, name string) []Explanation {
	// The tunnel is networkd's: who comes from wg-quick asks for the interface.
	if device, ok := strings.CutPrefix(strings.TrimSuffix(name, ".service"), "wg-quick@"); ok {
		name = "/etc/systemd/network/50-" + device + ".netdev"
	}
	var found []Explanation
	for _, t := range things(plan) {
		if t.answersTo(name) {
			found = append(found, t.Explanation)
		}
	}
	return found
}

// Explainable returns every name that [Explain] knows, sorted.
func Explainable(plan Plan) []string {
	var names []string
	for _, t := range things(plan) {
		names = append(names, t.name, t.What)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// thing is an explanation and what it is an answer to.
type thing struct {
	name  string   // the plainest way to ask for it
	other []string // further ways
	below bool     // also answers for every path below name
	Explanation
}

func (t thing) answersTo(name string) bool {
	if strings.HasPrefix(name, "/") {
		name = path.Clean(name)
	}
	return name == t.name || name == t.What || slices.Contains(t.other, name) || t.below && strings.HasPrefix(name, t.name+"/")
}

func things(plan Plan) []thing {
	return slices.Concat(portThings(plan), pathThings(plan), unitThings(plan), otherThings(plan))
}

func portThings(plan Plan) []thing {
	var list []thing
	for _, p := range plan.Ports {
		n := strconv.Itoa(p.Port)
		list = append(list, thing{
			name: n + "/" + p.Proto, other: []string{p.Proto + "/" + n, n},
			Explanation: Explanation{fmt.Sprintf("port %s/%d from %s", p.Proto, p.Port, p.From), p.Layer, p.Option, p.Why},
		})
	}
	return list
}

func pathThings(plan Plan) []thing {
	var list []thing
	add := func(kind, p, why string, option []any) {
		what := kind + " " + path.Clean(p)
		list = append(list, thing{name: path.Clean(p), Explanation: Explanation{what, plan.Owner[what], option, why}})
	}
	for _, f := range []Fragment{plan.Image, plan.Instance} {
		for _, v := range f.Files {
			add("file", v.Path, v.Why, v.Option)
		}
		for _, v := range f.Links {
			add("file", v.Path, "a link to "+v.Target, nil)
		}
		for _, v := range f.Directories {
			add("directory", v.Path, "", nil)
		}
	}
	for _, s := range plan.State {
		list = append(list, thing{name: path.Clean(s.Path), below: true, Explanation: Explanation{"state " + path.Clean(s.Path), s.Layer, nil, s.Why}})
	}
	for _, s := range plan.SUID {
		list = append(list, thing{name: s.Path, Explanation: Explanation{"set-ID bit of " + s.Path, s.Layer, nil, s.Why}})
	}
	return list
}

func unitThings(plan Plan) []thing {
	var list []thing
	for _, u := range slices.Concat(plan.Image.Units, plan.Instance.Units) {
		names := []string{strings.TrimSuffix(u.Name, ".service")}
		if layer, ok := plan.Owner["unit "+u.Name]; ok {
			list = append(list, thing{name: u.Name, other: names, Explanation: Explanation{unitState(u) + " " + u.Name, layer, nil, u.Why}})
		}
		for _, d := range u.Dropins {
			what := "drop-in " + u.Name + ".d/" + d.Name
			list = append(list, thing{
				name: u.Name, other: append(names, "/etc/systemd/system/"+u.Name+".d/"+d.Name),
				Explanation: Explanation{what, plan.Owner[what], nil, d.Why},
			})
		}
	}
	return list
}

func unitState(u Unit) string {
	switch {
	case u.Mask:
		return "masked unit"
	case u.Enabled != nil && *u.Enabled:
		return "enabled unit"
	case u.Enabled != nil:
		return "disabled unit"
	}
	return "unit"
}

func otherThings(plan Plan) []thing {
	var list []thing
	add := func(name, kind, layer, why string) {
		list = append(list, thing{name: name, Explanation: Explanation{kind + " " + name, layer, nil, why}})
	}
	for _, p := range plan.Packages {
		add(p, "package", plan.Owner["package "+p], "")
	}
	for _, f := range []Fragment{plan.Image, plan.Instance} {
		for _, u := range f.Users {
			add(u.Name, "user", plan.Owner["user "+u.Name], u.Gecos)
		}
		for _, g := range f.Groups {
			add(g.Name, "group", plan.Owner["group "+g.Name], "")
		}
		for _, k := range f.KernelArguments {
			name, _, _ := strings.Cut(k, "=")
			layer, ok := plan.Owner["kernel argument "+name]
			if !ok {
				layer = plan.Owner["kernel argument "+k]
			}
			list = append(list, thing{name: name, other: []string{k}, Explanation: Explanation{"kernel argument " + k, layer, nil, ""}})
		}
	}
	for _, s := range plan.Secrets {
		list = append(list, thing{name: s.Name, other: []string{s.Path}, Explanation: Explanation{"secret slot " + s.Name, s.Layer, nil, s.Why}})
	}
	for _, p := range plan.Profiles {
		add(p.Name, "AppArmor profile", p.Layer, p.Why)
	}
	for _, c := range plan.Checks {
		add(c.ID, "check", c.Layer, c.Title)
	}
	return list
}
