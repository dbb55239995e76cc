package inspect

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"strings"
)

// Size says what takes space in an image. Bytes are of the files as the machine
// sees them, stored bytes what they take in the image, compressed.
type Size struct {
	DiskBytes int64         `json:"disk_bytes"` // of the image file
	RootBytes int64         `json:"root_bytes"`
	ESP       []File        `json:"esp"`
	Packages  []PackageSize `json:"packages"` // largest first
	Askers    []Asker       `json:"askers"`   // largest first
	Folders   []FolderSize  `json:"folders"`  // the 15 largest of two levels
	Loose     []File        `json:"loose"`    // files of no package, largest first
}

// Taken is how much room something takes.
type Taken struct {
	Files  int   `json:"files"`
	Bytes  int64 `json:"bytes"`
	Stored int64 `json:"stored"`
}

func (t *Taken) add(f File) {
	t.Files++
	t.Bytes += f.Bytes
	t.Stored += f.Stored
}

// PackageSize is a package and who asked for it, directly or through what it
// needs: [Base], or layers of a plan, or else packages that none needs.
type PackageSize struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Taken
	AskedBy []string `json:"asked_by"`
}

// Asker is who asked for packages. Alone is what nobody else wants, too.
type Asker struct {
	Name     string   `json:"name"`
	Asked    []string `json:"asked"` // by name
	Packages int      `json:"packages"`
	Stored   int64    `json:"stored"`
	Alone    int64    `json:"alone"` // stored bytes that would go with it
}

// FolderSize is a folder with everything below it.
type FolderSize struct {
	Path string `json:"path"`
	Taken
}

// Base is who asked for what every Debian system has.
const Base = "base"

// SizeOf adds up an image. Asked are the packages that each layer of a plan asks
// for; nil says that there is no plan.
func SizeOf(i Image, asked map[string][]string) Size {
	s := Size{DiskBytes: i.DiskBytes, RootBytes: i.RootBytes, ESP: slices.Clone(i.ESP)}
	bySize := func(a, b File) int { return cmp.Or(cmp.Compare(b.Stored, a.Stored), cmp.Compare(a.Path, b.Path)) }
	slices.SortFunc(s.ESP, bySize)
	packages, folders := map[string]*Taken{}, map[string]*Taken{}
	for _, f := range i.Files {
		if f.Type == "directory" {
			continue
		}
		entry(packages, f.Package).add(f)
		entry(folders, folderOf(f.Path)).add(f)
		if f.Package == "" {
			s.Loose = append(s.Loose, f)
		}
	}
	slices.SortFunc(s.Loose, bySize)
	for _, name := range slices.Sorted(maps.Keys(folders)) {
		s.Folders = append(s.Folders, FolderSize{name, *folders[name]})
	}
	slices.SortStableFunc(s.Folders, func(a, b FolderSize) int { return cmp.Compare(b.Stored, a.Stored) })
	s.Folders = s.Folders[:min(len(s.Folders), 15)]

	g := newGraph(i.Packages)
	if asked == nil {
		asked = g.tops()
	}
	who := g.askers(asked)
	for _, p := range i.Packages {
		s.Packages = append(s.Packages, PackageSize{p.Name, p.Version, *entry(packages, p.Name), who[p.Name]})
	}
	slices.SortStableFunc(s.Packages, func(a, b PackageSize) int { return cmp.Compare(b.Stored, a.Stored) })
	s.Askers = askersOf(s.Packages, asked)
	return s
}

func entry(m map[string]*Taken, name string) *Taken {
	if m[name] == nil {
		m[name] = &Taken{}
	}
	return m[name]
}

// folderOf is the folder of two levels that a file is counted in.
func folderOf(name string) string {
	parts := strings.Split(path.Dir(name), "/")
	return "/" + path.Join(parts[1:min(len(parts), 3)]...)
}

func askersOf(packages []PackageSize, asked map[string][]string) []Asker {
	all := map[string]*Asker{}
	for _, p := range packages {
		for _, name := range p.AskedBy {
			if all[name] == nil {
				all[name] = &Asker{Name: name, Asked: asked[name]}
			}
			all[name].Packages++
			all[name].Stored += p.Stored
			if len(p.AskedBy) == 1 {
				all[name].Alone += p.Stored
			}
		}
	}
	var list []Asker
	for _, name := range slices.Sorted(maps.Keys(all)) {
		list = append(list, *all[name])
	}
	slices.SortStableFunc(list, func(a, b Asker) int { return cmp.Compare(b.Alone, a.Alone) })
	return list
}

// graph is which installed package needs which.
type graph struct {
	names     []string // sorted
	needs     map[string][]string
	essential []string
}

func newGraph(packages []Package) graph {
	g := graph{needs: map[string][]string{}}
	installed, providers := map[string]bool{}, map[string][]string{}
	for _, p := range packages {
		g.names, installed[p.Name] = append(g.names, p.Name), true
		if p.Essential {
			g.essential = append(g.essential, p.Name)
		}
		for _, name := range p.Provides {
			providers[name] = append(providers[name], p.Name)
		}
	}
	for _, p := range packages {
		for _, group := range p.Needs {
			g.needs[p.Name] = append(g.needs[p.Name], fulfilled(group, installed, providers)...)
		}
	}
	return g
}

// fulfilled is what makes one of alternatives true: the first that is installed,
// or else the packages that stand in for one.
func fulfilled(group []string, installed map[string]bool, providers map[string][]string) []string {
	for _, name := range group {
		if installed[name] {
			return []string{name}
		}
	}
	for _, name := range group {
		if len(providers[name]) > 0 {
			return providers[name]
		}
	}
	return nil
}

// reach is everything that some packages need, themselves included.
func (g graph) reach(from []string) map[string]bool {
	seen := map[string]bool{}
	todo := slices.Clone(from)
	for len(todo) > 0 {
		name := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if !seen[name] {
			seen[name] = true
			todo = append(todo, g.needs[name]...)
		}
	}
	return seen
}

// tops are the packages that no other needs, each asking for itself; of those
// that need each other in a circle, the first.
func (g graph) tops() map[string][]string {
	needed := map[string]bool{}
	for _, name := range g.names {
		for _, n := range g.needs[name] {
			needed[n] = needed[n] || n != name
		}
	}
	tops, covered := map[string][]string{}, g.reach(g.essential)
	take := func(name string) {
		if !covered[name] {
			tops[name] = []string{name}
			maps.Copy(covered, g.reach(tops[name]))
		}
	}
	for _, name := range g.names {
		if !needed[name] {
			take(name)
		}
	}
	for _, name := range g.names {
		take(name)
	}
	return tops
}

// askers says for each package who asked. What the base has is nobody else's.
func (g graph) askers(asked map[string][]string) map[string][]string {
	who := map[string][]string{}
	base := g.reach(g.essential)
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		for reached := range g.reach(asked[name]) {
			if !base[reached] {
				who[reached] = append(who[reached], name)
			}
		}
	}
	// What nobody is known to want came with the bootstrap.
	for _, name := range g.names {
		if len(who[name]) == 0 {
			who[name] = []string{Base}
		}
	}
	return who
}
