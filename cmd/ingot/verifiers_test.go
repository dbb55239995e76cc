package main

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// foreign runs a program that others wrote and returns what it prints.
func foreign(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(name)
	if errors.Is(err, exec.ErrNotFound) {
		t.Skipf("%s is not installed", name)
	}
	out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	return string(out), err
}

var sectors = regexp.MustCompile(`(?s)First sector: (\d+) .*Last sector: (\d+) `)

// partition copies a partition of the image, or its first limit bytes, into a
// file of its own.
func (s server) partition(t *testing.T, number int, limit int64) string {
	t.Helper()
	out, err := foreign(t, "sgdisk", "-i", strconv.Itoa(number), s.result.Image)
	m := sectors.FindStringSubmatch(out)
	if err != nil || m == nil {
		t.Fatalf("sgdisk -i %d: %v\n%s", number, err, out)
	}
	first, _ := strconv.ParseInt(m[1], 10, 64)
	last, _ := strconv.ParseInt(m[2], 10, 64)
	return section(t, s.result.Image, first*512, min((last+1-first)*512, limit))
}

// section copies a part of a file into one of its own.
func section(t *testing.T, file string, offset, size int64) string {
	t.Helper()
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(filepath.Join(t.TempDir(), "section"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, io.NewSectionReader(in, offset, size)); err != nil {
		t.Fatal(err)
	}
	return out.Name()
}

// flip changes one bit of a file, and again to what it was.
func flip(t *testing.T, file string, offset int64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, offset); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{b[0] ^ 1}, offset); err != nil {
		t.Fatal(err)
	}
}

// verifiers: programs that we did not write accept every part of the image,
// and none accepts it with one bit flipped.
func (s server) verifiers(t *testing.T) {
	t.Run("sgdisk", func(t *testing.T) {
		head := section(t, s.result.Image, 0, 1<<20)
		if err := os.Truncate(head, s.result.Bytes); err != nil {
			t.Fatal(err)
		}
		if out, ok := tableIsFine(t, s.result.Image); !ok {
			t.Errorf("sgdisk -v:\n%s", out)
		}
		backup := section(t, s.result.Image, s.result.Bytes-1<<20, 1<<20)
		copyInto(t, backup, head, s.result.Bytes-1<<20)
		if out, ok := tableIsFine(t, head); !ok {
			t.Fatalf("the copy of both tables:\n%s", out)
		}
		for _, offset := range []int64{512 + 56, 1024 + 32, s.result.Bytes - 512 + 56} { // header, entries, backup
			flip(t, head, offset)
			if out, ok := tableIsFine(t, head); ok {
				t.Errorf("sgdisk -v does not see a flipped bit at %d:\n%s", offset, out)
			}
			flip(t, head, offset)
		}
	})
	t.Run("fsck.vfat", func(t *testing.T) {
		esp := s.partition(t, 2, 128<<20)
		if out, err := foreign(t, "fsck.vfat", "-n", esp); err != nil {
			t.Errorf("fsck.vfat: %v\n%s", err, out)
		}
		fat := int64(32 * 512) // go-diskfs reserves 32 sectors
		flip(t, esp, fat+4*10)
		if out, err := foreign(t, "fsck.vfat", "-n", esp); err == nil {
			t.Errorf("fsck.vfat does not see a flipped bit in the table:\n%s", out)
		}
	})
	root := s.partition(t, 4, s.rootBytes(t))
	t.Run("fsck.erofs", func(t *testing.T) {
		if out, ok := erofsIsFine(t, root); !ok {
			t.Errorf("fsck.erofs:\n%s", out)
		}
		const volumeName = 1024 + 64 // in the superblock, fs/erofs/erofs_fs.h
		flip(t, root, volumeName)
		if out, ok := erofsIsFine(t, root); ok {
			t.Errorf("fsck.erofs does not see a flipped bit in the superblock:\n%s", out)
		}
		flip(t, root, volumeName)
	})
	t.Run("veritysetup", func(t *testing.T) {
		tree := s.partition(t, 3, 1<<40)
		verify := func(hash string) (string, error) { return foreign(t, "veritysetup", "verify", root, tree, hash) }
		if out, err := verify(s.result.RootHash); err != nil {
			t.Fatalf("veritysetup verify: %v\n%s", err, out)
		}
		if out, err := verify(strings.Repeat("0", 64)); err == nil {
			t.Errorf("veritysetup accepts another root hash:\n%s", out)
		}
		for file, offset := range map[string]int64{root: s.rootBytes(t) / 2, tree: 8192} {
			flip(t, file, offset)
			if out, err := verify(s.result.RootHash); err == nil {
				t.Errorf("veritysetup does not see a flipped bit at %d:\n%s", offset, out)
			}
			flip(t, file, offset)
		}
	})
}

// tableIsFine: sgdisk finds "no problems" also in a table it had to repair.
func tableIsFine(t *testing.T, disk string) (string, bool) {
	t.Helper()
	out, err := foreign(t, "sgdisk", "-v", disk)
	return out, err == nil && strings.Contains(out, "No problems found") && !strings.Contains(out, "CRC") && !strings.Contains(out, "Caution")
}

// erofsIsFine: fsck.erofs 1.5 exits 0 when the superblock is broken.
func erofsIsFine(t *testing.T, image string) (string, bool) {
	t.Helper()
	out, err := foreign(t, "fsck.erofs", image)
	return out, err == nil && !strings.Contains(out, "<E>")
}

func copyInto(t *testing.T, from, to string, offset int64) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(to, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(b, offset)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// rootBytes is the size of the file system in root-a: its superblock counts
// blocks of 1<<blkszbits bytes (struct erofs_super_block, fs/erofs/erofs_fs.h).
func (s server) rootBytes(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile(s.partition(t, 4, 4096))
	if err != nil {
		t.Fatal(err)
	}
	super := b[1024:]
	if binary.LittleEndian.Uint32(super) != 0xe0f5e1e2 {
		t.Fatalf("root-a holds no EROFS: % x", super[:4])
	}
	return int64(binary.LittleEndian.Uint32(super[36:])) << super[12]
}
