package images

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fakeParts is a disk whose contents only look the part.
func fakeParts(t *testing.T) parts {
	t.Helper()
	dir := t.TempDir()
	random := rand.NewChaCha8([32]byte{1})
	noise := func(n int) []byte {
		b := make([]byte, n)
		_, _ = random.Read(b)
		return b
	}
	p := parts{
		rootHash: fmt.Sprintf("%x", noise(32)), slot: 64 * mib, epoch: 1794475820,
		boot: bootCode{mbr: noise(sectorSize), core: noise(30_001), efi: noise(1 * mib)},
		root: filepath.Join(dir, "root"), verity: filepath.Join(dir, "verity"),
	}
	p.esp = espFiles(p.boot, p.rootHash, []string{"quiet"}, noise(1_234_567), noise(300_000))
	for file, content := range map[string][]byte{p.root: append(append(noise(2*mib), make([]byte, 3*mib)...), noise(4097)...), p.verity: noise(8192)} {
		if err := os.WriteFile(file, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func newDisk(t *testing.T, p parts) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := writeDisk(f, p); err != nil {
		t.Fatal(err)
	}
	return file
}

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

// cut copies size bytes at offset into a file of their own.
func cut(t *testing.T, disk string, offset, size int64) string {
	t.Helper()
	in, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(filepath.Join(t.TempDir(), "cut"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, io.NewSectionReader(in, offset, size)); err != nil {
		t.Fatal(err)
	}
	return out.Name()
}

// change overwrites bytes of a file.
func change(t *testing.T, file string, offset int64, b ...byte) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(b, offset)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func layoutOf(t *testing.T, p parts) layout {
	t.Helper()
	l, err := p.layout()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestSgdiskAcceptsTheTable(t *testing.T) {
	t.Parallel()
	p := fakeParts(t)
	disk := newDisk(t, p)
	verify := func() (string, bool) {
		out, err := foreign(t, "sgdisk", "-v", disk)
		// It finds "no problems" also in a table that it had to repair.
		return out, err == nil && strings.Contains(out, "No problems found") && !strings.Contains(out, "CRC") && !strings.Contains(out, "Caution")
	}
	if out, ok := verify(); !ok {
		t.Errorf("sgdisk -v:\n%s", out)
	}
	want := map[int][2]string{ // sgdisk's codes, from its man page and the Discoverable Partitions Specification
		biosIndex: {"21686148-6449-6E6F-744E-656564454649", derivedUUID("bios", p.rootHash)},
		espIndex:  {"C12A7328-F81F-11D2-BA4B-00A0C93EC93B", derivedUUID("esp", p.rootHash)},
		rootIndex: {"4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", hashUUID(p.rootHash[:32])}, verityIndex: {"2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5", hashUUID(p.rootHash[32:])},
	}
	for index, ids := range want {
		out, err := foreign(t, "sgdisk", "-i", fmt.Sprint(index), disk)
		if err != nil || !strings.Contains(out, ids[0]) || !strings.Contains(out, ids[1]) {
			t.Errorf("partition %d: want type and UUID %s (%v):\n%s", index, ids, err, out)
		}
	}
	for what, offset := range map[string]int64{"header": sectorSize + 56, "entry": 2*sectorSize + 56, "protective MBR": 450} {
		b, err := os.ReadFile(cut(t, disk, offset, 1))
		if err != nil {
			t.Fatal(err)
		}
		change(t, disk, offset, b[0]^1)
		if out, ok := verify(); ok {
			t.Errorf("sgdisk -v does not see a changed %s:\n%s", what, out)
		}
		change(t, disk, offset, b[0])
	}
}

func TestFsckAcceptsTheESP(t *testing.T) {
	t.Parallel()
	disk := newDisk(t, fakeParts(t))
	esp := cut(t, disk, newLayout(digits("a"), 64*mib, mib).start(espIndex), espBytes)
	if out, err := foreign(t, "fsck.vfat", "-n", "-v", esp); err != nil || strings.Contains(out, "Dirty") {
		t.Errorf("fsck.vfat: %v\n%s", err, out)
	}
	change(t, esp, 32*sectorSize+4*5, 0xff, 0xff, 0xff, 0x0f) // end a chain of the first FAT early
	if out, err := foreign(t, "fsck.vfat", "-n", esp); err == nil {
		t.Errorf("fsck.vfat does not see a broken chain:\n%s", out)
	}
}

func TestMtoolsReadTheESP(t *testing.T) {
	t.Parallel()
	p := fakeParts(t)
	disk := newDisk(t, p)
	at := fmt.Sprintf("%s@@%d", disk, layoutOf(t, p).start(espIndex))
	list, err := foreign(t, "mdir", "-i", at, "-/", "-b", "::")
	if err != nil {
		t.Fatalf("mdir: %v\n%s", err, list)
	}
	folders := map[string]bool{}
	for _, e := range p.esp {
		if !strings.Contains(list, "::"+e.path+"\n") {
			t.Errorf("mdir does not list %s:\n%s", e.path, list)
		}
		for dir := filepath.Dir(e.path); dir != "/"; dir = filepath.Dir(dir) {
			folders[dir] = true
		}
		to := filepath.Join(t.TempDir(), "copy")
		if out, err := foreign(t, "mcopy", "-i", at, "::"+e.path, to); err != nil {
			t.Fatalf("mcopy %s: %v\n%s", e.path, err, out)
		}
		if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, e.contents) {
			t.Errorf("%s: %d bytes came back other than the %d that went in (%v)", e.path, len(got), len(e.contents), err)
		}
	}
	if got := strings.Count(list, "\n"); got != len(p.esp)+len(folders) {
		t.Errorf("mdir lists %d names, want %d:\n%s", got, len(p.esp)+len(folders), list)
	}
}

// Not parallel: go-diskfs takes its clock from the process's environment.
func TestDiskIsTheSameEveryTime(t *testing.T) {
	p := fakeParts(t)
	first := newDisk(t, p)
	if !sameBytes(t, first, newDisk(t, p)) {
		t.Error("made twice, the bytes differ")
	}
	p.epoch += 86400
	if sameBytes(t, first, newDisk(t, p)) {
		t.Error("another epoch has the same bytes: the comparison sees nothing")
	}
}

func sameBytes(t *testing.T, a, b string) bool {
	t.Helper()
	same := true
	readers := [2]io.Reader{}
	for i, name := range []string{a, b} {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		readers[i] = f
	}
	pieces := [2][]byte{make([]byte, mib), make([]byte, mib)}
	for {
		n, err := io.ReadFull(readers[0], pieces[0])
		m, _ := io.ReadFull(readers[1], pieces[1])
		same = same && bytes.Equal(pieces[0][:n], pieces[1][:m])
		if err != nil {
			return same
		}
	}
}

func TestPartitionsHoldTheirFiles(t *testing.T) {
	t.Parallel()
	p := fakeParts(t)
	disk, l := newDisk(t, p), layoutOf(t, p)
	for index, file := range map[int]string{rootIndex: p.root, verityIndex: p.verity} {
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(cut(t, disk, l.start(index), int64(len(want)))); err != nil || !bytes.Equal(got, want) {
			t.Errorf("partition %d holds other bytes than %s (%v)", index, filepath.Base(file), err)
		}
	}
	info, err := os.Stat(disk)
	if err != nil || info.Size() != l.bytes {
		t.Errorf("the disk has %d bytes, want %d (%v)", info.Size(), l.bytes, err)
	}
}

// The BIOS reads the first sector, that reads one sector of the core image,
// and that reads the rest.
func TestBootCode(t *testing.T) {
	t.Parallel()
	p := fakeParts(t)
	disk, l := newDisk(t, p), layoutOf(t, p)
	b, err := os.ReadFile(cut(t, disk, 0, 2*mib))
	if err != nil {
		t.Fatal(err)
	}
	le, start := binary.LittleEndian, uint64(l.start(biosIndex)/sectorSize)
	if got := le.Uint64(b[0x5c:]); got != start {
		t.Errorf("the first sector loads sector %d, want %d", got, start)
	}
	if b[0x66] != 0x90 || b[0x67] != 0x90 || b[510] != 0x55 || b[511] != 0xaa {
		t.Errorf("drive check % x, signature % x", b[0x66:0x68], b[510:512])
	}
	if !bytes.Equal(b[:0x5c], p.boot.mbr[:0x5c]) || !bytes.Equal(b[0x68:440], p.boot.mbr[0x68:440]) {
		t.Error("the boot code is not that of boot.img")
	}
	core := b[mib:]
	if first, sectors := le.Uint64(core[0x1f4:]), le.Uint16(core[0x1fc:]); first != start+1 || sectors != 58 { // 30001 bytes are 59 sectors
		t.Errorf("the core loads %d sectors from %d, want 58 from %d", sectors, first, start+1)
	}
	if !bytes.Equal(core[512:30_001], p.boot.core[512:]) {
		t.Error("the core image is another")
	}
}

func TestWriteDiskRefuses(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*parts){
		"a core image larger than its partition": func(p *parts) { p.boot.core = make([]byte, biosBytes+1) },
		"a kernel that fills the ESP":            func(p *parts) { p.esp[0].contents = make([]byte, espBytes/2) },
		"no root":                                func(p *parts) { p.root += "-missing" },
		"no verity":                              func(p *parts) { p.verity += "-missing" },
		"a tree larger than its partition":       func(p *parts) { grow(t, p.verity, p.slot/64+1) },
	} {
		p := fakeParts(t)
		spoil(&p)
		f, err := os.Create(filepath.Join(t.TempDir(), "disk.raw"))
		if err != nil {
			t.Fatal(err)
		}
		if err := writeDisk(f, p); err == nil {
			t.Errorf("%s: no error", name)
		}
		f.Close()
	}
}

func grow(t *testing.T, file string, size int64) {
	t.Helper()
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
}

// sparse makes a file from pieces; an empty one is a hole of a MiB.
func sparse(t *testing.T, pieces ...string) (string, []byte) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var want []byte
	for _, p := range pieces {
		if _, err := f.WriteAt([]byte(p), int64(len(want))); err != nil {
			t.Fatal(err)
		}
		want = append(want, p...)
		if p == "" {
			want = append(want, make([]byte, mib)...)
		}
	}
	if err := f.Truncate(int64(len(want))); err != nil {
		t.Fatal(err)
	}
	return f.Name(), want
}

func sparseCases() map[string][]string {
	data := strings.Repeat("d", mib)
	return map[string][]string{
		"nothing":                {},
		"a byte":                 {"x"},
		"data":                   {data, data},
		"only a hole":            {"", ""},
		"a hole first":           {"", data},
		"a hole last":            {data, ""},
		"holes at both ends":     {"", data, "", "", data, ""},
		"off the grid":           {"", data + "odd", "", "x"},
		"zeros that are no hole": {data, string(make([]byte, mib)), data},
	}
}

// blocks is what a file takes on the disk, in bytes.
func blocks(t *testing.T, file string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

func TestReflink(t *testing.T) {
	t.Parallel()
	for name, pieces := range sparseCases() {
		from, want := sparse(t, pieces...)
		to := filepath.Join(t.TempDir(), "copy")
		if err := reflink(from, to); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, other than the %d (%v)", name, len(got), len(want), err)
		}
		if a, b := blocks(t, from), blocks(t, to); b > a {
			t.Errorf("%s: the copy takes %d bytes and the original %d: holes were filled", name, b, a)
		}
	}
}

func TestReflinkFailure(t *testing.T) {
	t.Parallel()
	from, _ := sparse(t, "x")
	dir := t.TempDir()
	taken := filepath.Join(dir, "taken")
	if err := os.WriteFile(taken, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := reflink(from, taken); err == nil {
		t.Error("an existing file was overwritten")
	}
	if err := reflink(from+"-missing", filepath.Join(dir, "none")); err == nil {
		t.Error("a missing file: no error")
	}
	if err := reflink(dir, filepath.Join(dir, "folder")); err == nil { // cannot be read
		t.Error("a folder: no error")
	}
	wantNames(t, dir, "taken")
	if b, err := os.ReadFile(taken); string(b) != "mine" {
		t.Errorf("the existing file holds %q (%v)", b, err)
	}
}

func TestCopyAt(t *testing.T) {
	t.Parallel()
	const offset = 3 * mib
	for name, pieces := range sparseCases() {
		from, want := sparse(t, pieces...)
		disk, err := os.Create(filepath.Join(t.TempDir(), "disk"))
		if err != nil {
			t.Fatal(err)
		}
		grow(t, disk.Name(), offset+int64(len(want))+mib)
		if err := copyAt(disk, offset, from); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		disk.Close()
		if got, err := os.ReadFile(disk.Name()); err != nil || !bytes.Equal(got[offset:offset+len(want)], want) || bytes.ContainsFunc(got[:offset], func(r rune) bool { return r != 0 }) {
			t.Errorf("%s: other bytes (%v)", name, err)
		}
		if a, b := blocks(t, from), blocks(t, disk.Name()); b > a+mib { // it looks for holes of a MiB on the disk's grid
			t.Errorf("%s: on the disk it takes %d bytes, in its file %d: holes were filled", name, b, a)
		}
	}
}
