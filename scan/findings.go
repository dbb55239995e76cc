package scan

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/ossf/osv-schema/bindings/go/osvschema"
)

// findings are the vulnerabilities of one target. Several records may be about
// one: Debian's about a CVE, a security advisory, Go's and GitHub's.
func findings(t Target, records []*osvschema.Vulnerability) ([]Finding, error) {
	var list []Finding
	var advisories []*osvschema.Vulnerability
	slices.SortFunc(records, func(a, b *osvschema.Vulnerability) int { return strings.Compare(a.GetId(), b.GetId()) })
	for _, r := range records {
		if len(r.GetUpstream()) > 1 {
			advisories = append(advisories, r)
			continue
		}
		f, err := finding(t, r)
		if err != nil {
			return nil, err
		}
		list = merge(list, f)
	}
	// An advisory about several vulnerabilities says something new only about
	// those that have no record of their own.
	for _, r := range advisories {
		told := true
		for _, id := range r.GetUpstream() {
			i := slices.IndexFunc(list, func(f Finding) bool { return slices.Contains(f.names(), id) })
			if i < 0 {
				told = false
				continue
			}
			list[i].Aliases = joined(list[i].Aliases, []string{r.GetId()})
		}
		if told {
			continue
		}
		f, err := finding(t, r)
		if err != nil {
			return nil, err
		}
		list = append(list, f)
	}
	return list, nil
}

// merge adds a finding to the one that is about the same vulnerability.
func merge(list []Finding, f Finding) []Finding {
	for i := 0; i < len(list); i++ {
		if !slices.ContainsFunc(list[i].names(), func(id string) bool { return slices.Contains(f.names(), id) }) {
			continue
		}
		f = both(list[i], f)
		list = slices.Delete(list, i, i+1)
		i--
	}
	return append(list, f)
}

// both is what two records say about one vulnerability: the worse of what they
// say about it.
func both(a, b Finding) Finding {
	names := joined(a.names(), b.names())
	f := a
	f.ID, f.Aliases = named(names)
	if b.Severity.rank() > a.Severity.rank() {
		f.Severity = b.Severity
	}
	f.Score = max(a.Score, b.Score)
	f.Summary = cmp.Or(a.Summary, b.Summary)
	// Before the later of two fixes, a part of it is still there.
	f.Fixed = cmp.Or(a.Fixed, b.Fixed)
	if order, err := a.target().compare(f.Fixed, b.Fixed); err == nil && order < 0 {
		f.Fixed = b.Fixed
	}
	return f
}

func (f Finding) target() Target {
	return Target{Ecosystem: f.Ecosystem, Name: f.Package, Version: f.Version}
}

func (f Finding) names() []string { return append([]string{f.ID}, f.Aliases...) }

// named chooses the name that people know.
func named(names []string) (string, []string) {
	for _, prefix := range []string{"CVE-", "DSA-", "GO-", "GHSA-"} {
		if i := slices.IndexFunc(names, func(s string) bool { return strings.HasPrefix(s, prefix) }); i >= 0 {
			return names[i], slices.Delete(slices.Clone(names), i, i+1)
		}
	}
	return names[0], slices.Clone(names[1:])
}

func finding(t Target, r *osvschema.Vulnerability) (Finding, error) {
	f := Finding{
		Package: t.Name, Ecosystem: t.Ecosystem, Version: t.Version, Components: t.Components, Parts: t.Parts,
		InArchive: Unknown, Summary: printable(cmp.Or(r.GetSummary(), firstSentence(r.GetDetails()))),
	}
	names := append([]string{r.GetId()}, r.GetAliases()...)
	if len(r.GetUpstream()) <= 1 {
		names = append(names, r.GetUpstream()...)
		f.ID, f.Aliases = named(joined(names, nil))
	} else {
		// Its own name: that of one of the several would hide the others.
		f.ID, f.Aliases = r.GetId(), joined(names[1:], nil)
	}
	for _, name := range f.names() {
		if !identifier.MatchString(name) {
			return f, fmt.Errorf("the database has a vulnerability of %s with the name %q, which is none", t.Name, name)
		}
	}
	f.Severity, f.Score = severity(t, r)
	var err error
	f.Fixed, err = firstFix(t, r)
	return f, err
}

// identifier is what databases of vulnerabilities call them.
var identifier = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{2,99}$`)

// firstSentence is the beginning of a text.
func firstSentence(details string) string {
	s := strings.Join(strings.Fields(details), " ")
	if at := strings.Index(s, ". "); at >= 0 {
		s = s[:at+1]
	}
	const long = 200
	if runes := []rune(s); len(runes) > long {
		s = string(runes[:long-1]) + "…"
	}
	return s
}

// printable is a text of others as it may be shown on a terminal: without what
// moves the cursor or turns the direction of writing.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return -1
		}
		return r
	}, s)
}

// about are the parts of a record that are about a target.
func about(t Target, r *osvschema.Vulnerability) []*osvschema.Affected {
	var list []*osvschema.Affected
	base, _, _ := strings.Cut(t.Ecosystem, ":")
	for _, a := range r.GetAffected() {
		p := a.GetPackage()
		if p.GetName() == t.Name && (p.GetEcosystem() == t.Ecosystem || p.GetEcosystem() == base) {
			list = append(list, a)
		}
	}
	return list
}
