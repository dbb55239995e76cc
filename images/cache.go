package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Cache holds finished stages by the hash of their inputs. All of it may be
// deleted at any time (see Cache.Remove for trees made as an ordinary user).
type Cache struct {
	Dir string
	ns  namespace
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
	return Cache{Dir: dir}, nil
}

func (c Cache) debs() debs { return debs{filepath.Join(c.Dir, "debs")} }

// digest is the key of a stage: the SHA-256 of all its inputs as JSON.
func digest(inputs any) (string, error) {
	b, err := json.Marshal(inputs)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

// StageResult says what a stage cost.
type StageResult struct {
	Name    string  `json:"name"`
	Cached  bool    `json:"cached"`
	Seconds float64 `json:"seconds"`
}

// stage returns the directory of a finished stage, running make in an empty
// directory when its key is new. Two builds that need the same stage wait for
// each other.
func (c Cache) stage(ctx context.Context, name, key string, make func(dir string) error) (string, StageResult, error) {
	start := time.Now()
	dir := c.stageDir(name, key)
	result := func(cached bool) StageResult {
		return StageResult{Name: name, Cached: cached, Seconds: time.Since(start).Seconds()}
	}
	unlock, err := lockFile(ctx, dir+".lock")
	if err != nil {
		return "", result(false), err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		now := time.Now()
		_ = os.Chtimes(dir, now, now) // for pruning by age; a read-only cache still serves
		return dir, result(true), nil
	}
	tmp, err := os.MkdirTemp(filepath.Join(c.Dir, "tmp"), name+"-")
	if err != nil {
		return "", result(false), err
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return "", result(false), errors.Join(err, c.Remove(tmp))
	}
	if err := make(tmp); err != nil {
		return "", result(false), errors.Join(err, c.Remove(tmp))
	}
	_ = os.Remove(dir) // an alias whose stage was deleted; a directory cannot take its place
	if err := os.Rename(tmp, dir); err != nil {
		return "", result(false), errors.Join(err, c.Remove(tmp))
	}
	return dir, result(false), nil
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

// lockFile takes an exclusive lock that the kernel drops when this process
// ends, however it ends.
func lockFile(ctx context.Context, file string) (func(), error) {
	f, err := openLocked(ctx, file)
	if err != nil {
		return nil, err
	}
	return func() { f.Close() }, nil
}

// openLocked makes or opens a file for this process alone. Whoever had it
// before may have renamed or removed it: then it is opened anew.
func openLocked(ctx context.Context, file string) (*os.File, error) {
	for {
		f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			return nil, err
		}
		if err := flock(ctx, f); err != nil {
			f.Close()
			return nil, err
		}
		mine, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, err
		}
		if named, err := os.Stat(file); err == nil && os.SameFile(mine, named) {
			return f, nil
		}
		f.Close()
	}
}

func flock(ctx context.Context, f *os.File) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
