package images

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// Kinds of entries that are no stages.
const (
	KindPackages = "packages" // downloaded .deb files
	KindOther    = "other"    // notes and unfinished work, which Prune leaves
)

// Cached is something in the cache that takes space.
type Cached struct {
	Kind  string    `json:"kind"` // the stage's name, or one of the above
	Name  string    `json:"name"` // of the file or folder
	Bytes int64     `json:"bytes"`
	Used  time.Time `json:"used"` // by a build, for the last time
}

// Entries lists what takes space, that which was unused for longest first. Bytes
// are those on the disk. Of trees that an ordinary user made, what the user may
// not read does not count.
func (c Cache) Entries() ([]Cached, error) {
	stages, err := c.stages()
	if err != nil {
		return nil, err
	}
	packages, err := c.packages()
	if err != nil {
		return nil, err
	}
	all := append(stages, packages...)
	slices.SortFunc(all, func(a, b Cached) int { return cmp.Or(a.Used.Compare(b.Used), strings.Compare(a.Name, b.Name)) })
	other := Cached{Kind: KindOther}
	entries, err := os.ReadDir(c.Dir)
	for _, e := range entries {
		if name := e.Name(); name != "stages" && name != "debs" {
			other.Bytes += diskUse(filepath.Join(c.Dir, name))
		}
	}
	return append(all, other), err
}

// stages are the finished stages, without second names for them.
func (c Cache) stages() ([]Cached, error) {
	dir := filepath.Join(c.Dir, "stages")
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	sizes := c.sizes()
	known := len(sizes)
	now := map[string]int64{}
	var list []Cached
	for _, f := range files {
		info, err := f.Info()
		if err != nil || !f.IsDir() {
			continue
		}
		bytes, measured := sizes[f.Name()]
		if !measured {
			bytes = diskUse(filepath.Join(dir, f.Name()))
			known = -1
		}
		now[f.Name()] = bytes
		kind, _, _ := strings.Cut(f.Name(), "-")
		list = append(list, Cached{Kind: kind, Name: f.Name(), Bytes: bytes, Used: info.ModTime()})
	}
	if known != len(now) {
		c.rememberSizes(now)
	}
	return list, nil
}

// A finished stage never changes: it is measured once. Losing the file costs the
// time of another walk.
func (c Cache) sizesFile() string { return filepath.Join(c.Dir, "sizes.json") }

func (c Cache) sizes() map[string]int64 {
	sizes := map[string]int64{}
	if b, err := os.ReadFile(c.sizesFile()); err == nil {
		_ = json.Unmarshal(b, &sizes)
	}
	return sizes
}

func (c Cache) rememberSizes(sizes map[string]int64) {
	if b, err := json.Marshal(sizes); err == nil {
		_ = renameio.WriteFile(c.sizesFile(), b, 0o644)
	}
}

func (c Cache) packages() ([]Cached, error) {
	files, err := os.ReadDir(c.debs().dir)
	if err != nil {
		return nil, err
	}
	var list []Cached
	for _, f := range files {
		if info, err := f.Info(); err == nil && strings.HasSuffix(strings.TrimSuffix(f.Name(), partSuffix), ".deb") {
			list = append(list, Cached{Kind: KindPackages, Name: f.Name(), Bytes: onDisk(info), Used: info.ModTime()})
		}
	}
	return list, nil
}

// diskUse is what a file or folder takes on the disk, in bytes. What cannot be
// read does not count.
func diskUse(dir string) int64 {
	var sum int64
	seen := map[uint64]bool{} // files with more than one name
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 && !d.IsDir() {
			if seen[st.Ino] {
				return nil
			}
			seen[st.Ino] = true
		}
		sum += onDisk(info)
		return nil
	})
	return sum
}

func onDisk(info fs.FileInfo) int64 {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return info.Size()
	}
	return st.Blocks * 512 // st_blocks counts in 512 bytes, stat(2)
}

// defaultBytes is the most that a cache grows to. A change of a line leaves 340 MB,
// a new lock 1.3 GB: this is some ninety images, a week of work. On a small disk
// it is half of what the cache and the free space are together.
const defaultBytes = 30 << 30

// MaxBytes is the size that a build prunes the cache to when none is given.
func (c Cache) MaxBytes(used int64) int64 {
	var st unix.Statfs_t
	if unix.Statfs(c.Dir, &st) != nil {
		return defaultBytes
	}
	return min(defaultBytes, (used+int64(st.Bavail)*st.Bsize)/2)
}

// Unbounded as PruneOptions.MaxBytes sets no limit.
const Unbounded = -1

// PruneOptions say what goes: what was not used for long first, and nothing that
// is in use.
type PruneOptions struct {
	MaxBytes  int64         // until what is left takes no more; 0 is Cache.MaxBytes
	OlderThan time.Duration // also what was not used for so long; 0 is any age
	All       bool          // everything
}

// Pruned is what Prune did.
type Pruned struct {
	Removed []Cached `json:"removed"`
	Bytes   int64    `json:"bytes"`  // of what was removed
	Left    int64    `json:"left"`   // bytes
	InUse   int      `json:"in_use"` // entries that would have gone, but a build or a machine uses them
}

// Prune removes what has not been used for longest, what killed builds left, and
// locks and second names of stages that are gone.
func (c Cache) Prune(ctx context.Context, o PruneOptions) (Pruned, error) {
	result := Pruned{Removed: []Cached{}}
	if err := c.sweep(); err != nil {
		return result, err
	}
	entries, err := c.Entries()
	if err != nil {
		return result, err
	}
	for _, e := range entries {
		result.Left += e.Bytes
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = c.MaxBytes(result.Left)
	}
	now := time.Now()
	for _, e := range entries {
		tooMuch := o.MaxBytes != Unbounded && result.Left > o.MaxBytes
		tooOld := o.OlderThan > 0 && now.Sub(e.Used) > o.OlderThan
		if e.Kind == KindOther || !o.All && !tooMuch && !tooOld {
			continue
		}
		err := c.drop(e)
		switch {
		case ctx.Err() != nil:
			return result, ctx.Err()
		case errors.Is(err, errBusy):
			result.InUse++
			continue
		case err != nil:
			return result, err
		}
		result.Removed = append(result.Removed, e)
		result.Bytes += e.Bytes
		result.Left -= e.Bytes
	}
	return result, errors.Join(c.dropOrphans(), c.forgetFolders())
}

// drop removes an entry, or fails with errBusy when somebody uses it now or has
// used it since it was listed.
func (c Cache) drop(e Cached) error {
	file, open, lock := filepath.Join(c.debs().dir, e.Name), opener(openFolder), c.debs().dir
	if e.Kind != KindPackages {
		file, open = filepath.Join(c.Dir, "stages", e.Name), openFile
		lock = file + ".lock"
	}
	mine, err := try(open, lock, alone)
	if err != nil {
		return err
	}
	defer mine.drop()
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // by another
	}
	if err != nil || !info.ModTime().Equal(e.Used) {
		return cmp.Or(err, errBusy)
	}
	if e.Kind == KindPackages {
		return os.Remove(file)
	}
	return errors.Join(c.removeStage(file), os.Remove(lock))
}

// removeStage takes a stage's name away before its content: half a stage must not
// look like a whole one, whenever this process ends.
func (c Cache) removeStage(dir string) error {
	tmp, done, err := c.Scratch("pruned-")
	if err != nil {
		return err
	}
	return errors.Join(os.Rename(dir, filepath.Join(tmp, "stage")), done())
}

// dropOrphans removes aliases of stages that are gone, and locks of both.
func (c Cache) dropOrphans() error {
	dir := filepath.Join(c.Dir, "stages")
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		stage := filepath.Join(dir, strings.TrimSuffix(f.Name(), ".lock"))
		if _, gone := os.Stat(stage); !errors.Is(gone, fs.ErrNotExist) {
			continue
		}
		mine, busy := try(openFile, stage+".lock", alone)
		if busy != nil { // somebody makes the stage
			continue
		}
		if _, gone := os.Stat(stage); errors.Is(gone, fs.ErrNotExist) {
			if e := os.Remove(stage); !errors.Is(e, fs.ErrNotExist) {
				err = errors.Join(err, e)
			}
			err = errors.Join(err, os.Remove(stage+".lock"))
		}
		mine.drop()
	}
	return err
}

// forgetFolders removes what is known of output folders that are gone.
func (c Cache) forgetFolders() error {
	files, err := filepath.Glob(filepath.Join(c.Dir, "folders", "*.json"))
	for _, file := range files {
		var f folder
		if b, e := os.ReadFile(file); e != nil || json.Unmarshal(b, &f) != nil {
			continue
		}
		if _, gone := os.Stat(f.Out); errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, os.Remove(file))
		}
	}
	return err
}
