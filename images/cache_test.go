package images

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func newCache(t *testing.T) Cache {
	t.Helper()
	cache, err := OpenCache(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	return cache
}

// put is a stage that writes one file.
func put(content string) func(string) error {
	return func(dir string) error { return os.WriteFile(filepath.Join(dir, "file"), []byte(content), 0o644) }
}

// wantFile wants a stage to hold what put wrote.
func wantFile(t *testing.T, dir, content string) {
	t.Helper()
	if b, err := os.ReadFile(filepath.Join(dir, "file")); string(b) != content {
		t.Errorf("%s holds %q (%v), want %q", dir, b, err, content)
	}
}

func TestOpenCacheRefusesWhatOverlayAndAptTakeApart(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a b", "a:b", "a,b", `a\b`, `a"b`, "a'b", "a%41", "a$b", "a\nb", "a;b"} {
		parent := t.TempDir()
		if _, err := OpenCache(filepath.Join(parent, name)); err == nil || !strings.Contains(err.Error(), "INGOT_CACHE") {
			t.Errorf("%q: %v, want advice", name, err)
		}
		wantNames(t, parent)
	}
	for _, name := range []string{"a", "a.b-c_d+e~f@g=h", "größe"} {
		if _, err := OpenCache(filepath.Join(t.TempDir(), name)); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestStage(t *testing.T) {
	t.Parallel()
	cache := newCache(t)
	for i, wantCached := range []bool{false, true, true} {
		dir, result, err := cache.stage(t.Context(), "s", digits("a"), put("once"))
		if err != nil || result.Cached != wantCached || result.Name != "s" {
			t.Fatalf("time %d: %+v, %v", i, result, err)
		}
		wantFile(t, dir, "once")
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("mode %v (%v), want 0755: other users share the cache", info.Mode(), err)
		}
	}
	other, result, err := cache.stage(t.Context(), "s", digits("b"), put("other"))
	if err != nil || result.Cached {
		t.Errorf("another key: %+v, %v", result, err)
	}
	wantFile(t, other, "other")
	wantNames(t, filepath.Join(cache.Dir, "tmp"))
}

// What a build wrote under umask 077 is as readable as any.
func TestStageIsReadable(t *testing.T) {
	c, err := OpenCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir, _, err := c.stage(t.Context(), "boot", strings.Repeat("a", 64), func(dir string) error {
		return errors.Join(os.Mkdir(filepath.Join(dir, "tree"), 0o700), os.WriteFile(filepath.Join(dir, "program"), nil, 0o700), os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{".": 0o755, "program": 0o755, "file": 0o644, "tree": 0o700} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has the mode %v, want %o (%v)", name, info.Mode().Perm(), want, err)
		}
	}
}

func TestStageIsMadeOnce(t *testing.T) {
	t.Parallel()
	cache := newCache(t)
	var made, cached atomic.Int32
	started := make(chan struct{})
	release := make(chan struct{})
	var callers sync.WaitGroup
	call := func() {
		_, result, err := cache.stage(t.Context(), "s", digits("a"), func(dir string) error {
			made.Add(1)
			close(started) // a second time panics
			<-release
			return put("x")(dir)
		})
		if err != nil {
			t.Error(err)
		}
		if result.Cached {
			cached.Add(1)
		}
	}
	callers.Go(call)
	<-started
	for range 3 {
		callers.Go(call)
	}
	awaitOpen(t, cache.stageDir("s", digits("a"))+".lock", 4)
	if made.Load() != 1 {
		t.Errorf("made %d times while the first was at it", made.Load())
	}
	close(release)
	callers.Wait()
	if made.Load() != 1 || cached.Load() != 3 {
		t.Errorf("made %d times, found %d times, want 1 and 3", made.Load(), cached.Load())
	}
}

// awaitOpen waits until this process has a file open n times.
func awaitOpen(t *testing.T, file string, n int) {
	t.Helper()
	count := func() int {
		found := 0
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range fds {
			if target, _ := os.Readlink("/proc/self/fd/" + fd.Name()); target == file {
				found++
			}
		}
		return found
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for count() < n {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s is open %d times, want %d", file, count(), n)
		}
	}
}

func TestFailedStageLeavesNothing(t *testing.T) {
	t.Parallel()
	cache := newCache(t)
	failed := errors.New("failed")
	_, _, err := cache.stage(t.Context(), "s", digits("a"), func(dir string) error {
		return errors.Join(os.Mkdir(filepath.Join(dir, "sub"), 0o755), put("half")(dir), failed)
	})
	if !errors.Is(err, failed) {
		t.Errorf("%v, want the stage's own error", err)
	}
	wantNames(t, filepath.Join(cache.Dir, "tmp"))
	dir, result, err := cache.stage(t.Context(), "s", digits("a"), put("whole"))
	if err != nil || result.Cached {
		t.Fatalf("the next try: %+v, %v", result, err)
	}
	wantFile(t, dir, "whole")
}

func TestStageWaitingIsCancelled(t *testing.T) {
	t.Parallel()
	cache := newCache(t)
	unlock, err := lockFile(t.Context(), cache.stageDir("s", digits("a"))+".lock")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, _, err := cache.stage(ctx, "s", digits("a"), put("x"))
		done <- err
	}()
	awaitOpen(t, cache.stageDir("s", digits("a"))+".lock", 2)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the cancellation", err)
	}
	if _, err := os.Stat(cache.stageDir("s", digits("a"))); err == nil {
		t.Error("the stage was made")
	}
	awaitClosed(t, cache.stageDir("s", digits("a"))+".lock")
}

// awaitClosed wants only the lock's holder to have the file open.
func awaitClosed(t *testing.T, file string) {
	t.Helper()
	if f, err := os.Open(file); err != nil {
		t.Error(err)
	} else if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("the cancelled caller freed the lock of another: %v", err)
	}
}

func TestStageCancelledWhileMaking(t *testing.T) {
	t.Parallel()
	cache := newCache(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, _, err := cache.stage(ctx, "s", digits("a"), func(dir string) error {
		cancel()
		return errors.Join(put("half")(dir), ctx.Err())
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the cancellation", err)
	}
	wantNames(t, filepath.Join(cache.Dir, "tmp"))
	wantNames(t, filepath.Join(cache.Dir, "stages"), filepath.Base(cache.stageDir("s", digits("a")))+".lock")
}

func TestAlias(t *testing.T) {
	t.Parallel()
	cache := newCache(t)
	never := func(string) error { return errors.New("made although it is known") }
	old, _, err := cache.stage(t.Context(), "s", digits("a"), put("x"))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{digits("b"), digits("b"), digits("a")} { // again, and to itself
		if err := cache.alias("s", digits("a"), key); err != nil {
			t.Fatal(err)
		}
		dir, result, err := cache.stage(t.Context(), "s", key, never)
		if err != nil || !result.Cached {
			t.Fatalf("%+v, %v", result, err)
		}
		wantFile(t, dir, "x")
	}
	// Anything in the cache may be deleted at any time.
	if err := cache.Remove(old); err != nil {
		t.Fatal(err)
	}
	dir, result, err := cache.stage(t.Context(), "s", digits("b"), put("anew"))
	if err != nil || result.Cached {
		t.Fatalf("the alias of a deleted stage: %+v, %v", result, err)
	}
	wantFile(t, dir, "anew")
}

func TestAliasMovesWithTheCache(t *testing.T) {
	t.Parallel()
	cache := newCache(t)
	if _, _, err := cache.stage(t.Context(), "s", digits("a"), put("x")); err != nil {
		t.Fatal(err)
	}
	if err := cache.alias("s", digits("a"), digits("b")); err != nil {
		t.Fatal(err)
	}
	moved := cache.Dir + "-moved"
	if err := os.Rename(cache.Dir, moved); err != nil {
		t.Fatal(err)
	}
	wantFile(t, Cache{Dir: moved}.stageDir("s", digits("b")), "x")
}
