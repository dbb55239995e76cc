package images

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"pault.ag/go/debian/version"
)

// Diff is what a new lock changes.
type Diff struct {
	First    bool     `json:"first"` // there was no lock
	Packages []Change `json:"packages"`
	Other    []string `json:"other"` // changes of other kinds, a sentence each
}

// Empty reports whether nothing changes.
func (d Diff) Empty() bool { return len(d.Packages) == 0 && len(d.Other) == 0 }

// How a package changes. Replaced is another file of the same version.
const (
	Added    = "added"
	Removed  = "removed"
	Up       = "up"
	Down     = "down"
	Replaced = "replaced"
)

// Change is one package of one tree.
type Change struct {
	Tree    Tree   `json:"tree"`
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	From    string `json:"from,omitempty"`    // version in the old lock
	To      string `json:"to,omitempty"`      // in the new one
	Archive string `json:"archive,omitempty"` // of To

	old, new Package
}

// compare tells what is new in a resolution, the image first.
func compare(old Lock, now resolution) Diff {
	d := Diff{First: old.Version == 0, Packages: []Change{}, Other: []string{}}
	if d.First {
		return d
	}
	for _, tree := range treesOf(old.Trees, now.lock.Trees) {
		d.Packages = append(d.Packages, changes(tree, old.Trees[tree], now.lock.Trees[tree], now.archives)...)
	}
	d.Other = append(d.Other, otherChanges(old, now.lock)...)
	return d
}

// treesOf are the trees of two locks, the image first.
func treesOf[V any](a, b map[Tree]V) []Tree {
	all := map[Tree]bool{}
	for _, m := range []map[Tree]V{a, b} {
		for tree := range m {
			all[tree] = true
		}
	}
	return slices.SortedFunc(maps.Keys(all), func(a, b Tree) int {
		if (a == TreeImage) != (b == TreeImage) {
			return map[bool]int{true: -1, false: 1}[a == TreeImage]
		}
		return strings.Compare(string(a), string(b))
	})
}

func changes(tree Tree, old, now []Package, archives map[string]string) []Change {
	both := map[string]*Change{}
	at := func(name string) *Change {
		if both[name] == nil {
			both[name] = &Change{Tree: tree, Name: name}
		}
		return both[name]
	}
	for _, p := range old {
		c := at(p.Name)
		c.From, c.old = p.Version, p
	}
	for _, p := range now {
		c := at(p.Name)
		c.To, c.new, c.Archive = p.Version, p, archives[p.spec()]
	}
	var list []Change
	for _, name := range slices.Sorted(maps.Keys(both)) {
		c := *both[name]
		if c.Kind = c.kind(); c.Kind != "" {
			list = append(list, c)
		}
	}
	return list
}

func (c Change) kind() string {
	switch {
	case c.From == "":
		return Added
	case c.To == "":
		return Removed
	case c.From == c.To && c.old.SHA256 == c.new.SHA256:
		return ""
	}
	switch order := compareVersions(c.From, c.To); {
	case order < 0:
		return Up
	case order > 0:
		return Down
	}
	return Replaced
}

// compareVersions orders as dpkg does. What is no version is the same as any.
func compareVersions(a, b string) int {
	x, err := version.Parse(a)
	if err != nil {
		return 0
	}
	y, err := version.Parse(b)
	if err != nil {
		return 0
	}
	return version.Compare(x, y)
}

func otherChanges(old, now Lock) []string {
	var list []string
	changed := func(what, from, to string) {
		if from != to {
			list = append(list, fmt.Sprintf("%s: %s → %s", what, cmp.Or(from, "none"), cmp.Or(to, "none")))
		}
	}
	changed("version of the file", fmt.Sprint(old.Version), fmt.Sprint(now.Version))
	changed("Debian", old.Suite, now.Suite)
	changed("mirror", old.Mirror, now.Mirror)
	for _, tree := range treesOf(old.Requested, now.Requested) {
		for _, name := range without(now.Requested[tree], old.Requested[tree]) {
			list = append(list, fmt.Sprintf("%s is asked for now (%s)", name, tree))
		}
		for _, name := range without(old.Requested[tree], now.Requested[tree]) {
			list = append(list, fmt.Sprintf("%s is no longer asked for (%s)", name, tree))
		}
	}
	for _, i := range imageChanges(old, now) {
		changed("container image "+i.Name, i.From, i.To)
	}
	list = append(list, accountChanges("account", old.Accounts.Passwd, now.Accounts.Passwd)...)
	list = append(list, accountChanges("group", old.Accounts.Group, now.Accounts.Group)...)
	if now.Ignition != "" {
		changed("SHA-256 of Ignition", old.Ignition, now.Ignition)
	}
	return list
}

// ImageChange is a container image whose name means another image now.
type ImageChange struct {
	Name string `json:"name"`
	From string `json:"from,omitempty"` // digest in the old lock
	To   string `json:"to,omitempty"`   // in the new one
}

func imageChanges(old, now Lock) []ImageChange {
	list := []ImageChange{}
	for _, i := range now.Images {
		if from := old.digestOf(i.Name); from != i.Digest {
			list = append(list, ImageChange{i.Name, from, i.Digest})
		}
	}
	for _, i := range old.Images {
		if now.digestOf(i.Name) == "" {
			list = append(list, ImageChange{Name: i.Name, From: i.Digest})
		}
	}
	return list
}

// accountChanges goes by lines of passwd(5) or group(5).
func accountChanges(what string, old, now []string) []string {
	var list []string
	for _, line := range without(now, old) {
		f := strings.SplitN(line, ":", 4)
		list = append(list, fmt.Sprintf("%s %s has number %s", what, f[0], f[2]))
	}
	for _, line := range without(old, now) {
		name, _, _ := strings.Cut(line, ":")
		if !slices.ContainsFunc(now, func(l string) bool { return strings.HasPrefix(l, name+":") }) {
			list = append(list, fmt.Sprintf("%s %s is gone", what, name))
		}
	}
	return list
}
