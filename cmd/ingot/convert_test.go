package main

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestConvertOnAFullDisk: the file does not fit, neither where it should go nor
// into the cache.
func TestConvertOnAFullDisk(t *testing.T) {
	t.Parallel()
	image := make([]byte, 3<<20)
	rand.NewChaCha8([32]byte{}).Read(image)
	for _, small := range []string{"build", "cache"} {
		t.Run(small, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, filepath.Join(dir, "image"), string(image))
			for _, name := range []string{"build", "cache"} {
				if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if small != "build" {
				write(t, filepath.Join(dir, "build", "image.raw"), string(image))
			}
			cmd := ingot(t, filepath.Join(dir, "cache"), "convert", "--quiet", "--format", "raw.gz", dir)
			disk := filepath.Join(dir, small)
			// A link: the image is beside the small disk, and not on it.
			o := onSmallDisk(t, cmd, disk, "1m", `[ -e "$disk/../build/image.raw" ] || ln -s ../image "$disk/image.raw"`)
			if o.code != exitMachine || !strings.Contains(o.stderr, "the disk is full; make room") || !strings.Contains(o.stderr, "no space left on device") {
				t.Errorf("exit code %d, want %d and the reason:\n%s", o.code, exitMachine, o.stderr)
			}
			for line := range strings.Lines(o.stdout) {
				if !strings.HasSuffix(line, ".lock\n") {
					t.Errorf("left on the disk: %s", line)
				}
			}
		})
	}
}
