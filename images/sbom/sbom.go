// Package sbom writes down what is in an image, as SPDX and as CycloneDX. Both
// are made from one plain list, so that they cannot disagree, and neither knows
// a clock or this machine.
package sbom

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/package-url/packageurl-go"
)

// The files' names, in an image's Folder and beside it.
const (
	Folder        = "/usr/share/ingot"
	SPDXFile      = "sbom.spdx.json"
	CycloneDXFile = "sbom.cdx.json"
)

// Rules are the files of this package that make components of trees and programs.
// A list of components that is kept depends on them.
var Rules = componentRules + licenceRules + programRules + initrdRules

var (
	//go:embed sbom.go
	componentRules string
	//go:embed licence.go
	licenceRules string
	//go:embed program.go
	programRules string
	//go:embed initrd.go
	initrdRules string
)

// Kind is what a component is.
type Kind string

// The kinds.
const (
	Debian    Kind = "debian"    // a binary package
	Program   Kind = "program"   // an executable that no package brought
	Module    Kind = "module"    // a Go module in a program, or Go's standard library
	Container Kind = "container" // a container image
)

// Component is one thing in an image.
type Component struct {
	Kind    Kind   `json:"kind"`
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	// SHA256 is that of the .deb, of the program or of the container's manifest.
	SHA256  string `json:"sha256,omitempty"`
	Licence string `json:"licence,omitempty"` // an SPDX expression, empty when not known

	// Of Debian packages.
	Arch          string `json:"arch,omitempty"`
	Source        string `json:"source,omitempty"`
	SourceVersion string `json:"sourceVersion,omitempty"`

	// Parts are where in the image it is, sorted: see the constants.
	Parts []string `json:"parts,omitempty"`
	// Programs are the names of the programs that hold a module, sorted.
	Programs []string `json:"programs,omitempty"`
}

// Origin is the source package under which Debian lists vulnerabilities. What is
// signed for Secure Boot has a source of its own, with a version like 6.12.9+1,
// in which nothing is ever listed: it repacks the binaries of the real source,
// whose version its packages have.
func (c Component) Origin() (name, version string) {
	if name, signed := strings.CutSuffix(c.Source, "-signed-"+c.Arch); signed {
		return name, c.Version
	}
	return c.Source, c.SourceVersion
}

// The parts of an image. Vulnerabilities count everywhere; what can be reached
// differs.
const (
	InRoot   = "root"   // the sealed root
	InInitrd = "initrd" // its files, or some of them, are in the initrd
	InBoot   = "boot"   // the boot loader
	// InContainer begins the name of a container image that packages are in.
	InContainer = "container-"
)

// Bill is what an image holds.
type Bill struct {
	Suite      string // of Debian
	Epoch      int64  // the lock's clock, seconds since 1970
	Components []Component
}

// Files is the bill in both formats, by file name.
func (b Bill) Files() (map[string][]byte, error) {
	spdx, err := b.SPDX()
	if err != nil {
		return nil, err
	}
	cyclonedx, err := b.CycloneDX()
	return map[string][]byte{SPDXFile: spdx, CycloneDXFile: cyclonedx}, err
}

// PURL is the package URL of a component, which says what it is to programs
// that look for vulnerabilities. A program has none: nobody published it.
func (b Bill) PURL(c Component) string {
	switch c.Kind {
	case Debian:
		q := map[string]string{"arch": c.Arch, "distro": b.Suite}
		if c.Source != c.Name || c.SourceVersion != c.Version {
			q["upstream"] = c.Source
			if c.SourceVersion != c.Version {
				q["upstream"] += "@" + c.SourceVersion
			}
		}
		return packageurl.NewPackageURL(packageurl.TypeDebian, "debian", c.Name, c.Version, packageurl.QualifiersFromMap(q), "").String()
	case Module:
		namespace, name := "", c.Name
		if at := strings.LastIndexByte(name, '/'); at >= 0 {
			namespace, name = name[:at], name[at+1:]
		}
		return packageurl.NewPackageURL(packageurl.TypeGolang, namespace, name, c.Version, nil, "").String()
	case Container:
		at := strings.LastIndexByte(c.Name, '/')
		q := map[string]string{"repository_url": c.Name}
		return packageurl.NewPackageURL(packageurl.TypeOCI, "", strings.ToLower(c.Name[at+1:]), "sha256:"+c.SHA256, packageurl.QualifiersFromMap(q), "").String()
	}
	return ""
}

// Sorted joins components that are the same one in several places, and puts
// them into the one order in which they are written.
func Sorted(list []Component) []Component {
	same := map[string]int{}
	var joined []Component
	for _, c := range list {
		key := strings.Join([]string{string(c.Kind), c.Name, c.Version, c.Arch, c.SHA256}, "\x00")
		at, ok := same[key]
		if !ok {
			at = len(joined)
			same[key] = at
			joined = append(joined, c)
			joined[at].Parts, joined[at].Programs = nil, nil
		}
		j := &joined[at]
		j.Parts, j.Programs = union(j.Parts, c.Parts), union(j.Programs, c.Programs)
		j.Licence = cmp.Or(j.Licence, c.Licence)
	}
	slices.SortFunc(joined, func(a, b Component) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Arch, b.Arch), cmp.Compare(a.SHA256, b.SHA256))
	})
	return joined
}

func union(a, b []string) []string {
	u := slices.Concat(a, b)
	slices.Sort(u)
	return slices.Compact(u)
}

// digest identifies the bill: equal contents have equal ids.
func (b Bill) digest() ([sha256.Size]byte, error) {
	text, err := json.Marshal(b)
	return sha256.Sum256(text), err
}

// id is the name of a component within a document, derived from what it is.
func id(c Component) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{string(c.Kind), c.Name, c.Version, c.Arch, c.SHA256}, "\x00")))
	return string(c.Kind) + "-" + hex.EncodeToString(sum[:8])
}

// created is the lock's clock as both formats write it.
func (b Bill) created() string { return time.Unix(b.Epoch, 0).UTC().Format(time.RFC3339) }
