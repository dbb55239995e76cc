package images

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A name in stages stands for a whole stage, also after a power cut: it is given
// when the content is on the disk.
func TestStageIsOnTheDiskBeforeItHasAName(t *testing.T) {
	t.Parallel()
	cache := newCache(t)
	synced := 0
	cache.sync = func(dir string) error {
		synced++
		wantFile(t, dir, "content")
		if _, err := os.Lstat(cache.stageDir("s", digits("a"))); err == nil {
			t.Error("the stage has its name already")
		}
		return nil
	}
	for range 2 {
		if _, _, err := cache.stage(t.Context(), "s", digits("a"), put("content")); err != nil {
			t.Fatal(err)
		}
	}
	if synced != 1 {
		t.Errorf("synced %d times, want once", synced)
	}
}

func TestStageThatCannotBeWrittenHasNoName(t *testing.T) {
	t.Parallel()
	cache := newCache(t)
	broken := errors.New("the disk is broken")
	cache.sync = func(string) error { return broken }
	if _, _, err := cache.stage(t.Context(), "s", digits("a"), put("content")); !errors.Is(err, broken) {
		t.Errorf("%v, want the disk's error", err)
	}
	wantNames(t, filepath.Join(cache.Dir, "stages"), filepath.Base(cache.stageDir("s", digits("a")))+".lock")
	wantNames(t, filepath.Join(cache.Dir, "tmp"))
	cache.sync = nil
	if dir, result, err := cache.stage(t.Context(), "s", digits("a"), put("whole")); err != nil || result.Cached {
		t.Errorf("the next try: %+v, %v", result, err)
	} else {
		wantFile(t, dir, "whole")
	}
}

func TestSyncFileSystem(t *testing.T) {
	t.Parallel()
	if err := syncFileSystem(t.TempDir()); err != nil {
		t.Error(err)
	}
	if err := syncFileSystem(filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Error("no error for a folder that is not there")
	}
}

// What was unfinished when the power went is no stage, and is deleted by the
// next build; what another build works on stays.
func TestSweep(t *testing.T) {
	t.Parallel()
	cache := newCache(t)
	other, err := OpenCache(cache.Dir)
	if err != nil {
		t.Fatal(err)
	}
	working, done, err := other.Scratch("s-")
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := t.TempDir()
	for _, err := range []error{
		os.MkdirAll(filepath.Join(cache.Dir, "tmp", "s-1", "tree"), 0o755), // the killed build's
		put("half")(filepath.Join(cache.Dir, "tmp", "s-1")),
		os.WriteFile(filepath.Join(cache.Dir, "debs", digits("a")+".deb.part"), nil, 0o644), // the next build goes on with it
		os.Symlink(elsewhere, filepath.Join(cache.Dir, "tmp", "link")),                      // nobody's but the owner's
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := cache.sweep(); err != nil {
		t.Fatal(err)
	}
	wantNames(t, filepath.Join(cache.Dir, "tmp"), "link", filepath.Base(working))
	if err := errors.Join(done(), cache.sweep()); err != nil {
		t.Fatal(err)
	}
	wantNames(t, filepath.Join(cache.Dir, "tmp"), "link")
	wantNames(t, filepath.Join(cache.Dir, "debs"), digits("a")+".deb.part")
}

// No sweeper comes between the making of a folder and its lock.
func TestSweepWhileOthersBegin(t *testing.T) {
	t.Parallel()
	cache := newCache(t)
	stop := make(chan struct{})
	swept := make(chan error)
	go func() {
		for {
			select {
			case <-stop:
				close(swept)
				return
			default:
				if err := cache.sweep(); err != nil {
					swept <- err
				}
			}
		}
	}()
	for i := range 200 {
		dir, done, err := cache.Scratch(fmt.Sprintf("s%d-", i))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(put("x")(dir), done()); err != nil {
			t.Fatalf("swept away: %v", err)
		}
	}
	close(stop)
	for err := range swept {
		t.Error(err)
	}
}

// A package whose bytes a power cut took is fetched again.
func TestFetchAgainWhatIsEmpty(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(answer(200, "the package"))
	defer server.Close()
	p, store := packageOf("x", "the package"), debs{t.TempDir()}
	if err := os.WriteFile(store.path(p), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	f, _ := newTestFetcher(store, mirror(server.URL))
	err := f.fetch(t.Context(), []Package{p}, unwatched)
	wantStored(t, store, p, "the package", err)
}

// A lock on a file that was removed keeps nobody out, so nobody has one.
func TestClaimOfARemovedFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "x.lock")
	first, err := try(openFile, file, alone)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := try(openFile, file, shared); !errors.Is(err, errBusy) {
		t.Errorf("%v, want it to be in use", err)
	}
	second := make(chan claim)
	go func() {
		c, err := await(t.Context(), openFile, file, alone)
		if err != nil {
			t.Error(err)
		}
		second <- c
	}()
	awaitOpen(t, file, 2)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	first.drop()
	c := <-second
	defer c.drop()
	if _, err := try(openFile, file, alone); !errors.Is(err, errBusy) {
		t.Errorf("%v: two hold the lock alone", err)
	}
}

func TestPublishedImage(t *testing.T) {
	t.Parallel()
	cache := newCache(t)
	dir := t.TempDir()
	image, content := filepath.Join(dir, ImageFile), fakeParts(t)
	publish := func() folder {
		f, err := cache.folder(dir)
		if err != nil {
			t.Fatal(err)
		}
		if f.Image, err = publishImage(t.Context(), image, digits("a"), content); err != nil {
			t.Fatal(err)
		}
		if err := f.remember(); err != nil {
			t.Fatal(err)
		}
		return f
	}
	writeByte := func() error {
		f, err := os.OpenFile(image, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt([]byte("x"), 1)
		return errors.Join(err, f.Close())
	}
	for name, change := range map[string]func() error{
		"nothing":                func() error { return nil },
		"a byte written at once": writeByte,
		"a byte written and the time set back": func() error {
			info, err := os.Stat(image)
			return errors.Join(err, writeByte(), os.Chtimes(image, info.ModTime(), info.ModTime()))
		},
		"another file": func() error {
			return errors.Join(os.WriteFile(image+"2", []byte("image"), 0o644), os.Rename(image+"2", image))
		},
		"a link":  func() error { return errors.Join(os.Rename(image, image+"3"), os.Symlink(image+"3", image)) },
		"removed": func() error { return os.Remove(image) },
		"longer":  func() error { return os.Truncate(image, 9) },
	} {
		publish()
		if err := change(); err != nil {
			t.Fatal(err)
		}
		f, err := cache.folder(dir)
		if err != nil || f.Image.Key != digits("a") {
			t.Fatalf("%s: the cache remembers %+v, %v", name, f, err)
		}
		if got, want := f.Image.is(image, digits("a")), name == "nothing"; got != want {
			t.Errorf("%s: taken for the published image: %t", name, got)
		}
		if f.Image.is(image, digits("b")) {
			t.Errorf("%s: taken for another image", name)
		}
	}
	f := publish()
	if got, err := fileDigest(image); err != nil || got != f.Image.SHA256 {
		t.Errorf("the image has the SHA-256 %s, %v, and is said to have %s", got, err, f.Image.SHA256)
	}
	wantFailureToLeaveNothing(t, image, content)
	if d := f.Image.Changed - f.Image.Modified; d < int64(back-time.Second) {
		t.Errorf("its time is %d ns before its making: a change in this moment may have the same", d)
	}
	for i, p := range []published{
		{Device: 1}, {Inode: 1}, {Bytes: 1}, {Modified: 1}, {Changed: 1},
	} {
		now := f.Image
		now.Device, now.Inode, now.Bytes = now.Device+p.Device, now.Inode+p.Inode, now.Bytes+p.Bytes
		now.Modified, now.Changed = now.Modified+p.Modified, now.Changed+p.Changed
		if now.is(image, digits("a")) {
			t.Errorf("case %d of another state is taken for the published one", i)
		}
	}
	wantFolderForgotten(t, cache, f)
}

// wantFailureToLeaveNothing wants an image that cannot be made to leave the one
// that is there, and what a killed build left to be in nobody's way.
func wantFailureToLeaveNothing(t *testing.T, image string, p parts) {
	t.Helper()
	before, err := fileDigest(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(image+".new", []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	broken := p
	broken.verity += "-missing"
	for name, try := range map[string]func() error{
		"a part is missing": func() error { _, err := publishImage(t.Context(), image, digits("c"), broken); return err },
		"interrupted":       func() error { _, err := publishImage(stopped, image, digits("c"), p); return err },
	} {
		if err := try(); err == nil {
			t.Errorf("%s: an image was made", name)
		}
		after, err := fileDigest(image)
		if _, left := os.Lstat(image + ".new"); after != before || err != nil || !os.IsNotExist(left) {
			t.Errorf("%s: the image was %s and is %s (%v); %s.new: %v", name, before, after, err, image, left)
		}
	}
}

// wantFolderForgotten wants what cannot be read to mean no more than a new folder.
func wantFolderForgotten(t *testing.T, cache Cache, f folder) {
	t.Helper()
	for _, content := range []string{"", "{", `{"folder":"/another","image":{"sha256":"x"}}`} {
		if err := os.WriteFile(f.file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		again, err := cache.folder(f.Out)
		if err != nil || again.Image != (published{}) || again.Out != f.Out || !strings.HasPrefix(again.file, cache.Dir) {
			t.Errorf("%q: %+v, %v", content, again, err)
		}
	}
}
