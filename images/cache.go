package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Cache holds finished stages by the hash of their inputs. All of it may be
// deleted when nothing works with it; Prune knows what that is.
type Cache struct {
	Dir  string
	ns   namespace
	held *holds
	// sync makes what is on a folder's file system last through a power cut;
	// nil is syncfs.
	sync func(dir string) error
}

// unplain has a meaning in sources.list, a mount's options or a shell.
const unplain = " \t\r\n:,;\\\"'`$%&|<>()[]{}*?!#"

// OpenCache makes the cache directory; empty is the user's cache directory.
func OpenCache(dir string) (Cache, error) {
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return Cache{}, fmt.Errorf("no place for the cache, set HOME or XDG_CACHE_HOME: %w", err)
		}
		dir = filepath.Join(base, "ingot")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Cache{}, err
	}
	if strings.ContainsAny(dir, unplain) {
		return Cache{}, fmt.Errorf("the cache folder %q has a blank or a special character in its path, which apt and overlay mounts take apart; set INGOT_CACHE to another", dir)
	}
	for _, d := range []string{"stages", "tmp", "debs"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return Cache{}, err
		}
	}
	return Cache{Dir: dir, held: &holds{claims: map[string]claim{}}}, nil
}

func (c Cache) debs() debs { return debs{filepath.Join(c.Dir, "debs")} }

// useDebs keeps the downloaded packages until this process ends.
func (c Cache) useDebs(ctx context.Context) error {
	return c.held.share(ctx, openFolder, c.debs().dir)
}

// StageResult says what a stage cost.
type StageResult struct {
	Name    string  `json:"name"`
	Cached  bool    `json:"cached"`
	Seconds float64 `json:"seconds"`
	From    string  `json:"from,omitempty"` // the shared place that had it
	// Why is what changed since the last build of the folder, if it was asked
	// for.
	Why []string `json:"why,omitempty"`
}

// stage returns the directory of a finished stage, running make in an empty
// directory when its key is new. Two builds that need the same stage wait for
// each other. The stage stays in use until this process ends.
func (c Cache) stage(ctx context.Context, name, key string, make func(dir string) error) (string, StageResult, error) {
	start := time.Now()
	dir, made := c.stageDir(name, key), false
	for {
		found, err := c.use(ctx, dir)
		if err == nil && !found {
			made, err = c.make(ctx, name, dir, make)
		}
		if err != nil || found {
			return dir, StageResult{Name: name, Cached: !made, Seconds: time.Since(start).Seconds()}, err
		}
	}
}

// has reports whether all of these stages were there a moment ago.
func (c Cache) has(stages ...stageID) bool {
	return !slices.ContainsFunc(stages, func(s stageID) bool {
		_, err := os.Stat(c.stageDir(s.name, s.key()))
		return err != nil
	})
}

// use claims a stage that is there, and marks it as used today.
func (c Cache) use(ctx context.Context, dir string) (bool, error) {
	locks := []string{dir + ".lock"}
	if target, err := os.Readlink(dir); err == nil && filepath.Base(target) == target {
		locks = append(locks, filepath.Join(filepath.Dir(dir), target)+".lock") // dir is an alias
	}
	for _, lock := range locks {
		if err := c.held.share(ctx, openFile, lock); err != nil {
			return false, err
		}
	}
	if _, err := os.Stat(dir); err != nil {
		for _, lock := range locks {
			c.held.drop(lock)
		}
		return false, nil
	}
	now := time.Now()
	_ = os.Chtimes(dir, now, now) // a read-only cache still serves
	return true, nil
}

// make makes a stage unless another build was faster.
func (c Cache) make(ctx context.Context, name, dir string, make func(dir string) error) (bool, error) {
	unlock, err := lockFile(ctx, dir+".lock")
	if err != nil {
		return false, err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return false, nil
	}
	tmp, done, err := c.Scratch(name + "-")
	if err != nil {
		return false, err
	}
	// What scripts start as another user goes through it.
	err = errors.Join(os.Chmod(tmp, 0o755), make(tmp))
	if err == nil {
		err = readable(tmp)
	}
	if err != nil {
		return false, errors.Join(err, done())
	}
	return true, errors.Join(c.finish(tmp, dir), done())
}

// readable gives the files of a stage modes that do not depend on the
// user's umask: other users share the cache, and the modes go into what is pushed.
// The folders in it are trees, which scripts make.
func readable(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if info.Mode()&0o100 != 0 {
			mode = 0o755
		}
		if err := os.Chmod(filepath.Join(dir, e.Name()), mode); err != nil {
			return err
		}
	}
	return nil
}

// finish gives a stage its name. What has the name is whole: all of it is on the
// disk before, so that no power cut leaves a stage of empty files.
func (c Cache) finish(tmp, dir string) error {
	flush := c.sync
	if flush == nil {
		flush = syncFileSystem
	}
	if err := flush(tmp); err != nil {
		return fmt.Errorf("write %s to the disk: %w", filepath.Base(dir), err)
	}
	_ = os.Remove(dir) // an alias whose stage was deleted; a directory cannot take its place
	return os.Rename(tmp, dir)
}

// syncFileSystem waits until everything below a folder is on its disk. One call
// for a tree of 16,000 files takes 0.3 s; an fsync of each takes minutes.
func syncFileSystem(dir string) error {
	c, err := openFolder(dir)
	if err != nil {
		return err
	}
	defer c.drop()
	return unix.Syncfs(int(c))
}

func syncFile(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Scratch makes a folder for unfinished work. It is this process's until done,
// which deletes it; when the process is killed, the next build does.
func (c Cache) Scratch(prefix string) (dir string, done func() error, err error) {
	tmp := filepath.Join(c.Dir, "tmp")
	// The gate keeps a sweeper out between the folder's making and its lock.
	gate, err := await(context.Background(), openFolder, tmp, shared)
	if err != nil {
		return "", nil, err
	}
	defer gate.drop()
	if dir, err = os.MkdirTemp(tmp, prefix); err != nil {
		return "", nil, err
	}
	mine, err := try(openFolder, dir, alone)
	if err != nil {
		return "", nil, errors.Join(err, os.Remove(dir))
	}
	return dir, func() error {
		defer mine.drop()
		return c.Remove(dir)
	}, nil
}

// empty deletes the content of a folder.
func (c Cache) empty(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, c.Remove(filepath.Join(dir, e.Name())))
	}
	return err
}

// sweep deletes what killed builds left. When somebody begins new work just now,
// it leaves that to the next build.
func (c Cache) sweep() error {
	dir := filepath.Join(c.Dir, "tmp")
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		return err
	}
	gate, err := try(openFolder, dir, alone)
	if errors.Is(err, errBusy) {
		return nil
	}
	if err != nil {
		return err
	}
	left := map[string]claim{}
	for _, e := range entries {
		file := filepath.Join(dir, e.Name())
		if e.Type()&fs.ModeSymlink != 0 {
			continue
		}
		if mine, err := try(openFolder, file, alone); err == nil {
			left[file] = mine
		}
	}
	gate.drop()
	for file, mine := range left {
		err = errors.Join(err, c.Remove(file))
		mine.drop()
	}
	return err
}

func (c Cache) stageDir(name, key string) string {
	return filepath.Join(c.Dir, "stages", name+"-"+key[:32])
}

// alias makes a finished stage known under a second key.
func (c Cache) alias(name, oldKey, newKey string) error {
	to := c.stageDir(name, newKey)
	if oldKey == newKey {
		return nil
	}
	err := os.Symlink(filepath.Base(c.stageDir(name, oldKey)), to)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// Remove deletes a directory whose files may belong to the user's subordinate
// ids. It works after the build was cancelled, too.
func (c Cache) Remove(dir string) error {
	if err := os.RemoveAll(dir); err == nil {
		return nil
	}
	return c.ns.run(context.Background(), script{Name: "remove", Env: map[string]string{"DIR": dir}})
}
