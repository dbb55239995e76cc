package images

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"ingot/fault"
	"ingot/layers"
)

// Outdated is what a new lock would change.
type Outdated struct {
	Packages []Change       `json:"packages"`
	Sources  []SourceChange `json:"sources"`
	Images   []ImageChange  `json:"images"` // of containers
	// Bytes is the size of the packages that a new lock needs and the cache
	// does not have.
	Bytes int64 `json:"bytes"`
}

// SourceChange is a source package that has another version now: its packages
// change together, for the same reasons.
type SourceChange struct {
	Source   string   `json:"source"`
	From     string   `json:"from"`    // version of the source in the lock
	To       string   `json:"to"`      // in a new one
	Archive  string   `json:"archive"` // security when any of its packages comes from there
	Trees    []Tree   `json:"trees"`
	Packages []string `json:"packages"` // of the new lock
	// Entries are those of the changelog between the two versions; nil when they
	// were not asked for. Problem says why they could not be read.
	Entries []Entry  `json:"changelog"`
	CVEs    []string `json:"cves"` // in all entries
	Problem string   `json:"problem,omitempty"`

	files []Package // of the new lock, the smallest first
}

// FindOutdated tells what a new lock would change. It touches no lock. With
// changelogs, it downloads one package of each changed source into the cache.
func FindOutdated(ctx context.Context, plan layers.Plan, opts Options, changelogs bool) (Outdated, error) {
	if err := CheckHost(); err != nil {
		return Outdated{}, err
	}
	b := &builder{opts: opts}
	if _, err := os.Stat(opts.LockFile); errors.Is(err, os.ErrNotExist) {
		return Outdated{}, fault.Input(ErrNoLock)
	}
	old, err := readOldLock(opts.LockFile)
	if err != nil {
		return Outdated{}, fault.Input(err)
	}
	now, err := b.resolve(ctx, plan, old)
	if err != nil {
		return Outdated{}, err
	}
	o := Outdated{Packages: compare(old, now).Packages, Images: imageChanges(old, now.lock)}
	var changed []Package
	for _, c := range o.Packages {
		if c.Kind != Removed {
			changed = append(changed, c.new)
		}
	}
	_, o.Bytes = b.opts.Cache.debs().missing(changed)
	o.Sources = sourceChanges(old, now, o.Packages)
	if !changelogs {
		return o, nil
	}
	for i := range o.Sources {
		if err := b.readEntries(ctx, now.lock, &o.Sources[i]); err != nil {
			return Outdated{}, err
		}
	}
	return o, nil
}

// sourceChanges joins the changes by source, those from the security archive
// first.
func sourceChanges(old Lock, now resolution, changes []Change) []SourceChange {
	sources := map[string]string{} // by package; a lock of version 1 has none of its own
	for _, packages := range now.lock.Trees {
		for _, p := range packages {
			sources[p.Name] = p.Source
		}
	}
	before := newestSources(old, sources)
	list := []SourceChange{}
	for name, p := range newestSources(now.lock, sources) {
		was, known := before[name]
		if !known || was.sourceVersion() == p.sourceVersion() {
			continue
		}
		s := SourceChange{Source: name, From: was.sourceVersion(), To: p.SourceVersion, Archive: ArchiveMain, Trees: []Tree{}, Packages: []string{}, CVEs: []string{}}
		for _, c := range changes {
			if c.Kind == Removed || c.new.Source != name {
				continue
			}
			if c.Archive == ArchiveSecurity || s.Archive == ArchiveMain {
				s.Archive = c.Archive
			}
			if !slices.Contains(s.Trees, c.Tree) {
				s.Trees = append(s.Trees, c.Tree)
			}
			if !slices.Contains(s.Packages, c.Name) {
				s.Packages = append(s.Packages, c.Name)
				s.files = append(s.files, c.new)
			}
		}
		slices.SortFunc(s.files, func(a, b Package) int { return cmp.Or(cmp.Compare(a.Size, b.Size), strings.Compare(a.Name, b.Name)) })
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b SourceChange) int {
		if (a.Archive == ArchiveSecurity) != (b.Archive == ArchiveSecurity) {
			return map[bool]int{true: -1, false: 1}[a.Archive == ArchiveSecurity]
		}
		return strings.Compare(a.Source, b.Source)
	})
	return list
}

// newestSources has a package of the newest version of each source. A kernel
// has another name in each version, its source has not.
func newestSources(lock Lock, sources map[string]string) map[string]Package {
	newest := map[string]Package{}
	for _, packages := range lock.Trees {
		for _, p := range packages {
			source := cmp.Or(p.Source, sources[p.Name], p.Name)
			if q, ok := newest[source]; !ok || compareVersions(q.sourceVersion(), p.sourceVersion()) < 0 {
				newest[source] = p
			}
		}
	}
	return newest
}

// sourceVersion of a package in a lock of version 1 is guessed: that of the
// package without the mark of a rebuild.
func (p Package) sourceVersion() string {
	return cmp.Or(p.SourceVersion, rebuilt.ReplaceAllString(p.Version, ""))
}

// readEntries downloads the source's packages, the smallest first, until one
// has the changelog.
func (b *builder) readEntries(ctx context.Context, lock Lock, s *SourceChange) error {
	s.Entries, s.Problem = []Entry{}, ""
	for _, p := range s.files {
		if err := b.fetch(ctx, lock, []Package{p}); err != nil {
			return err
		}
		entries, err := readChangelog(ctx, b.opts.Cache.debs().path(p), p.Name, s.From)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.Entries = append([]Entry{}, entries...)
		if err == nil {
			s.Problem = ""
			break
		}
		s.Problem = fmt.Sprintf("%s: %v", p.Name, err)
	}
	var ids []string
	for _, e := range s.Entries {
		ids = append(ids, e.CVEs...)
	}
	s.CVEs = cves(strings.Join(ids, " "))
	return nil
}
