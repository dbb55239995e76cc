// Package scan looks up the known vulnerabilities of what an image holds, in the
// database OSV: of Debian's source packages and of Go's modules.
package scan

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ossf/osv-schema/bindings/go/osvschema"

	"ingot/fault"
	"ingot/images/sbom"
)

// Database has the records of vulnerabilities.
type Database interface {
	// Affecting returns, for each target, the records about it that are not
	// withdrawn, each with its whole text.
	Affecting(ctx context.Context, targets []Target) ([][]*osvschema.Vulnerability, error)
}

// Target is what OSV lists vulnerabilities of: a source package or a module.
type Target struct {
	Ecosystem string // as OSV names it, such as "Debian:13" or "Go"
	Name      string
	Version   string
	// Components are the names of what the image holds of it: binary packages,
	// or the programs that a module is in.
	Components []string
	Parts      []string // of the image, see package sbom
}

// releases are the numbers of Debian's suites.
var releases = map[string]string{"bookworm": "12", "trixie": "13", "forky": "14"}

// Targets are what of a bill OSV knows, in a fixed order.
func Targets(b sbom.Bill) ([]Target, error) {
	release, known := releases[b.Suite]
	if !known {
		return nil, fault.Input(fmt.Errorf("no vulnerabilities are known by the name of Debian's suite %q; this ingot knows bookworm, trixie and forky", b.Suite))
	}
	at := map[[3]string]int{}
	var targets []Target
	for _, c := range b.Components {
		var t Target
		switch c.Kind {
		case sbom.Debian:
			t = Target{Ecosystem: "Debian:" + release, Components: []string{c.Name}}
			t.Name, t.Version = c.Origin()
		case sbom.Module:
			if c.Version == "" {
				continue
			}
			t = Target{Ecosystem: "Go", Name: c.Name, Version: strings.TrimPrefix(c.Version, "v"), Components: c.Programs}
		default:
			continue
		}
		key := [3]string{t.Ecosystem, t.Name, t.Version}
		i, seen := at[key]
		if !seen {
			i = len(targets)
			at[key] = i
			targets = append(targets, t)
			targets[i].Components = nil
		}
		targets[i].Components = joined(targets[i].Components, t.Components)
		targets[i].Parts = joined(targets[i].Parts, c.Parts)
	}
	slices.SortFunc(targets, func(a, b Target) int {
		return strings.Compare(a.Ecosystem+" "+a.Name+" "+a.Version, b.Ecosystem+" "+b.Name+" "+b.Version)
	})
	return targets, nil
}

func joined(a, b []string) []string {
	u := slices.Concat(a, b)
	slices.Sort(u)
	return slices.Compact(u)
}

// Finding is a vulnerability of something in an image.
type Finding struct {
	ID       string   `json:"id"`                // the CVE's, where there is one
	Aliases  []string `json:"aliases,omitempty"` // other names of it, and advisories
	Severity Severity `json:"severity"`
	Score    float64  `json:"score,omitempty"` // of CVSS, 0 when none is known

	Package    string   `json:"package"` // source package or module
	Ecosystem  string   `json:"ecosystem"`
	Version    string   `json:"version"`
	Components []string `json:"components"` // binary packages, or programs
	Parts      []string `json:"parts"`      // of the image

	Fixed string `json:"fixed,omitempty"` // the first version without it, empty when there is none
	// InArchive says whether the archive has that version now.
	InArchive Known  `json:"in_archive"`
	Summary   string `json:"summary,omitempty"`
	// Ignored is why it does not count, nil when it does.
	Ignored *Ignore `json:"ignored,omitempty"`
}

// Known is yes, no, or not known.
type Known string

// The values of Known.
const (
	Yes     Known = "yes"
	No      Known = "no"
	Unknown Known = "unknown"
)

// Report is what a scan found.
type Report struct {
	Scanned  int       `json:"scanned"`  // source packages and modules
	Findings []Finding `json:"findings"` // the worst first
	Notes    []string  `json:"notes"`    // about the list of what to ignore
}

// Run scans a bill. What is ignored stays in the report, marked.
func Run(ctx context.Context, b sbom.Bill, db Database, ignores []Ignore, now time.Time) (Report, error) {
	targets, err := Targets(b)
	if err != nil {
		return Report{}, err
	}
	records, err := db.Affecting(ctx, targets)
	if err != nil {
		return Report{}, err
	}
	r := Report{Scanned: len(targets), Findings: []Finding{}, Notes: []string{}}
	for i, t := range targets {
		found, err := findings(t, records[i])
		if err != nil {
			return Report{}, err
		}
		r.Findings = append(r.Findings, found...)
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		if a.Severity != b.Severity {
			return b.Severity.rank() - a.Severity.rank()
		}
		return strings.Compare(a.Package+" "+a.ID, b.Package+" "+b.ID)
	})
	r.Notes = append(r.Notes, apply(ignores, r.Findings, now)...)
	return r, nil
}

// Counting are the findings that a policy counts: at least that severe, not
// ignored and, when only those are wanted, with a fix.
func (r Report) Counting(least Severity, fixable bool) []Finding {
	var list []Finding
	for _, f := range r.Findings {
		if f.Ignored == nil && f.Severity.rank() >= least.rank() && (!fixable || f.Fixed != "") {
			list = append(list, f)
		}
	}
	return list
}

// Ignored is the number of findings that are ignored.
func (r Report) Ignored() int {
	n := 0
	for _, f := range r.Findings {
		if f.Ignored != nil {
			n++
		}
	}
	return n
}

// InArchive fills in which fixes the archive has, from the versions of source
// packages that it has now.
func (r Report) InArchive(now map[string]string) {
	for i, f := range r.Findings {
		has, known := now[f.Package]
		if !known || !strings.HasPrefix(f.Ecosystem, "Debian:") {
			continue
		}
		r.Findings[i].InArchive = No
		if f.Fixed == "" {
			continue
		}
		if order, err := f.target().compare(has, f.Fixed); err != nil {
			r.Findings[i].InArchive = Unknown
		} else if order >= 0 {
			r.Findings[i].InArchive = Yes
		}
	}
}
