package inspect

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// Diff is what changes from one image to another.
type Diff struct {
	A    Side `json:"a"`
	B    Side `json:"b"`
	Same bool `json:"same"` // the files are, bit for bit
	// The lists are sorted by name, and empty when nothing of the kind changes.
	Facts     []Change     `json:"facts"` // kernel, boot files, sizes, the seal
	Arguments []Change     `json:"arguments"`
	Config    []Change     `json:"kernel_config"` // when both have one
	Packages  []Change     `json:"packages"`
	Ports     []Change     `json:"ports"`
	Sockets   []Change     `json:"sockets"`
	Units     []Change     `json:"units"`
	Users     []Change     `json:"users"` // and groups
	Files     []FileChange `json:"files"`
}

// Side is one of the two images.
type Side struct {
	Path      string `json:"image"`
	SHA256    string `json:"sha256"`
	RootHash  string `json:"root_hash"`
	Broken    string `json:"broken,omitempty"`
	DiskBytes int64  `json:"disk_bytes"`
}

// Change is something that is other: Old is empty for what is new, New for what
// is gone.
type Change struct {
	Name string `json:"name"`
	Old  string `json:"old,omitempty"`
	New  string `json:"new,omitempty"`
}

// FileChange is a file of the root that is other.
type FileChange struct {
	Path    string `json:"path"`
	Package string `json:"package,omitempty"`
	Change  string `json:"change"` // added, removed or changed
	// What says what is other about a changed one: content, mode, owner, target, type.
	What []string `json:"what,omitempty"`
	Old  *File    `json:"old,omitempty"`
	New  *File    `json:"new,omitempty"`
}

// Compare says what changes from a to b.
func Compare(a, b Image) Diff {
	d := Diff{A: side(a), B: side(b), Same: a.SHA256 == b.SHA256}
	if d.Same { // but for how the file system keeps them
		b.DiskBytes = a.DiskBytes
	}
	d.Facts = changes(facts(a), facts(b))
	d.Arguments = changes(arguments(a), arguments(b))
	d.Config = []Change{}
	if a.Kernel.Config != "" && b.Kernel.Config != "" {
		d.Config = changes(a.Kernel.Options, b.Kernel.Options)
	}
	d.Packages = changes(table(a.Packages, packageRow), table(b.Packages, packageRow))
	d.Ports = changes(table(a.Ports, portRow), table(b.Ports, portRow))
	d.Sockets = changes(table(a.Sockets, socketRow), table(b.Sockets, socketRow))
	d.Units = changes(table(a.Units, unitRow), table(b.Units, unitRow))
	d.Users = changes(people(a), people(b))
	d.Files = compareFiles(a.Files, b.Files)
	return d
}

// Alike is true when the images differ in their bytes at most, and in nothing
// that is looked at.
func (d Diff) Alike() bool {
	return len(d.Facts)+len(d.Arguments)+len(d.Config)+len(d.Packages)+len(d.Ports)+len(d.Sockets)+len(d.Units)+len(d.Users)+len(d.Files) == 0
}

func side(i Image) Side { return Side{i.Path, i.SHA256, i.RootHash, i.Broken, i.DiskBytes} }

// facts are the things of which an image has one. Digests of what a build makes
// anew with every other file, the root hash above all, are not among them.
func facts(i Image) map[string]string {
	m := map[string]string{
		"system": i.System, "kernel": i.Kernel.Version, "kernel sha256": i.Kernel.SHA256, "kernel config sha256": i.Kernel.Config,
		"initrd sha256": i.Kernel.Initrd, "root, compressed": amount(i.RootBytes), "image on disk": amount(i.DiskBytes),
	}
	var files int64
	for _, f := range i.Files {
		files += f.Bytes
	}
	m["files of the root"] = amount(files)
	for _, p := range i.Partitions {
		m["partition "+p.Name] = amount(p.Bytes)
	}
	for _, f := range i.ESP {
		// slot.cfg is the root hash and the arguments; kernel and initrd stand above.
		if !slices.Contains([]string{"/a/slot.cfg", "/a/vmlinuz", "/a/initrd"}, f.Path) {
			m["ESP "+f.Path] = f.SHA256
		}
	}
	return m
}

// amount writes bytes for people.
func amount(n int64) string {
	if n < 100<<10 {
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// arguments of the kernel by their names. Some, such as console, are there more
// than once.
func arguments(i Image) map[string]string {
	return table(i.Kernel.Arguments, func(a string) (string, string) {
		name, value, _ := strings.Cut(a, "=")
		return name, cmp.Or(value, "set")
	})
}

func packageRow(p Package) (string, string) { return p.Name, p.Version }

func portRow(p Port) (string, string) {
	return p.Proto + " " + p.Port + " from " + p.From, cmp.Or(p.Why, "open")
}

func socketRow(s Socket) (string, string) {
	return s.Unit, cmp.Or(strings.Join(s.Listen, ", "), "nothing")
}

func unitRow(u Unit) (string, string) {
	said := u.State
	if len(u.By) > 0 {
		said += " by " + strings.Join(u.By, ", ")
	}
	if u.Own {
		said += "; own file"
	}
	if len(u.Dropins) > 0 {
		said += "; drop-ins " + strings.Join(u.Dropins, ", ")
	}
	return u.Name, said
}

// people are users and groups.
func people(i Image) map[string]string {
	m := table(i.Users, func(u User) (string, string) {
		return "user " + u.Name, fmt.Sprintf("%d:%d, home %s, shell %s, password %s", u.UID, u.GID, u.Home, u.Shell, u.Password)
	})
	maps.Copy(m, table(i.Groups, func(g Group) (string, string) {
		said := fmt.Sprint(g.GID)
		if len(g.Members) > 0 {
			said += ", members " + strings.Join(g.Members, ", ")
		}
		return "group " + g.Name, said
	}))
	return m
}

// table has the rows by their names. Several of one name are one, in their order:
// none of them must hide another.
func table[T any](list []T, row func(T) (name, value string)) map[string]string {
	m := map[string]string{}
	for _, v := range list {
		name, value := row(v)
		if m[name] != "" {
			value = m[name] + "; " + value
		}
		m[name] = value
	}
	return m
}

func changes(a, b map[string]string) []Change {
	list := []Change{}
	for name, old := range a {
		if b[name] != old {
			list = append(list, Change{name, old, b[name]})
		}
	}
	for name, value := range b {
		if a[name] == "" && value != "" {
			list = append(list, Change{name, "", value})
		}
	}
	slices.SortFunc(list, func(a, b Change) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// compareFiles walks two sorted lists.
func compareFiles(a, b []File) []FileChange {
	list := []FileChange{}
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].Path < b[0].Path:
			list = append(list, FileChange{Path: a[0].Path, Package: a[0].Package, Change: "removed", Old: &a[0]})
			a = a[1:]
		case len(a) == 0 || b[0].Path < a[0].Path:
			list = append(list, FileChange{Path: b[0].Path, Package: b[0].Package, Change: "added", New: &b[0]})
			b = b[1:]
		default:
			if what := differences(a[0], b[0]); len(what) > 0 {
				list = append(list, FileChange{b[0].Path, cmp.Or(b[0].Package, a[0].Package), "changed", what, &a[0], &b[0]})
			}
			a, b = a[1:], b[1:]
		}
	}
	return list
}

func differences(a, b File) []string {
	if a.Type != b.Type {
		return []string{fmt.Sprintf("%s → %s", a.Type, b.Type)}
	}
	var what []string
	if a.SHA256 != b.SHA256 {
		what = append(what, fmt.Sprintf("content, %d → %d bytes", a.Bytes, b.Bytes))
	}
	if a.Mode != b.Mode {
		what = append(what, fmt.Sprintf("mode %s → %s", a.Mode, b.Mode))
	}
	if a.UID != b.UID || a.GID != b.GID {
		what = append(what, fmt.Sprintf("owner %d:%d → %d:%d", a.UID, a.GID, b.UID, b.GID))
	}
	if a.Target != b.Target {
		what = append(what, fmt.Sprintf("target %s → %s", a.Target, b.Target))
	}
	return what
}

// Fold is a number of changed files in one line.
type Fold struct {
	Name                    string // a package, or a folder of what belongs to none
	Added, Removed, Changed int
	Files                   []FileChange
}

// foldAbove is how many files of no package are shown one by one.
const foldAbove = 40

// Folds groups the changed files: by package, and those of no package by folder
// when there are many. Otherwise these are the second result.
func (d Diff) Folds() ([]Fold, []FileChange) {
	var loose []FileChange
	folds := map[string]*Fold{}
	add := func(name string, f FileChange) {
		if folds[name] == nil {
			folds[name] = &Fold{Name: name}
		}
		g := folds[name]
		g.Files = append(g.Files, f)
		switch f.Change {
		case "added":
			g.Added++
		case "removed":
			g.Removed++
		default:
			g.Changed++
		}
	}
	for _, f := range d.Files {
		if f.Package == "" {
			loose = append(loose, f)
		} else {
			add("package "+f.Package, f)
		}
	}
	if len(loose) > foldAbove {
		for _, f := range loose {
			add(path.Dir(f.Path), f)
		}
		loose = nil
	}
	var list []Fold
	for _, name := range slices.Sorted(maps.Keys(folds)) {
		list = append(list, *folds[name])
	}
	return list, loose
}
