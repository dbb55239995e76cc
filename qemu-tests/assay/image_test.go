package assay

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// An image that is written to, or replaced, during an assay is noticed.
func TestUnchanged(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(file string) error{
		"nothing": nil,
		"a byte": func(file string) error {
			f, err := os.OpenFile(file, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			var before, now syscall.Stat_t
			err = syscall.Stat(file, &before)
			for now = before; err == nil && now.Ctim == before.Ctim; { // the kernel's clock ticks
				_, err = f.WriteAt([]byte("y"), 0)
				err = errors.Join(err, syscall.Stat(file, &now))
			}
			return err
		},
		"another file": func(file string) error {
			return errors.Join(os.WriteFile(file+".new", []byte("x"), 0o644), os.Rename(file+".new", file))
		},
		"gone": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "image.raw")
			if err := os.WriteFile(file, []byte("x"), 0o644); err != nil {
				t.Fatal(err)
			}
			s := sealedImage{file: file}
			if err := syscall.Stat(file, &s.stat); err != nil {
				t.Fatal(err)
			}
			if change != nil {
				if err := change(file); err != nil {
					t.Fatal(err)
				}
			}
			err := s.unchanged()
			if (err != nil) != (change != nil) {
				t.Errorf("got %v", err)
			}
			if err != nil && !errors.Is(err, errMachineLacks) {
				t.Errorf("%v is not this machine's doing", err)
			}
		})
	}
}
