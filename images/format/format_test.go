package format

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ingot/fault"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in, want, err string
	}{
		{in: "qcow2", want: "qcow2"},
		{in: "raw.zst, QCOW2,raw.zst", want: "raw.zst qcow2"},
		{in: strings.Join(names(), ","), want: "raw qcow2 vmdk vhd gcp raw.gz raw.xz raw.zst"},
		{in: "qcow", err: `there is no format "qcow"; did you mean qcow2?`},
		{in: "vdmk", err: `there is no format "vdmk"; did you mean vmdk?`},
		{in: "xz", err: `there is no format "xz"; did you mean raw.xz?`},
		{in: "zstd", err: `there is no format "zstd"; did you mean raw.zst?`},
		{in: "iso", err: `there is no format "iso"; there are raw, qcow2, vmdk, vhd, gcp, raw.gz, raw.xz, raw.zst`},
		{in: "qcow2,", err: `there is no format ""; there are raw, `},
		{err: "name a format with --format: raw, "},
	} {
		var wanted []string
		if tc.in != "" {
			wanted = strings.Split(tc.in, ",")
		}
		got, err := Parse(wanted)
		var words []string
		for _, f := range got {
			words = append(words, string(f))
		}
		if strings.Join(words, " ") != tc.want || (err == nil) != (tc.err == "") {
			t.Errorf("%q: %q, %v", tc.in, words, err)
		}
		if err != nil && (!strings.HasPrefix(err.Error(), tc.err) || fault.Of(err) != fault.OfInput) {
			t.Errorf("%q: %v, want %s", tc.in, err, tc.err)
		}
	}
}

// diskBytes has a short block at its end for xz, no whole MiB for VHD, no whole
// 64 KiB for tar.
const diskBytes = 52<<20 + 20<<10

// content is a small disk: a table at its start, data in more runs than fit into
// the header of a tar, a hole of two blocks of xz, data at the very end.
func content() []byte {
	b := make([]byte, diskBytes)
	random := rand.NewChaCha8([32]byte{1})
	random.Read(b[:700])
	for at := 1 << 20; at < 15<<20; at += 256 << 10 {
		random.Read(b[at : at+5000])
	}
	random.Read(b[diskBytes-100:])
	return b
}

// newImage writes a disk into a folder, with holes or with zeros on the disk.
func newImage(t *testing.T, dir string, sparse bool) Image {
	t.Helper()
	b := content()
	file := filepath.Join(dir, "image.raw")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const block = 4096
	for at := 0; at < len(b); at += block {
		piece := b[at:min(at+block, len(b))]
		if sparse && allZeros(piece) {
			continue
		}
		if _, err := f.WriteAt(piece, int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	sum := sha256.Sum256(b)
	return Image{File: file, SHA256: hex.EncodeToString(sum[:]), Bytes: diskBytes}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	for _, sparse := range []bool{true, false} {
		want := newImage(t, t.TempDir(), sparse)
		if got, err := Open(t.Context(), want.File); got != want || err != nil {
			t.Errorf("sparse %v: %+v, %v, want %+v", sparse, got, err, want)
		}
	}
}

// written wants f to be made of img, and returns the file.
func written(t *testing.T, f Format, img Image, qemuImg QEMUImg) string {
	t.Helper()
	dir := t.TempDir()
	if err := Write(t.Context(), f, img, qemuImg, dir); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, dir, f.File())
	return filepath.Join(dir, f.File())
}

func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("the folder holds %q, want %q", got, want)
	}
}

// unpackers are foreign programs that write the disk to their standard output.
var unpackers = map[Format][]string{
	GCP:  {"tar", "--extract", "--gzip", "--to-stdout", "--file"},
	Gzip: {"gzip", "--decompress", "--stdout"},
	XZ:   {"xz", "--decompress", "--stdout"},
	Zstd: {"zstd", "--decompress", "--stdout"},
}

// TestStreams writes each format of an image and of its twin in another folder,
// whose zeros are no holes: the bytes are the same, and a foreign program finds
// the image in them.
func TestStreams(t *testing.T) {
	t.Parallel()
	for f, argv := range unpackers {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			img := newImage(t, t.TempDir(), true)
			file := written(t, f, img, nil)
			twin := newImage(t, filepath.Join(t.TempDir(), "a b:c,d"), false)
			wantSame(t, file, written(t, f, twin, nil))
			if _, err := exec.LookPath(argv[0]); err != nil {
				t.Skip(err)
			}
			cmd := exec.CommandContext(t.Context(), argv[0], append(argv[1:], file)...)
			got := &comparison{sum: sha256.New(), rest: img.Bytes}
			cmd.Stdout = got
			if err := cmd.Run(); err != nil {
				t.Fatal(err)
			}
			if sum := hex.EncodeToString(got.sum.Sum(nil)); sum != img.SHA256 || got.dirty || got.total != roundUp(img.Bytes, f.unit()) {
				t.Errorf("%s reads %d bytes with SHA-256 %s, want %s", argv[0], got.total, sum, img.SHA256)
			}
		})
	}
}

func wantSame(t *testing.T, one, other string) {
	t.Helper()
	a, err := os.ReadFile(one)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Errorf("%s and %s differ", one, other)
	}
}

// TestHoles: what is extracted from the tar, and the VHD, are as sparse as the
// image.
func TestHoles(t *testing.T) {
	t.Parallel()
	img := newImage(t, t.TempDir(), true)
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "tar", "--extract", "--gzip", "--directory", dir, "--file", written(t, GCP, img, nil))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	disks := map[string]int64{filepath.Join(dir, "disk.raw"): 1 << 30, written(t, VHD, img, likeQEMU): 53<<20 + vhdFooterBytes}
	for file, size := range disks {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if used := info.Sys().(*syscall.Stat_t).Blocks * 512; info.Size() != size || used > 5<<20 {
			t.Errorf("%s has %d bytes, want %d, and takes %d", file, info.Size(), size, used)
		}
	}
}

// likeQEMU takes the place of qemu-img where only VHD is read: the disk without
// its footer.
func likeQEMU(_ context.Context, args ...string) error {
	b, err := os.ReadFile(args[len(args)-2])
	if err != nil {
		return err
	}
	return os.WriteFile(args[len(args)-1], b[:len(b)-vhdFooterBytes], 0o600)
}

// TestWriteFindsADifference: what is read back is not the image, or cannot be read.
func TestWriteFindsADifference(t *testing.T) {
	t.Parallel()
	img := newImage(t, t.TempDir(), true)
	other := img
	other.SHA256 = strings.Repeat("0", 64)
	shorter := img
	shorter.Bytes -= 512
	for _, f := range []Format{GCP, Gzip, XZ, Zstd, VHD} {
		for name, wrong := range map[string]Image{"another image": other, "another size": shorter} {
			dir := t.TempDir()
			err := Write(t.Context(), f, wrong, likeQEMU, dir)
			if err == nil || !strings.Contains(err.Error(), "write "+f.File()+": what can be read from it is not the image") {
				t.Errorf("%s, %s: %v", f, name, err)
			}
			wantFiles(t, dir)
		}
	}
	dir := t.TempDir()
	broken := errors.New("broken")
	if err := Write(t.Context(), VHD, img, func(context.Context, ...string) error { return broken }, dir); !errors.Is(err, broken) {
		t.Error(err)
	}
	wantFiles(t, dir)
}

// TestComparison: zeros may follow, and nothing else.
func TestComparison(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		rest  string
		dirty bool
	}{{"", false}, {"\x00\x00", false}, {"\x00\x01", true}, {"\x01\x01", true}} {
		c := &comparison{sum: sha256.New(), rest: 4}
		for _, b := range []byte("disk" + tc.rest) {
			c.Write([]byte{b})
		}
		want := sha256.Sum256([]byte("disk"))
		if c.dirty != tc.dirty || !bytes.Equal(c.sum.Sum(nil), want[:]) || c.total != int64(4+len(tc.rest)) {
			t.Errorf("%q: %+v", tc.rest, c)
		}
	}
}

func TestAnEmptyImageIsRefused(t *testing.T) {
	t.Parallel()
	if err := Write(t.Context(), Gzip, Image{File: "image.raw"}, nil, t.TempDir()); err == nil || fault.Of(err) != fault.OfInput {
		t.Error(err)
	}
}

// cancelling is a context that ends when it was asked a few times.
type cancelling struct {
	context.Context
	cancel context.CancelFunc
	left   int
}

func (c *cancelling) Err() error {
	if c.left--; c.left < 0 {
		c.cancel()
	}
	return c.Context.Err()
}

// TestInterrupted: in the first piece, while writing, while reading back.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	img := newImage(t, t.TempDir(), true)
	for _, f := range []Format{GCP, Gzip, Zstd, VHD} {
		for _, left := range []int{0, 20, 54} {
			ctx, cancel := context.WithCancel(t.Context())
			dir := t.TempDir()
			if err := Write(&cancelling{ctx, cancel, left}, f, img, likeQEMU, dir); !errors.Is(err, context.Canceled) {
				t.Errorf("%s, %d: %v", f, left, err)
			}
			wantFiles(t, dir)
			cancel()
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	if err := Write(ctx, XZ, img, nil, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("xz: %v", err)
	}
	wantFiles(t, dir)
}

// full is a disk with room for a few bytes.
type full struct{ left int }

func (f *full) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, syscall.ENOSPC
	}
	return len(p), nil
}

// TestFullDisk: the reason comes out, and no worker waits for ever.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	img := newImage(t, t.TempDir(), true)
	in, err := os.Open(img.File)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	for f, write := range map[Format]func(context.Context, io.Writer, *os.File, int64) error{
		GCP: writeGCP, Gzip: writeGzip, XZ: writeXZ, Zstd: writeZstd,
	} {
		for _, left := range []int{0, 13, 100000} {
			if err := write(t.Context(), &full{left}, in, img.Bytes); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("%s with room for %d bytes: %v", f, left, err)
			}
		}
	}
}
