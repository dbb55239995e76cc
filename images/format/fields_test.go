package format

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSparseHeader has the standard library read headers of disks that no test
// can write: octal digits end at 8 GiB.
func TestSparseHeader(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		size int64
		data []extent
	}{
		{1 << 30, nil},
		{1 << 30, []extent{{0, 1 << 16}}},
		{2 << 16, []extent{{0, 2 << 16}}}, // no hole
		{5 << 16, []extent{{1 << 16, 1 << 16}, {3 << 16, 2 << 16}}},
		{130 << 30, []extent{{0, 1 << 16}, {9 << 30, 1 << 16}, {129 << 30, 9 << 16}}},
		{130 << 30, []extent{{0, 9 << 30}}},
	} {
		header := sparseHeader("disk.raw", tc.size, tc.data)
		h, err := tar.NewReader(bytes.NewReader(header)).Next()
		if err != nil {
			t.Errorf("%v: %v", tc, err)
			continue
		}
		if h.Name != "disk.raw" || h.Size != tc.size || h.Mode != 0o644 || h.ModTime.Unix() != 0 || h.Typeflag != tar.TypeGNUSparse || h.Format != tar.FormatGNU {
			t.Errorf("%v: %+v", tc, h)
		}
	}
}

func TestVHDFooter(t *testing.T) {
	t.Parallel()
	const size = 3 << 20
	f, err := vhdFooter(size, strings.Repeat("ab", 32))
	if err != nil {
		t.Fatal(err)
	}
	be := binary.BigEndian
	if string(f[:8]) != "conectix" || len(f) != 512 || be.Uint64(f[40:]) != size || be.Uint64(f[48:]) != size || be.Uint32(f[60:]) != 2 || be.Uint32(f[24:]) != 0 {
		t.Errorf("% x", f[:84])
	}
	// Written as the specification does: the sum with the field as zeros.
	sum, want := uint32(0), be.Uint32(f[64:])
	copy(f[64:], []byte{0, 0, 0, 0})
	for _, b := range f {
		sum += uint32(b)
	}
	if want != ^sum {
		t.Errorf("the checksum is %#x, want %#x", want, ^sum)
	}
	if got := f[68:84]; got[6]>>4 != 8 || got[8]>>6 != 2 || got[0] != 0xab {
		t.Errorf("the id % x is no UUID of version 8 from the image", got)
	}
	other, err := vhdFooter(size, strings.Repeat("cd", 32))
	if err != nil || bytes.Equal(other[68:84], f[68:84]) {
		t.Errorf("two images have one id (%v)", err)
	}
}

// descriptor is that of qemu-img 10.
const descriptor = `# Disk DescriptorFile
version=1
CID=be25e86
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RW 2660352 SPARSE "image.vmdk"
`

func TestWithContentID(t *testing.T) {
	t.Parallel()
	want := strings.Replace(descriptor, "CID=be25e86", "CID=01234567", 1)
	for _, drawn := range []string{"be25e86", "1", "ffffffff"} {
		if got, err := withContentID(strings.Replace(descriptor, "be25e86", drawn, 1), "01234567"); got != want || err != nil {
			t.Errorf("%s: %v\n%s", drawn, err, got)
		}
	}
	if got, err := withContentID(descriptor, "ffffffff"); err != nil || !strings.Contains(got, "\nCID=fffffffe\n") {
		t.Errorf("%v: no parent's id became this one's:\n%s", err, got)
	}
	for _, bad := range []string{"", "version=1\n", "parentCID=1\n", "CID=1\nCID=2\n"} {
		if _, err := withContentID(bad, "01234567"); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// vmdk is the start of a file with a descriptor in sectors 1 and 2.
func vmdk(text string) []byte {
	b := make([]byte, 4*vmdkSector)
	copy(b, "KDMV")
	binary.LittleEndian.PutUint64(b[28:], 1)
	binary.LittleEndian.PutUint64(b[36:], 2)
	copy(b[vmdkSector:], text)
	b[3*vmdkSector] = 'x' // what follows
	return b
}

// TestFixVMDK: two draws of different lengths become one file.
func TestFixVMDK(t *testing.T) {
	t.Parallel()
	fixed := func(b []byte) ([]byte, error) {
		file := filepath.Join(t.TempDir(), "image.vmdk")
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := fixVMDK(f, strings.Repeat("01234567", 8)); err != nil {
			return nil, err
		}
		return os.ReadFile(file)
	}
	want := vmdk(strings.Replace(descriptor, "be25e86", "01234567", 1))
	for _, drawn := range []string{"be25e86", "fedcba98", "1"} {
		got, err := fixed(vmdk(strings.Replace(descriptor, "be25e86", drawn, 1)))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v\n%s", drawn, err, got)
		}
	}
	for name, spoil := range map[string]func([]byte) []byte{
		"short":         func(b []byte) []byte { return b[:100] },
		"no magic":      func(b []byte) []byte { b[0] = 'X'; return b },
		"no descriptor": func(b []byte) []byte { b[28] = 0; return b },
		"far away":      func(b []byte) []byte { b[35] = 1; return b },
		"endless":       func(b []byte) []byte { b[43] = 1; return b },
		"cut":           func(b []byte) []byte { return b[:2*vmdkSector] },
		"no room":       func([]byte) []byte { return vmdk("CID=1\n" + strings.Repeat("#", 2*vmdkSector-7)) },
	} {
		if _, err := fixed(spoil(vmdk(descriptor))); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
