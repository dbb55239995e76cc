package scan

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// IgnoreFile is the list of what does not count, beside ingot.yaml. It is a file
// of its own: an entry more must not make a verdict be about another
// configuration.
const IgnoreFile = "ingot.vex.yaml"

// Ignore says that a vulnerability does not count, why, and until when.
type Ignore struct {
	ID string `yaml:"id" json:"id"` // any of its names
	// Package narrows it to one source package or module.
	Package string `yaml:"package" json:"package,omitempty"`
	Reason  string `yaml:"reason" json:"reason"`
	Until   string `yaml:"until" json:"until"` // the last day, in UTC
}

const day = "2006-01-02"

// ReadIgnores reads a list. None is there for a file that is not.
func ReadIgnores(file string) ([]Ignore, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list, err := parseIgnores(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return list, nil
}

func parseIgnores(text []byte) ([]Ignore, error) {
	var f struct {
		Ignore []Ignore `yaml:"ignore"`
	}
	err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(&f)
	if err != nil && !errors.Is(err, io.EOF) { // nothing but comments
		return nil, errors.New(strings.TrimSpace(yaml.FormatError(err, false, true)))
	}
	seen := map[[2]string]bool{}
	for i, e := range f.Ignore {
		where := fmt.Sprintf("entry %d of ignore", i+1)
		if e.ID != "" {
			where = fmt.Sprintf("the entry of %q", e.ID)
		}
		switch _, err := time.Parse(day, e.Until); {
		case !identifier.MatchString(e.ID):
			return nil, fmt.Errorf("%s has no id; add one such as CVE-2025-1234", where)
		case strings.TrimSpace(e.Reason) == "":
			return nil, fmt.Errorf("%s says no reason; add why it does not count here", where)
		case err != nil:
			return nil, fmt.Errorf("%s has no day on which it ends; add until: 2027-01-31", where)
		case seen[[2]string{e.ID, e.Package}]:
			return nil, fmt.Errorf("%s is there twice; remove one", where)
		}
		seen[[2]string{e.ID, e.Package}] = true
	}
	return f.Ignore, nil
}

// apply marks the findings that are ignored, and says which entries do nothing.
func apply(ignores []Ignore, findings []Finding, now time.Time) []string {
	var notes []string
	for _, e := range ignores {
		until, err := time.Parse(day, e.Until)
		expired := err != nil || !now.Before(until.AddDate(0, 0, 1))
		matched := false
		for i, f := range findings {
			if !slices.Contains(f.names(), e.ID) || e.Package != "" && e.Package != f.Package {
				continue
			}
			matched = true
			if !expired && f.Ignored == nil {
				findings[i].Ignored = &e
			}
		}
		switch {
		case !matched:
			notes = append(notes, fmt.Sprintf("%s names %s, which this image does not have; remove the entry", IgnoreFile, e.ID))
		case expired:
			notes = append(notes, fmt.Sprintf("%s ignored %s until %s, which is over; decide anew", IgnoreFile, e.ID, e.Until))
		}
	}
	return notes
}
