package sbom

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// cpio writes an archive of the kind newc; names that end in "/" are folders.
func cpio(names ...string) []byte {
	var b bytes.Buffer
	for i, name := range append(names, "TRAILER!!!") {
		mode, content := 0o100644, "12345"
		if strings.HasSuffix(name, "/") || i == len(names) {
			mode, content = 0o40755, ""
		}
		name = strings.TrimSuffix(name, "/")
		fmt.Fprintf(&b, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", i, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
		b.WriteString(name + "\x00")
		b.Write(make([]byte, -b.Len()&3))
		b.WriteString(content)
		b.Write(make([]byte, -b.Len()&3))
	}
	return b.Bytes()
}

func TestUsedInInitrd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	info := filepath.Join(dir, "tree/var/lib/dpkg/info")
	if err := os.MkdirAll(info, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, list := range map[string]string{
		"kmod.list":        "/.\n/usr\n/usr/bin\n/usr/bin/kmod\n",
		"libc6:amd64.list": "/lib/x86_64-linux-gnu/libc.so.6\n",
		"dpkg.list":        "/usr/bin/dpkg\n/usr/bin\n",
	} {
		if err := os.WriteFile(filepath.Join(info, name), []byte(list), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	initrd := filepath.Join(dir, "initrd")
	if err := os.WriteFile(initrd, w.EncodeAll(cpio(".", "usr/", "usr/bin/", "usr/bin/kmod", "usr/lib/x86_64-linux-gnu/libc.so.6", "init"), nil), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := UsedInInitrd(initrd, filepath.Join(dir, "tree"))
	if want := []string{"kmod", "libc6"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q (%v), want %q", got, err, want)
	}
	if _, err := UsedInInitrd(initrd, dir); err == nil {
		t.Error("a tree without packages has owners")
	}
}

func TestCPIOBroken(t *testing.T) {
	t.Parallel()
	whole := cpio("a", "bb", "ccc")
	for n := range whole {
		if n >= len(whole)-len("TRAILER!!!")-4 {
			break // the name of the end is there
		}
		if files, err := cpioFiles(bytes.NewReader(whole[:n])); err == nil {
			t.Fatalf("the first %d bytes are a whole archive with %q", n, files)
		}
	}
	for _, broken := range []string{strings.Repeat("x", 200), "070701" + strings.Repeat("F", 104), "070701" + strings.Repeat("z", 104)} {
		if files, err := cpioFiles(strings.NewReader(broken)); err == nil {
			t.Errorf("%q has the files %q", broken, files)
		}
	}
}

func FuzzCPIO(f *testing.F) {
	f.Add(cpio("a", "b/", "b/c"))
	f.Fuzz(func(t *testing.T, archive []byte) {
		files, err := cpioFiles(io.LimitReader(bytes.NewReader(archive), 1<<20))
		if err == nil && len(files) > len(archive)/cpioHeader {
			t.Errorf("%d files in %d bytes", len(files), len(archive))
		}
	})
}
