package layers

import (
	"path"
	"slices"
	"strings"
)

// Stock returns what is left of the plan on a stock system, which has a
// writable root, its own initrd and no slots: everything but what the layers
// named SealOnly. Checks that a path is read-only become checks of the rest;
// those that were about nothing else are SealOnly too.
func Stock(plan Plan) Plan {
	sealed := map[string]bool{}
	for _, s := range plan.SealOnly {
		sealed[s.What] = true
	}
	plan.SealOnly = slices.Clone(plan.SealOnly)
	plan.Image = stockFragment(plan.Image, sealed)
	plan.Instance = stockFragment(plan.Instance, sealed)
	plan.Removed = without(plan.Removed, func(r Removal) bool { return sealed["removal "+r.Pattern] })
	var checks []Check
	for _, c := range plan.Checks {
		if sealed["check "+c.ID] {
			continue
		}
		if c.File != nil && c.File.ReadOnly {
			f := *c.File
			f.ReadOnly = false
			if f == (FileCheck{Path: f.Path}) {
				plan.SealOnly = append(plan.SealOnly, SealOnly{Layer: c.Layer, What: "check " + c.ID, Why: "root may write there"})
				continue
			}
			c.File = &f
		}
		checks = append(checks, c)
	}
	plan.Checks = checks
	return plan
}

func stockFragment(f Fragment, sealed map[string]bool) Fragment {
	f.Files = without(f.Files, func(v File) bool { return sealed["file "+path.Clean(v.Path)] })
	f.Directories = without(f.Directories, func(v Directory) bool { return sealed["directory "+path.Clean(v.Path)] })
	f.Links = without(f.Links, func(v Link) bool { return sealed["file "+path.Clean(v.Path)] })
	f.Users = without(f.Users, func(v User) bool { return sealed["user "+v.Name] })
	f.Groups = without(f.Groups, func(v Group) bool { return sealed["group "+v.Name] })
	f.KernelArguments = without(f.KernelArguments, func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return sealed["kernel argument "+v] || sealed["kernel argument "+name]
	})
	f.Units = without(f.Units, func(v Unit) bool { return sealed["unit "+v.Name] })
	for i, u := range f.Units {
		f.Units[i].Dropins = without(u.Dropins, func(v Dropin) bool { return sealed["drop-in "+u.Name+".d/"+v.Name] })
		if len(f.Units[i].Dropins) < len(u.Dropins) && f.Units[i].empty() {
			f.Units[i].Name = "" // nothing is left to say about it
		}
	}
	f.Units = without(f.Units, func(v Unit) bool { return v.Name == "" })
	return f
}

func (u Unit) empty() bool {
	return u.Enabled == nil && !u.Mask && u.Contents == "" && len(u.Dropins) == 0
}

// without is a copy: the plan belongs to the caller.
func without[T any](list []T, drop func(T) bool) []T {
	return slices.DeleteFunc(slices.Clone(list), drop)
}
