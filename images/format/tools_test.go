package format

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// lockedQEMUImg is qemu-img of a tools tree, run as package images does.
func lockedQEMUImg(t *testing.T) QEMUImg {
	t.Helper()
	root := os.Getenv("INGOT_TOOLS")
	if root == "" {
		t.Skip("qemu-img is that of a tools tree: set INGOT_TOOLS to its root")
	}
	return func(ctx context.Context, args ...string) error {
		argv := append([]string{"--library-path", filepath.Join(root, "usr/lib/x86_64-linux-gnu"), filepath.Join(root, "usr/bin/qemu-img")}, args...)
		cmd := exec.CommandContext(ctx, filepath.Join(root, "usr/lib64/ld-linux-x86-64.so.2"), argv...)
		cmd.Env = []string{"LC_ALL=C.UTF-8"}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("qemu-img %q: %w\n%s", args, err, out)
		}
		return nil
	}
}

// TestQEMUFormats: the same bytes from another folder, another process, another
// second and an image without holes; qemu-img finds no fault in them, and 7-Zip
// the image.
func TestQEMUFormats(t *testing.T) {
	t.Parallel()
	qemuImg := lockedQEMUImg(t)
	for f, name := range qemuNames {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			img := newImage(t, t.TempDir(), true)
			file := written(t, f, img, qemuImg)
			nextSecond(t) // VHD has seconds
			twin := newImage(t, filepath.Join(t.TempDir(), "a b:c,d"), false)
			wantSame(t, file, written(t, f, twin, qemuImg))
			if f != VHD { // which has nothing to check
				if err := qemuImg(t.Context(), "check", "-f", name, file); err != nil {
					t.Error(err)
				}
			}
			wantInSevenZip(t, img, file)
		})
	}
}

// nextSecond waits until the clock shows another second.
func nextSecond(t *testing.T) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now().Unix(); time.Now().Unix() == start; {
		<-tick.C
	}
}

// wantInSevenZip has 7-Zip list the file's partitions or the disk in it, and test
// what it can read.
func wantInSevenZip(t *testing.T, img Image, file string) {
	t.Helper()
	program, err := exec.LookPath("7zz")
	if err != nil {
		t.Log("not read by 7-Zip: ", err)
		return
	}
	out, err := exec.CommandContext(t.Context(), program, "e", "-so", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := out[:min(len(out), int(img.Bytes))]; !bytes.Equal(got, content()) || !allZeros(out[len(got):]) {
		t.Errorf("7-Zip finds %d other bytes in it", len(out))
	}
}

// TestVHDIsQEMUs: the file is the one that qemu-img writes, but for the time, the
// id and the checksum.
func TestVHDIsQEMUs(t *testing.T) {
	t.Parallel()
	qemuImg := lockedQEMUImg(t)
	img := newImage(t, t.TempDir(), true)
	if err := os.Truncate(img.File, 53<<20); err != nil { // whole MiB
		t.Fatal(err)
	}
	img, err := Open(t.Context(), img.File)
	if err != nil {
		t.Fatal(err)
	}
	theirs := filepath.Join(t.TempDir(), "image.vhd")
	if err := convert(t.Context(), qemuImg, img.File, theirs, "-f", "raw", "-O", "vpc", "-o", "subformat=fixed,force_size=on"); err != nil {
		t.Fatal(err)
	}
	a, err := os.ReadFile(theirs)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(written(t, VHD, img, qemuImg))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range [][]byte{a, b} {
		footer := file[len(file)-vhdFooterBytes:]
		clear(footer[24:28])
		clear(footer[64:84])
	}
	if !bytes.Equal(a, b) {
		t.Errorf("the footer is % x, qemu-img's % x", b[len(b)-vhdFooterBytes:][:88], a[len(a)-vhdFooterBytes:][:88])
	}
}
