package scan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ossf/osv-schema/bindings/go/osvschema"
	"golang.org/x/mod/semver"
	"pault.ag/go/debian/version"
)

// compare orders two versions of a target's ecosystem.
func (t Target) compare(a, b string) (int, error) {
	if strings.HasPrefix(t.Ecosystem, "Debian:") {
		va, err := version.Parse(a)
		if err != nil {
			return 0, fmt.Errorf("the version %q of %s: %w", a, t.Name, err)
		}
		vb, err := version.Parse(b)
		if err != nil {
			return 0, fmt.Errorf("the version %q of %s: %w", b, t.Name, err)
		}
		return version.Compare(va, vb), nil
	}
	for _, v := range []string{a, b} {
		if !semver.IsValid("v" + v) {
			return 0, fmt.Errorf("the version %q of %s is none of Go's", v, t.Name)
		}
	}
	return semver.Compare("v"+a, "v"+b), nil
}

// event is one point of a range.
type event struct {
	version string // "0" is before all
	what    string // introduced, fixed or last
}

// ranges are the ranges of versions in a record that a target can be compared
// with, each sorted.
func ranges(t Target, a *osvschema.Affected) ([][]event, error) {
	var list [][]event
	for _, r := range a.GetRanges() {
		if r.GetType() == osvschema.Range_GIT {
			continue
		}
		var events []event
		for _, e := range r.GetEvents() {
			switch {
			case e.GetIntroduced() != "":
				events = append(events, event{e.GetIntroduced(), "introduced"})
			case e.GetFixed() != "":
				events = append(events, event{e.GetFixed(), "fixed"})
			case e.GetLastAffected() != "":
				events = append(events, event{e.GetLastAffected(), "last"})
			}
		}
		var err error
		slices.SortStableFunc(events, func(a, b event) int {
			switch {
			case a.version == b.version:
				return 0
			case a.version == "0":
				return -1
			case b.version == "0":
				return 1
			}
			order, failed := t.compare(a.version, b.version)
			if failed != nil {
				err = failed
			}
			return order
		})
		if err != nil {
			return nil, err
		}
		list = append(list, events)
	}
	return list, nil
}

// affected reports whether a record is about a target's version, by the rules of
// OSV's schema: it is listed, or the last event at or before it is none that ends
// the vulnerability.
func affected(t Target, r *osvschema.Vulnerability) (bool, error) {
	for _, a := range about(t, r) {
		if slices.Contains(a.GetVersions(), t.Version) {
			return true, nil
		}
		all, err := ranges(t, a)
		if err != nil {
			return false, err
		}
		for _, events := range all {
			inside := false
			for _, e := range events {
				order := 1
				if e.version != "0" {
					if order, err = t.compare(t.Version, e.version); err != nil {
						return false, err
					}
				}
				switch {
				case e.what == "introduced" && order >= 0:
					inside = true
				case e.what == "fixed" && order >= 0, e.what == "last" && order > 0:
					inside = false
				}
			}
			if inside {
				return true, nil
			}
		}
	}
	return false, nil
}

// firstFix is the lowest version above a target's that a record calls fixed.
func firstFix(t Target, r *osvschema.Vulnerability) (string, error) {
	first := ""
	for _, a := range about(t, r) {
		all, err := ranges(t, a)
		if err != nil {
			return "", err
		}
		for _, e := range slices.Concat(all...) {
			if e.what != "fixed" {
				continue
			}
			later, err := t.compare(e.version, t.Version)
			if err != nil {
				return "", err
			}
			earlier := -1
			if first != "" {
				if earlier, err = t.compare(e.version, first); err != nil {
					return "", err
				}
			}
			if later > 0 && earlier < 0 {
				first = e.version
			}
		}
	}
	return first, nil
}
