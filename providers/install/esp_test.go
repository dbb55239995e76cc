package install

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Configs of every length around the size of a cluster are on the ESP, as a foreign
// program sees it, and the image itself is not touched.
func TestInstancePatches(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("mcopy"); err != nil {
		t.Skipf("%v: run ./setup.sh", err)
	}
	name, sum := testImage(t)
	image, done, err := openImage(name, sum)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	for _, n := range []int{1, 511, 512, 513, 4095, 4096, 4097, 20000, maxInstance} {
		config := bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n]
		patches, err := instancePatches(image, config)
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		esp := espOf(t, name)
		for _, p := range patches {
			if p.Offset < espStart || p.Offset+int64(len(p.Data)) > espEnd {
				t.Fatalf("%d bytes: a patch of %d bytes at %d is outside of the ESP", n, len(p.Data), p.Offset)
			}
			if _, err := esp.WriteAt(p.Data, p.Offset-espStart); err != nil {
				t.Fatal(err)
			}
		}
		esp.Close()
		if got := output(t, "mcopy", "-i", esp.Name(), "::instance.ign", "-"); got != string(config) {
			t.Errorf("%d bytes: the file on the ESP has %d others", n, len(got))
		}
		output(t, "fsck.vfat", "-n", esp.Name())
	}
	if got := sumOf(t, name, imageBytes); got != sum {
		t.Error("the image was changed")
	}
	for _, n := range []int{0, maxInstance + 1} {
		if _, err := instancePatches(image, make([]byte, n)); err == nil {
			t.Errorf("a config of %d bytes is taken", n)
		}
	}
}

// espOf is a copy of the test image's ESP.
func espOf(t *testing.T, image string) *os.File {
	t.Helper()
	file := filepath.Join(t.TempDir(), "esp")
	output(t, "dd", "if="+image, "of="+file, "bs=1M", fmt.Sprintf("skip=%d", espStart/mib), fmt.Sprintf("count=%d", (espEnd-espStart)/mib), "conv=sparse", "status=none")
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// An overlay is what was written over what is below, wherever pages begin.
func TestOverlay(t *testing.T) {
	t.Parallel()
	const size = 5*pageBytes + 100
	want := noise(size)
	o := &overlay{below: bytes.NewReader(bytes.Clone(want)), size: size, pages: map[int64][]byte{}}
	for _, w := range []struct{ at, n int }{{0, 1}, {pageBytes - 1, 2}, {pageBytes, pageBytes}, {2*pageBytes + 7, 2 * pageBytes}, {size - 3, 3}} {
		data := noise(w.n)
		copy(want[w.at:], data)
		if _, err := o.WriteAt(data, int64(w.at)); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range []struct{ at, n int }{{0, size}, {1, 10}, {pageBytes - 1, 3}, {3 * pageBytes, 1}, {2*pageBytes + 6, pageBytes}, {size - 4, 4}} {
		got := make([]byte, r.n)
		if n, err := o.ReadAt(got, int64(r.at)); err != nil || n != r.n || !bytes.Equal(got, want[r.at:r.at+r.n]) {
			t.Errorf("%d bytes at %d: %d, %v", r.n, r.at, n, err)
		}
	}
	if _, err := o.WriteAt(make([]byte, 4), size-3); err == nil {
		t.Error("it can be written beyond the end")
	}
	if n, err := o.ReadAt(make([]byte, 4), size-3); n != 3 || err == nil {
		t.Errorf("beyond the end: %d, %v", n, err)
	}
}
