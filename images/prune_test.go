package images

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// ago makes a file or folder look unused for so many hours.
func ago(t *testing.T, file string, hours int) {
	t.Helper()
	then := time.Now().Add(-time.Duration(hours) * time.Hour)
	if err := os.Chtimes(file, then, then); err != nil {
		t.Fatal(err)
	}
}

// filled is a cache whose stages and packages were used so many hours ago. No
// process uses them now.
func filled(t *testing.T) Cache {
	t.Helper()
	maker := newCache(t)
	for name, hours := range map[string]int{"base": 1, "root": 50, "disk": 49, "tools": 2} {
		dir, _, err := maker.stage(t.Context(), name, digits("a"), func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "file"), make([]byte, mib), 0o644)
		})
		if err != nil {
			t.Fatal(err)
		}
		ago(t, dir, hours)
		maker.held.drop(dir + ".lock")
	}
	for name, hours := range map[string]int{"b": 3, "c": 48} {
		file := filepath.Join(maker.debs().dir, digits(name)+".deb")
		if err := os.WriteFile(file, make([]byte, mib), 0o644); err != nil {
			t.Fatal(err)
		}
		ago(t, file, hours)
	}
	cache, err := OpenCache(maker.Dir)
	if err != nil {
		t.Fatal(err)
	}
	return cache
}

func kinds(entries []Cached) []string {
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Kind)
	}
	return names
}

func TestEntries(t *testing.T) {
	t.Parallel()
	cache := filled(t)
	for range 2 { // the second time by the notes of the first
		entries, err := cache.Entries()
		if err != nil {
			t.Fatal(err)
		}
		if got, want := kinds(entries), []string{"root", "disk", KindPackages, KindPackages, "tools", "base", KindOther}; !slices.Equal(got, want) {
			t.Errorf("entries %q, want %q", got, want)
		}
		for _, e := range entries[:6] {
			if e.Bytes < mib || e.Bytes > mib+64<<10 { // the folder takes some, too
				t.Errorf("%s takes %d bytes, want 1 MiB", e.Name, e.Bytes)
			}
		}
	}
	if sizes := cache.sizes(); len(sizes) != 4 {
		t.Errorf("%d stages are noted, want 4", len(sizes))
	}
}

func TestDiskUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	empty := diskUse(dir)
	if err := os.WriteFile(filepath.Join(dir, "file"), make([]byte, mib), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.Link(filepath.Join(dir, "file"), filepath.Join(dir, "second")), // counts once
		os.WriteFile(filepath.Join(dir, "holes"), nil, 0o644),
		os.Truncate(filepath.Join(dir, "holes"), 1<<30), // takes nothing
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := diskUse(dir) - empty; got != mib {
		t.Errorf("%d bytes, want %d", got, mib)
	}
}

func TestPrune(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		options PruneOptions
		removed []string
	}{
		"far below the bound": {PruneOptions{}, []string{}},
		"no bound":            {PruneOptions{MaxBytes: Unbounded}, []string{}},
		"to three":            {PruneOptions{MaxBytes: 4*mib - 1<<19}, []string{"root", "disk", KindPackages}},
		"by age":              {PruneOptions{MaxBytes: Unbounded, OlderThan: 40 * time.Hour}, []string{"root", "disk", KindPackages}},
		"by both":             {PruneOptions{MaxBytes: 3 * mib, OlderThan: 49*time.Hour + 30*time.Minute}, []string{"root", "disk", KindPackages, KindPackages}},
		"all":                 {PruneOptions{All: true}, []string{"root", "disk", KindPackages, KindPackages, "tools", "base"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cache := filled(t)
			p, err := cache.Prune(t.Context(), tc.options)
			if err != nil {
				t.Fatal(err)
			}
			if got := kinds(p.Removed); !slices.Equal(got, tc.removed) || p.InUse != 0 {
				t.Errorf("removed %q, want %q; %d in use", got, tc.removed, p.InUse)
			}
			entries, err := cache.Entries()
			if err != nil || len(entries) != 7-len(tc.removed) {
				t.Errorf("%q are left (%v)", kinds(entries), err)
			}
			var left, gone int64
			for _, e := range entries[:len(entries)-1] {
				left += e.Bytes
			}
			for _, e := range p.Removed {
				gone += e.Bytes
			}
			if p.Bytes != gone || p.Left < left || p.Left > left+mib {
				t.Errorf("says that it removed %d and left %d, want %d and %d", p.Bytes, p.Left, gone, left)
			}
			locks, err := filepath.Glob(filepath.Join(cache.Dir, "stages", "*.lock"))
			stages, _ := filepath.Glob(filepath.Join(cache.Dir, "stages", "*-*[0-9a-f]"))
			if err != nil || len(locks) != len(stages) {
				t.Errorf("%d locks of %d stages are left", len(locks), len(stages))
			}
			wantNames(t, filepath.Join(cache.Dir, "tmp"))
		})
	}
}

// What a build uses stays, whatever is asked for: its stages, by any name, and
// its packages, until its process ends.
func TestPruneLeavesWhatIsInUse(t *testing.T) {
	t.Parallel()
	cache := filled(t)
	build, err := OpenCache(cache.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := build.alias("root", digits("a"), digits("b")); err != nil {
		t.Fatal(err)
	}
	root, result, err := build.stage(t.Context(), "root", digits("b"), put("anew"))
	if err != nil || !result.Cached {
		t.Fatalf("%+v, %v", result, err)
	}
	ago(t, root, 100)
	making := make(chan struct{})
	done := make(chan error)
	go func() {
		_, _, err := build.stage(t.Context(), "new", digits("c"), func(dir string) error {
			making <- struct{}{}
			<-making
			return put("x")(dir)
		})
		done <- err
	}()
	<-making
	if err := build.useDebs(t.Context()); err != nil {
		t.Fatal(err)
	}
	p, err := cache.Prune(t.Context(), PruneOptions{All: true})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := kinds(p.Removed), []string{"disk", "tools", "base"}; !slices.Equal(got, want) || p.InUse != 3 {
		t.Errorf("removed %q, want %q; %d in use, want root and two packages", got, want, p.InUse)
	}
	making <- struct{}{}
	if err := <-done; err != nil {
		t.Errorf("the build that was under way: %v", err)
	}
	if _, err := os.Stat(filepath.Join(root, "file")); err != nil {
		t.Error(err)
	}
	for _, name := range []string{ // its process ends
		cache.stageDir("root", digits("a")) + ".lock", cache.stageDir("root", digits("b")) + ".lock",
		cache.stageDir("new", digits("c")) + ".lock", cache.debs().dir,
	} {
		build.held.drop(name)
	}
	// A program that another test starts has our locks until its exec.
	removed := 0
	for range 100 {
		p, err = cache.Prune(t.Context(), PruneOptions{All: true})
		if removed += len(p.Removed); err != nil || p.InUse == 0 {
			break
		}
	}
	if err != nil || removed != 4 || p.InUse != 0 {
		t.Errorf("then removed %d, %d in use, %v", removed, p.InUse, err)
	}
	wantNames(t, filepath.Join(cache.Dir, "stages")) // the alias went with its stage
}

// Between the list and the removal somebody used the stage.
func TestPruneLeavesWhatWasUsedMeanwhile(t *testing.T) {
	t.Parallel()
	cache := filled(t)
	entries, err := cache.Entries()
	if err != nil {
		t.Fatal(err)
	}
	ago(t, filepath.Join(cache.Dir, "stages", entries[0].Name), 0)
	if err := cache.drop(entries[0]); !errors.Is(err, errBusy) {
		t.Errorf("%v, want it to be in use", err)
	}
	if err := cache.drop(entries[1]); err != nil {
		t.Error(err)
	}
	if err := cache.drop(entries[1]); err != nil {
		t.Errorf("what another removed: %v", err)
	}
}

func TestPruneForgetsFoldersThatAreGone(t *testing.T) {
	t.Parallel()
	cache := newCache(t)
	here, gone := t.TempDir(), t.TempDir()
	for _, dir := range []string{here, gone} {
		f, err := cache.folder(dir)
		if err != nil {
			t.Fatal(err)
		}
		f.Image.SHA256 = digits("a")
		if err := f.remember(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	if _, err := cache.Prune(t.Context(), PruneOptions{MaxBytes: Unbounded}); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(cache.Dir, "folders", "*"))
	f, _ := cache.folder(here)
	if err != nil || len(left) != 1 || left[0] != f.file || f.Image.SHA256 == "" {
		t.Errorf("%q are left (%v)", left, err)
	}
}

func TestMaxBytes(t *testing.T) {
	t.Parallel()
	cache := newCache(t)
	if got := cache.MaxBytes(1 << 50); got != defaultBytes {
		t.Errorf("on a large disk %d, want %d", got, int64(defaultBytes))
	}
	if got := cache.MaxBytes(0); got <= 0 || got > defaultBytes {
		t.Errorf("%d bytes for an empty cache", got)
	}
}
