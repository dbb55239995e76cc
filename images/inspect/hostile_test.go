package inspect

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/disk"
	"github.com/diskfs/go-diskfs/filesystem"
	"github.com/diskfs/go-diskfs/partition/gpt"

	"ingot/fault"
	"ingot/images"
)

// Where the parts of the disk of newDisk begin.
const (
	mib      = 1 << 20
	espAt    = 1 * mib
	espBytes = 40 * mib
	rootAt   = espAt + espBytes
	treeAt   = rootAt + mib
	diskEnd  = treeAt + 2*mib
	fatAt    = espAt + 32*sectorSize // go-diskfs reserves 32 sectors
)

// The root hash of testdata/root-lz4.erofs, from veritysetup 2.6.1.
const lz4Hash = "aacd54bc467810b9a714d017810877e848204df955834ce44a8896832437bdb4"

// newDisk is a small disk that is like an image's in everything that is read.
func newDisk(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image.raw")
	d, err := diskfs.Create(file, diskEnd, diskfs.SectorSize512)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	table := &gpt.Table{LogicalSectorSize: sectorSize, PhysicalSectorSize: sectorSize, ProtectiveMBR: true}
	for i, p := range []struct {
		kind        gpt.Type
		start, size int64
		id          string
	}{
		{gpt.EFISystemPartition, espAt, espBytes, ""},
		{gpt.LinuxRootX86_64, rootAt, mib, uuidOf(lz4Hash[:32])},
		{gpt.Type(verityType), treeAt, mib, uuidOf(lz4Hash[32:])},
	} {
		table.Partitions = append(table.Partitions, &gpt.Partition{
			Index: i + 1, Name: "p", Type: p.kind, GUID: p.id, Start: uint64(p.start / sectorSize), End: uint64((p.start+p.size)/sectorSize - 1), Size: uint64(p.size),
		})
	}
	if err := d.Partition(table); err != nil {
		t.Fatal(err)
	}
	esp, err := d.CreateFilesystem(disk.FilesystemSpec{Partition: 1, FSType: filesystem.TypeFat32, VolumeLabel: "ESP"})
	if err != nil {
		t.Fatal(err)
	}
	if err := esp.Mkdir("/a"); err != nil {
		t.Fatal(err)
	}
	kernel := make([]byte, 0x300)
	copy(kernel[0x202:], "HdrS")
	kernel[0x20e] = 0x80
	copy(kernel[0x280:], "6.12.1-test (builder@debian)")
	for name, content := range map[string]string{
		"/a/slot.cfg": "set ingot_cmdline='root=/dev/mapper/root roothash=" + lz4Hash + " quiet'\n",
		"/a/vmlinuz":  string(kernel), "/a/initrd": strings.Repeat("initrd", 5000),
	} {
		f, err := esp.OpenFile(name, os.O_CREATE|os.O_RDWR)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	root := fixture(t, "root-lz4.erofs")
	write(t, file, rootAt, root)
	write(t, file, treeAt, sealedBytes(t, root, nil))
	return file
}

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t testing.TB, file string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, file string, at, n int64) []byte {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	return b
}

// header changes the primary header of the partition table and mends its checksum.
func header(t testing.TB, file string, change func(h []byte)) {
	t.Helper()
	h := read(t, file, sectorSize, 92)
	change(h)
	copy(h[16:20], make([]byte, 4))
	binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h))
	write(t, file, sectorSize, h)
}

// tableEntry changes the second entry of the primary table and mends the checksums.
func tableEntry(t testing.TB, file string, at int, b []byte) {
	t.Helper()
	entries := read(t, file, 2*sectorSize, 128*128)
	copy(entries[128+at:], b)
	write(t, file, 2*sectorSize, entries)
	header(t, file, func(h []byte) { binary.LittleEndian.PutUint32(h[88:], crc32.ChecksumIEEE(entries)) })
}

func emptyCache(t testing.TB) images.Cache {
	t.Helper()
	cache, err := images.OpenCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return cache
}

// TestHostileImages damages what a stranger could. A whole disk gets as far as
// fsck.erofs, which an empty cache has not.
func TestHostileImages(t *testing.T) {
	t.Parallel()
	const reached = "there is no fsck.erofs in the cache"
	le := binary.LittleEndian
	for name, test := range map[string]struct {
		change func(t *testing.T, file string)
		want   string
	}{
		"whole":          {func(*testing.T, string) {}, reached},
		"changed block":  {func(t *testing.T, f string) { write(t, f, rootAt+3*blockSize, []byte("x")) }, reached},
		"empty":          {func(t *testing.T, f string) { truncate(t, f, 0) }, "the file is too short"},
		"half":           {func(t *testing.T, f string) { truncate(t, f, diskEnd/2) }, "there is no GPT at byte"},
		"text":           {func(t *testing.T, f string) { write(t, f, sectorSize, []byte("not a GPT")) }, "there is no GPT at byte 512"},
		"many entries":   {func(t *testing.T, f string) { header(t, f, func(h []byte) { le.PutUint32(h[80:], 1<<31) }) }, "it must be at most 128 of 128"},
		"large entries":  {func(t *testing.T, f string) { header(t, f, func(h []byte) { le.PutUint32(h[84:], 1<<30) }) }, "it must be at most 128 of 128"},
		"many in backup": {func(t *testing.T, f string) { write(t, f, diskEnd-sectorSize+80, []byte{0xff, 0xff, 0xff, 0xff}) }, "it must be at most 128 of 128"},
		"beyond the end": {func(t *testing.T, f string) { tableEntry(t, f, 40, []byte{0, 0, 0, 0, 0, 1}) }, "partition 2 is not within the file"},
		"ends first":     {func(t *testing.T, f string) { tableEntry(t, f, 40, make([]byte, 8)) }, "partition 2 is not within the file"},
		"no boot sector": {func(t *testing.T, f string) { write(t, f, espAt, make([]byte, sectorSize)) }, "ESP: it is no FAT32 file system"},
		"large FAT":      {func(t *testing.T, f string) { write(t, f, espAt+36, []byte{0xff, 0xff, 0xff, 0x7f}) }, "its table is larger than the partition or 4194304 bytes"},
		"endless chain": {func(t *testing.T, f string) {
			for cluster := int64(2); cluster < 2000; cluster++ {
				next := le.AppendUint32(nil, uint32(cluster%100+2))
				write(t, f, fatAt+4*cluster, next)
			}
		}, "ESP: the chain of clusters through"},
		"no kernel":  {func(t *testing.T, f string) { patch(t, f, "HdrS", "xxxx") }, "a/vmlinuz is no Linux kernel"},
		"no hash":    {func(t *testing.T, f string) { patch(t, f, "roothash=aacd", "roothash=AACD") }, "a/slot.cfg has no root hash"},
		"no line":    {func(t *testing.T, f string) { patch(t, f, "set ingot_cmdline", "set other_cmdline") }, "a/slot.cfg is not one line"},
		"two lines":  {func(t *testing.T, f string) { patch(t, f, "quiet'\n", "'\n#tail") }, "a/slot.cfg is not one line"},
		"two hashes": {func(t *testing.T, f string) { patch(t, f, "root=/dev/mapper/root", "roothash=/dev/mapper/") }, "a/slot.cfg has two root hashes"},
		"two kernels": {func(t *testing.T, f string) { // by the long name of the initrd, which is in two pieces
			patch(t, f, "i\x00n\x00i\x00t\x00r\x00", "V\x00m\x00l\x00i\x00n\x00")
			patch(t, f, "d\x00\x00\x00\xff\xff\xff", "u\x00z\x00\x00\x00\xff")
		}, "is there twice"},
		"no magic":  {func(t *testing.T, f string) { write(t, f, rootAt+superAt, []byte("EXT4")) }, "root: it is no EROFS file system with blocks of 4096 bytes; block 0 of the root"},
		"features":  {func(t *testing.T, f string) { write(t, f, rootAt+superIncompat, []byte{0x08}) }, "features that Ingot's have not (0x8)"},
		"too large": {func(t *testing.T, f string) { write(t, f, rootAt+superBlocks, []byte{0xff, 0xff, 0xff, 0xff}) }, "the file system has 17592186040320 bytes, and sealed are 24576"},
		"more than is sealed": {func(t *testing.T, f string) {
			write(t, f, treeAt, sealedBytes(t, read(t, f, rootAt, 4*blockSize), nil))
		}, "the file system has 24576 bytes, and sealed are 16384"},
		"no tree": {func(t *testing.T, f string) { write(t, f, treeAt, make([]byte, sectorSize)) }, "verity: there is no hash tree"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := newDisk(t)
			test.change(t, file)
			_, err := Read(t.Context(), file, emptyCache(t))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("%v, want %q", err, test.want)
			}
			if want := fault.OfInput; test.want != reached && fault.Of(err) != want {
				t.Errorf("it is a fault of kind %d, want %d", fault.Of(err), want)
			}
		})
	}
}

func truncate(t testing.TB, file string, n int64) {
	t.Helper()
	if err := os.Truncate(file, n); err != nil {
		t.Fatal(err)
	}
}

// patch replaces the first text on the ESP.
func patch(t testing.TB, file, from, to string) {
	t.Helper()
	at := bytes.Index(read(t, file, espAt, espBytes), []byte(from))
	if at < 0 {
		t.Fatalf("%q is not on the ESP", from)
	}
	write(t, file, espAt+int64(at), []byte(to))
}

func TestListRoot(t *testing.T) {
	t.Parallel()
	// Blocks of usr/bin/big: what "dump.erofs --path" calls its on-disk size.
	for name, stored := range map[string]int64{"root-lz4.erofs": 20480, "root-zstd.erofs": 4096} {
		var size int64
		files, err := listRoot(section(fixture(t, name)), &size)
		if err != nil {
			t.Fatal(err)
		}
		if size != int64(len(fixture(t, name))) {
			t.Errorf("%s: the file system has %d bytes", name, size)
		}
		for _, want := range []File{
			{Path: "/", Type: "directory", Mode: "0755"}, {Path: "/tmp", Type: "directory", Mode: "1777"},
			{Path: "/bin", Type: "link", Mode: "0777", Target: "usr/bin"},
			{Path: "/usr/bin/big", Type: "file", Mode: "4755", Bytes: 45058, Stored: stored},
			{Path: "/usr/small", Type: "file", Mode: "0644", UID: 1000, GID: 65534, Bytes: 6, Stored: 6},
			{Path: "/usr/again", Type: "file", Mode: "0644", UID: 1000, GID: 65534, Bytes: 6, Stored: 6},
		} {
			if got := files[want.Path]; got == nil || *got != want {
				t.Errorf("%s: %+v, want %+v", name, got, want)
			}
		}
		if len(files) != 8 { // and /usr, /usr/bin
			t.Errorf("%s: %d files", name, len(files))
		}
	}
}

// TestListRootIsBounded has folders that contain themselves: every entry of the
// root folder leads to the root folder.
func TestListRootIsBounded(t *testing.T) {
	t.Parallel()
	b := fixture(t, "root-lz4.erofs")
	root := uint64(binary.LittleEndian.Uint16(b[superAt+14:]))
	changed := 0
	for at := 0; at+12 <= len(b); at += 4 { // directory entries: the inode's number, where the name is, 2 for a folder
		if b[at+10] == 2 && b[at+11] == 0 && binary.LittleEndian.Uint64(b[at:]) < 1000 && binary.LittleEndian.Uint64(b[at:]) > 0 {
			binary.LittleEndian.PutUint64(b[at:], root)
			changed++
		}
	}
	var size int64
	_, err := listRoot(section(b), &size)
	if changed == 0 || err == nil || !strings.Contains(err.Error(), "folders more than 100 deep") {
		t.Errorf("with %d folders that lead to the root: %v", changed, err)
	}
}

// TestCheckFAT: a sparse file may be as large as it likes, and so its table.
func TestCheckFAT(t *testing.T) {
	t.Parallel()
	boot := read(t, newDisk(t), espAt, sectorSize)
	binary.LittleEndian.PutUint32(boot[36:], maxFAT/sectorSize+1)
	err := checkFAT(io.NewSectionReader(bytes.NewReader(boot), 0, 1<<40))
	if err == nil || !strings.Contains(err.Error(), "larger than the partition or 4194304 bytes") {
		t.Error(err)
	}
}

func TestCheckChains(t *testing.T) {
	t.Parallel()
	const end = 0x0fffffff
	for name, test := range map[string]struct {
		table []uint32
		fine  bool
	}{
		"empty":          {[]uint32{0, end}, true},
		"one":            {[]uint32{0, end, end}, true},
		"forward":        {[]uint32{0, end, 3, 4, end}, true},
		"backward":       {[]uint32{0, end, end, 2, 3}, true},
		"joined":         {[]uint32{0, end, end, 2, 2}, true},
		"out of table":   {[]uint32{0, end, 99}, true}, // go-diskfs sees that
		"itself":         {[]uint32{0, end, 2}, false},
		"a circle":       {[]uint32{0, end, 3, 4, 2}, false},
		"into a circle":  {[]uint32{0, end, 3, 4, 3}, false},
		"high bits":      {[]uint32{0, end, 0xf0000002}, false},
		"into a circle2": {[]uint32{0, end, end, 5, 2, 5}, false},
	} {
		var b []byte
		for _, n := range test.table {
			b = binary.LittleEndian.AppendUint32(b, n)
		}
		if err := checkChains(b); (err == nil) != test.fine {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzRead changes bytes anywhere in the parts of a disk that are not empty.
func FuzzRead(f *testing.F) {
	for _, at := range []uint32{sectorSize, 2 * sectorSize, espAt, fatAt, fatAt + 8, rootAt + superAt, rootAt + 1152, treeAt} {
		f.Add(at, []byte{0xff, 0xff, 0xff, 0xff})
	}
	disk := newDisk(f)
	cache := emptyCache(f)
	f.Fuzz(func(t *testing.T, at uint32, b []byte) {
		at %= diskEnd
		if len(b) == 0 || len(b) > 64 || int64(at)+int64(len(b)) > diskEnd {
			return
		}
		was := read(t, disk, int64(at), int64(len(b)))
		write(t, disk, int64(at), b)
		if _, err := Read(t.Context(), disk, cache); err == nil {
			t.Error("it was read without a program that reads it")
		}
		write(t, disk, int64(at), was)
	})
}
