package images

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ingot/fault"
	"ingot/images/format"
)

// imageIn is an output folder with an image of this content.
func imageIn(t *testing.T, content string) (Options, format.Image) {
	t.Helper()
	o := Options{Out: t.TempDir(), Cache: newCache(t), LockFile: filepath.Join(t.TempDir(), LockFile)}
	return o, putImage(t, o.Out, content)
}

func putImage(t *testing.T, dir, content string) format.Image {
	t.Helper()
	image := format.Image{File: filepath.Join(dir, ImageFile)}
	if err := os.WriteFile(image.File, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return image
}

func TestConvert(t *testing.T) {
	t.Parallel()
	o, image := imageIn(t, "a disk")
	formats := []format.Format{format.Raw, format.Gzip, format.Zstd}
	first, err := Convert(t.Context(), o, image, formats)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range first {
		got, err := format.Open(t.Context(), c.File)
		want := Converted{
			Format: formats[i], File: filepath.Join(o.Out, formats[i].File()), SHA256: got.SHA256, Bytes: got.Bytes,
			DiskBytes: 4096, Cached: formats[i] == format.Raw, Seconds: c.Seconds,
		}
		if err != nil || c != want {
			t.Errorf("%+v (%v), want %+v", c, err, want)
		}
	}
	wantNames(t, o.Out, ".lock", "image.raw", "image.raw.gz", "image.raw.zst")

	// Once more, after somebody has changed the outputs.
	if err := os.WriteFile(first[1].File, []byte("changed"), 0o644); err != nil {
		t.Fatal(err)
	}
	again, err := Convert(t.Context(), o, image, formats)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range again {
		if got, err := format.Open(t.Context(), c.File); err != nil || !c.Cached || c.SHA256 != first[i].SHA256 || got.SHA256 != c.SHA256 {
			t.Errorf("%+v (%v), want %+v from the cache", c, err, first[i])
		}
	}

	// Another image of the same name, size and age.
	info, err := os.Stat(image.File)
	if err != nil {
		t.Fatal(err)
	}
	putImage(t, o.Out, "A disk")
	if err := os.Chtimes(image.File, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	other, err := Convert(t.Context(), o, image, formats[1:2])
	if err != nil || other[0].Cached || other[0].SHA256 == first[1].SHA256 {
		t.Errorf("another image: %+v, %v", other, err)
	}
}

// A digest that is given counts: when the file is another by now, nothing is made.
func TestConvertOfAnImageThatChanged(t *testing.T) {
	t.Parallel()
	o, image := imageIn(t, "a disk")
	opened, err := format.Open(t.Context(), image.File)
	if err != nil {
		t.Fatal(err)
	}
	putImage(t, o.Out, "A disk")
	if _, err := Convert(t.Context(), o, opened, []format.Format{format.Gzip}); err == nil || !strings.Contains(err.Error(), "did image.raw change meanwhile?") {
		t.Error(err)
	}
	wantNames(t, o.Out, ".lock", "image.raw")
	wantNames(t, filepath.Join(o.Cache.Dir, "tmp"))
}

func TestConvertDoesNotBelieveTheCache(t *testing.T) {
	t.Parallel()
	o, image := imageIn(t, "a disk")
	if _, err := Convert(t.Context(), o, image, []format.Format{format.Gzip}); err != nil {
		t.Fatal(err)
	}
	made, err := filepath.Glob(filepath.Join(o.Cache.Dir, "stages", "raw.gz-*", "image.raw.gz"))
	if err != nil || len(made) != 1 {
		t.Fatalf("%q (%v)", made, err)
	}
	if err := os.WriteFile(made[0], []byte("damaged"), 0o644); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(o.Out, "image.raw.gz"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = Convert(t.Context(), o, image, []format.Format{format.Gzip})
	if err == nil || fault.Of(err) != fault.OfMachine || !strings.Contains(err.Error(), filepath.Dir(made[0])+" in the cache is damaged; delete that folder") {
		t.Error(err)
	}
	if after, err := os.ReadFile(filepath.Join(o.Out, "image.raw.gz")); err != nil || string(after) != string(before) {
		t.Errorf("the good file was replaced (%v)", err)
	}
	wantNames(t, o.Out, ".lock", "image.raw", "image.raw.gz")
}

func TestConvertWithoutALock(t *testing.T) {
	t.Parallel()
	o, image := imageIn(t, "a disk")
	_, err := Convert(t.Context(), o, image, []format.Format{format.Gzip, format.QCOW2})
	if !errors.Is(err, ErrNoLock) || fault.Of(err) != fault.OfInput {
		t.Errorf("%v, want what to do about the lock", err)
	}
	wantNames(t, o.Out, ".lock", "image.raw")
}

func TestConvertInterrupted(t *testing.T) {
	t.Parallel()
	o, image := imageIn(t, "a disk")
	ctx, cancel := context.WithCancel(t.Context())
	o.Progress = func(p Progress) {
		if p.Stage == "raw.gz" {
			cancel()
		}
	}
	if _, err := Convert(ctx, o, image, []format.Format{format.Gzip}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	wantNames(t, o.Out, ".lock", "image.raw")
	wantNames(t, filepath.Join(o.Cache.Dir, "tmp"))
}
