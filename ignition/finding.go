package ignition

import (
	"cmp"
	"fmt"
	"path"
	"strings"

	"ingot/layers"
)

// Finding is an entry of the plan that cannot be in the config.
type Finding struct {
	Layer   string // that contributed the entry; empty when no single one did
	What    string // "file /etc/x", as in [layers.Plan.Owner]; may be empty
	Message string // what is wrong and what to do
}

func (f Finding) Error() string {
	var b strings.Builder
	if f.Layer != "" {
		fmt.Fprintf(&b, "layer %s: ", f.Layer)
	}
	if f.What != "" {
		fmt.Fprintf(&b, "%s: ", f.What)
	}
	return b.String() + f.Message
}

// Findings is everything that is wrong with a config.
type Findings []Finding

func (f Findings) Error() string {
	lines := make([]string, len(f))
	for i, one := range f {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// check reports what the translator would let pass.
func check(f layers.Fragment, owner map[string]string) Findings {
	var found Findings
	report := func(what, message string) {
		found = append(found, Finding{Layer: owner[what], What: what, Message: message})
	}
	clean := func(what, p string) {
		if !path.IsAbs(p) || path.Clean(p) != p {
			report(what, "the path is not plain; write it from / without . and .. in it")
		}
	}
	for _, v := range f.Files {
		clean("file "+path.Clean(v.Path), v.Path)
		if v.SecretSlot != "" {
			report("file "+path.Clean(v.Path), fmt.Sprintf("it is to hold the secret %s, which an image must not; make it an instance file", v.SecretSlot))
		}
	}
	for _, v := range f.Directories {
		clean("directory "+path.Clean(v.Path), v.Path)
	}
	for _, v := range f.Links {
		clean("file "+path.Clean(v.Path), v.Path)
	}
	return found
}

// blame says which entry of the fragment, and so which layer, each problem is
// about.
func blame(problems []problem, f layers.Fragment, owner map[string]string) Findings {
	var found Findings
	for _, p := range problems {
		claims := claimed(p.path, f)
		finding := Finding{Message: p.message}
		for _, what := range claims {
			finding.What = cmp.Or(finding.What, what)
			finding.Layer = cmp.Or(finding.Layer, owner[what])
		}
		found = append(found, finding)
	}
	return found
}

// claimed returns what the entry at a place in the Butane document claims, in
// the words of [layers.Plan.Owner]; the first is what to call it.
func claimed(at []any, f layers.Fragment) []string {
	if len(at) < 3 {
		return nil
	}
	i, ok := at[2].(int)
	if !ok {
		return nil
	}
	switch fmt.Sprint(at[0], ".", at[1]) {
	case "storage.files":
		return claim("file ", f.Files, i, func(v layers.File) string { return path.Clean(v.Path) })
	case "storage.directories":
		return claim("directory ", f.Directories, i, func(v layers.Directory) string { return path.Clean(v.Path) })
	case "storage.links":
		return claim("file ", f.Links, i, func(v layers.Link) string { return path.Clean(v.Path) })
	case "passwd.users":
		return claim("user ", f.Users, i, func(v layers.User) string { return v.Name })
	case "passwd.groups":
		return claim("group ", f.Groups, i, func(v layers.Group) string { return v.Name })
	case "kernel_arguments.should_exist":
		return claim("kernel argument ", f.KernelArguments, i, func(v string) string { name, _, _ := strings.Cut(v, "="); return name })
	case "systemd.units":
		if i < len(f.Units) {
			return claimedByUnit(at[3:], f.Units[i])
		}
	}
	return nil
}

func claim[T any](kind string, list []T, i int, name func(T) string) []string {
	if i >= len(list) {
		return nil
	}
	return []string{kind + name(list[i])}
}

// claimedByUnit: several layers may hang drop-ins on a unit that none of them
// defines.
func claimedByUnit(at []any, u layers.Unit) []string {
	dropin := func(d layers.Dropin) string { return "drop-in " + u.Name + ".d/" + d.Name }
	if len(at) > 1 && at[0] == "dropins" {
		if j, ok := at[1].(int); ok && j < len(u.Dropins) {
			return []string{dropin(u.Dropins[j])}
		}
	}
	claims := []string{"unit " + u.Name}
	for _, d := range u.Dropins {
		claims = append(claims, dropin(d))
	}
	return claims
}
