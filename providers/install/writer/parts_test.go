package writer

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func TestEdges(t *testing.T) {
	t.Parallel()
	const image, size = 100 * mib, 1000 * mib
	got := edges(size, image, []span{
		{mib, 50 * mib},         // below the image
		{50 * mib, 100 * mib},   // half of it
		{200 * mib, mib / 2},    // short
		{999 * mib, 2 * mib},    // beyond the end
		{300 * mib, 100 * mib},  //
		{size + mib, 100 * mib}, // of another disk
	})
	want := []span{
		{image, mib},
		{149 * mib, mib},
		{200 * mib, mib / 2}, {200 * mib, mib / 2},
		{999 * mib, mib},
		{300 * mib, mib}, {399 * mib, mib},
		{999 * mib, mib},
	}
	if !slices.Equal(got, want) {
		t.Errorf("edges %v\nwant  %v", got, want)
	}
	if got := edges(image, image, nil); len(got) > 0 {
		t.Errorf("a disk as large as the image has edges %v", got)
	}
}

func TestParseMounts(t *testing.T) {
	t.Parallel()
	list, err := parseMounts([]byte(`22 27 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw
27 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
30 27 0:25 / /run rw - tmpfs tmpfs rw,size=200k
31 27 0:40 /@home /home rw - btrfs /dev/vdb2 rw,space_cache
32 27 254:2 / /a\040b ro,relatime - vfat /dev/vda2 ro
33 27 254:1 /x /ro ro,relatime - ext4 /dev/vda1 rw
`))
	if err != nil {
		t.Fatal(err)
	}
	var writable []string
	for _, m := range list {
		if m.block && m.writable {
			writable = append(writable, m.target)
		}
	}
	if want := []string{"/", "/home", "/ro"}; !slices.Equal(writable, want) {
		t.Errorf("writable are %v, want %v", writable, want)
	}
	if list[4].target != "/a b" || list[1].major != 254 || list[1].minor != 1 {
		t.Errorf("%+v", list)
	}
	if _, err := parseMounts([]byte("nonsense\n")); err == nil {
		t.Error("nonsense is taken")
	}
}

// This host has a root and something to spare.
func TestThisHost(t *testing.T) {
	t.Parallel()
	list, err := mounts()
	if err != nil || !slices.ContainsFunc(list, func(m mount) bool { return m.target == "/" }) {
		t.Errorf("%v, %v", list, err)
	}
	if n, err := available(); err != nil || n <= 0 {
		t.Errorf("%d bytes of memory, %v", n, err)
	}
	if p := parent(os.Getpid()); p != os.Getppid() {
		t.Errorf("the parent is %d and not %d", p, os.Getppid())
	}
}

// A volume stands on what it is made of, through any number of layers.
func TestStandsOn(t *testing.T) {
	t.Parallel()
	sys := t.TempDir()
	for _, dir := range []string{"vda/vda1", "vdb/vdb1", "dm-0/slaves", "md0/slaves"} {
		if err := os.MkdirAll(filepath.Join(sys, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"dm-0/slaves/md0": "md0", "md0/slaves/vda1": "vda/vda1"} {
		if err := os.Symlink(filepath.Join(sys, to), filepath.Join(sys, link)); err != nil {
			t.Fatal(err)
		}
	}
	for device, want := range map[string]bool{"vda": true, "vda/vda1": true, "md0": true, "dm-0": true, "vdb": false, "vdb/vdb1": false} {
		if got := standsOn(filepath.Join(sys, device), filepath.Join(sys, "vda")); got != want {
			t.Errorf("%s on vda: %v", device, got)
		}
	}
}

// What is no disk is refused before anything is done to it.
func TestWholeDisk(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, make([]byte, mib), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, "/dev/null", "/dev/absent", "/"} {
		if _, err := openDisk(path, true); err == nil {
			t.Errorf("%s is taken for a disk", path)
		}
		if err := prepare(path); err == nil {
			t.Errorf("%s is taken for the running system's disk", path)
		}
	}
}

// What comes from outside does no harm, whatever it is: it is refused, or every byte
// of the image comes exactly once.
func FuzzUnpack(f *testing.F) {
	small := func(records ...[]byte) []byte {
		var b bytes.Buffer
		z, err := zstd.NewWriter(&b)
		if err != nil {
			f.Fatal(err)
		}
		_, _ = z.Write(bytes.Join(records, nil)) // into memory
		if err := z.Close(); err != nil {
			f.Fatal(err)
		}
		return b.Bytes()
	}
	const size = 4096
	end := AppendRecord(nil, size, 0)
	f.Add(small(end))
	f.Add(small(append(AppendRecord(nil, 512, 512), make([]byte, 512)...), end))
	f.Add(small(AppendRecord(nil, -1, 1), []byte{1}, end))
	f.Add(small(append(AppendRecord(nil, 0, 2), 1, 2), append(AppendRecord(nil, 0, 2), 1, 2), end))
	f.Add(small(end, []byte("more")))
	f.Add([]byte("nonsense"))
	f.Fuzz(func(t *testing.T, packed []byte) {
		var at int64
		next := func(offset, n int64) error {
			if offset != at || n <= 0 {
				t.Fatalf("%d bytes for %d, at %d", n, offset, at)
			}
			at += n
			return nil
		}
		put := func(offset int64, data []byte) error { return next(offset, int64(len(data))) }
		err := unpack(bytes.NewReader(packed), size, make([]byte, ChunkBytes), put, next)
		if err == nil && at != size || at > size {
			t.Fatalf("%d of %d bytes, %v", at, size, err)
		}
	})
}

func FuzzReceive(f *testing.F) {
	f.Add([]byte{KindGo, 0, 0, 0, 0})
	f.Add([]byte{KindData, 0, 0, 0, 3, 1, 2, 3})
	f.Add([]byte{KindData, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		kind, payload, err := receive(bytes.NewReader(b), make([]byte, 4))
		if err == nil && (kind != b[0] || !bytes.Equal(payload, b[5:5+len(payload)])) {
			t.Fatalf("%q, %q", kind, payload)
		}
	})
}
