package libvirt

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ingot/fault"
	"ingot/providers"
)

func TestUpload(t *testing.T) {
	p, j := connect(t, nil)
	e := begin(t, p, j)
	image := rawDisk(t, 40)
	u := upload(e, image)
	var done []int64
	u.Progress = func(n int64) { done = append(done, n) }
	got, err := p.Upload(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(home.lab.Images, got.ID)
	if b, err := os.ReadFile(file); err != nil || !bytes.Equal(b, image) {
		t.Errorf("the volume does not hold the image (%v)", err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if kib := info.Sys().(*syscall.Stat_t).Blocks / 2; kib > 4<<10 {
		t.Errorf("an image with 2 MiB of data takes %d KiB", kib)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("the volume has the mode %o", mode)
	}
	if len(done) == 0 || done[len(done)-1] != int64(len(image)) {
		t.Errorf("progress: %v", done)
	}
	list, err := p.Images(t.Context())
	if err != nil || len(list) != 1 || list[0].ID != got.ID || list[0].Name != "example" || !sameLabels(list[0].Labels, u.Labels) || list[0].Labels[providers.LabelID] != e.ID {
		t.Errorf("images: %+v, %v", list, err)
	}

	t.Run("again", func(t *testing.T) {
		other := begin(t, p, j)
		again, err := p.Upload(t.Context(), upload(other, image))
		if err != nil || again.ID != got.ID {
			t.Errorf("uploaded again: %+v, %v", again, err)
		}
		if found, err := p.Find(t.Context(), other.ID); err != nil || len(found) != 0 {
			t.Errorf("the second upload made %v, %v", found, err)
		}
	})
	t.Run("proven", func(t *testing.T) {
		other := begin(t, p, j)
		u := upload(other, image)
		delete(u.Labels, providers.LabelUnproven)
		u.Labels[providers.LabelVerdict] = "abc"
		proven, err := p.Upload(t.Context(), u)
		if err != nil || proven.ID == got.ID {
			t.Errorf("an image with other labels: %+v, %v", proven, err)
		}
	})
}

// TestUploadCutShort ends an upload at every stage: what is left is found, and is not
// taken for an image.
func TestUploadCutShort(t *testing.T) {
	p, j := connect(t, nil)
	image := bytes.Repeat([]byte("no zeros"), 1<<20)
	for name, spoil := range map[string]func(*testing.T, *providers.Upload) context.Context{
		"other bytes": func(t *testing.T, u *providers.Upload) context.Context {
			u.SHA256 = digest([]byte("other"))
			return t.Context()
		},
		"reader fails": func(t *testing.T, u *providers.Upload) context.Context {
			// Not while it looks for holes.
			first := true
			u.Image = readerAt(func(b []byte, at int64) (int, error) {
				if at == 5<<20 && !first {
					return 0, errors.New("the mount is gone")
				}
				first = first && at < 7<<20
				return bytes.NewReader(image).ReadAt(b, at)
			})
			return t.Context()
		},
		"cancelled": func(t *testing.T, u *providers.Upload) context.Context {
			ctx, cancel := context.WithCancel(t.Context())
			u.Progress = func(n int64) {
				if n > 4<<20 {
					cancel()
				}
			}
			return ctx
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := begin(t, p, j)
			u := upload(e, image)
			ctx := spoil(t, &u)
			if _, err := p.Upload(ctx, u); err == nil {
				t.Fatal("it was taken")
			}
			if list, err := p.Images(t.Context()); err != nil || len(list) != 0 {
				t.Errorf("images: %+v, %v", list, err)
			}
			found, err := p.Find(t.Context(), e.ID)
			if err != nil || len(found) != 1 || found[0].Name != imageVolume(e.ID, u.SHA256) {
				t.Errorf("found %v, %v", found, err)
			}
			// The same once more, and whole.
			again, err := p.Upload(t.Context(), upload(e, image))
			if err != nil {
				t.Fatal(err)
			}
			if list, err := p.Images(t.Context()); err != nil || len(list) != 1 || list[0].ID != again.ID {
				t.Errorf("images: %+v, %v", list, err)
			}
		})
	}
}

type readerAt func([]byte, int64) (int, error)

func (r readerAt) ReadAt(b []byte, at int64) (int, error) { return r(b, at) }

// TestNoteCutShort: an image whose note was not written to its end is not whole.
func TestNoteCutShort(t *testing.T) {
	p, j := connect(t, nil)
	e := begin(t, p, j)
	i := uploaded(t, p, e, rawDisk(t, 4))
	if err := os.Truncate(filepath.Join(home.lab.Images, noteName(i.ID)), 60); err != nil {
		t.Fatal(err)
	}
	if list, err := p.Images(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("images: %+v, %v", list, err)
	}
}

func TestUploadRefuses(t *testing.T) {
	p, j := connect(t, nil)
	e := begin(t, p, j)
	for name, spoil := range map[string]func(*providers.Upload){
		"no label":  func(u *providers.Upload) { u.Labels = nil },
		"no digest": func(u *providers.Upload) { u.SHA256 = "" },
		"no bytes":  func(u *providers.Upload) { u.Bytes = 0 },
	} {
		u := upload(e, []byte("image"))
		spoil(&u)
		if _, err := p.Upload(t.Context(), u); fault.Of(err) != fault.OfInput {
			t.Errorf("%s: %v", name, err)
		}
	}
	u := upload(e, []byte("image"))
	u.Bytes = 1 << 60
	if _, err := p.Upload(t.Context(), u); fault.Of(err) != fault.OfProvider || !strings.Contains(err.Error(), "make room") {
		t.Errorf("an image larger than the pool: %v", err)
	}
	if found, err := p.Find(t.Context(), e.ID); err != nil || len(found) != 0 {
		t.Errorf("left %v, %v", found, err)
	}
}

// TestFullPool fills the file system of the pool in the middle of a transfer: it ends
// with an error, and the next request works.
func TestFullPool(t *testing.T) {
	l := host(t)
	dir := t.TempDir()
	if err := l.Small(dir, 16); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{{"pool-define-as", "small", "dir", "--target", dir}, {"pool-start", "small"}} {
		if _, err := l.Virsh(t.Context(), command...); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, command := range [][]string{{"pool-destroy", "small"}, {"pool-undefine", "small"}} {
			if _, err := l.Virsh(context.Background(), command...); err != nil {
				t.Error(err)
			}
		}
	})
	p, j := connect(t, func(o *Options) { o.Pool = "small" })
	p.stall = 2 * time.Second
	e := begin(t, p, j)
	image := bytes.Repeat([]byte("no zeros"), 4<<20)
	if _, err := p.Upload(t.Context(), upload(e, image)); fault.Of(err) != fault.OfProvider || !strings.Contains(err.Error(), "make room") {
		t.Errorf("an upload that does not fit: %v", err)
	}
	name := imageVolume(e.ID, digest(image))
	volume, err := p.createVolume(t.Context(), name, int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	err = p.fill(t.Context(), volume, bytes.NewReader(image), int64(len(image)), nil)
	if fault.Of(err) != fault.OfProvider {
		t.Errorf("a transfer that does not fit: %v", err)
	}
	t.Log(err)
	if found, err := p.Find(t.Context(), e.ID); err != nil || len(found) != 1 {
		t.Errorf("found %v, %v", found, err)
	}
}
