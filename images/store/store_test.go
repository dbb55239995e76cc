package store

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"
)

const epoch = 1794475820

// entry is a file of a layer. A name that ends with a slash is a folder's.
type entry struct {
	name    string
	content string
	link    string // of a symbolic link
	other   string // another name of this file
	mode    int64
	uid     int
	kind    byte
}

func (e entry) header() *tar.Header {
	h := &tar.Header{Name: strings.TrimSuffix(e.name, "/"), Typeflag: tar.TypeReg, Mode: e.mode, Uid: e.uid, Gid: e.uid, Size: int64(len(e.content))}
	switch {
	case e.kind != 0:
		h.Typeflag = e.kind
	case strings.HasSuffix(e.name, "/"):
		h.Typeflag = tar.TypeDir
	case e.link != "":
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
	case e.other != "":
		h.Typeflag, h.Linkname = tar.TypeLink, e.other
	}
	if h.Mode == 0 {
		h.Mode = 0o755
	}
	return h
}

func archived(t *testing.T, entries []entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := w.WriteHeader(e.header()); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func imageOf(t *testing.T, name string, layers ...[]entry) Image {
	t.Helper()
	image := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	for _, entries := range layers {
		var err error
		if image, err = mutate.AppendLayers(image, static.NewLayer(archived(t, entries), types.OCIUncompressedLayer)); err != nil {
			t.Fatal(err)
		}
	}
	image, err := mutate.Config(image, v1.Config{Labels: map[string]string{"name": name}})
	if err != nil {
		t.Fatal(err)
	}
	return Image{[]string{name}, image}
}

// files are those of a store's one image, a line each.
func files(t *testing.T, layers ...[]entry) (string, error) {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, "tree/store", []Image{imageOf(t, "localhost/x:1", layers...)}, epoch); err != nil {
		return "", err
	}
	_, files := unpacked(t, &b)
	return files, nil
}

// unpacked reads a store: what Podman reads, by file name, and what containers
// see, sorted.
func unpacked(t *testing.T, store io.Reader) (map[string]string, string) {
	t.Helper()
	r := tar.NewReader(store)
	own := map[string]string{}
	contents := map[string]string{}
	var lines []string
	linked := false
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			slices.Sort(lines)
			return own, strings.Join(lines, "\n")
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		name, inside := h.Name, false
		if parts := strings.SplitN(h.Name, "/", 5); len(parts) == 5 && parts[2] == "overlay" && strings.HasPrefix(parts[4], "diff") {
			name, inside = strings.TrimPrefix(strings.TrimPrefix(parts[4], "diff"), "/"), true
		}
		if !inside {
			own[name] = string(b) + h.Linkname
			continue
		}
		if name == "" {
			continue
		}
		if linked && h.Typeflag != tar.TypeSymlink {
			t.Errorf("%s comes after a link, which it may go through", h.Name)
		}
		linked = h.Typeflag == tar.TypeSymlink
		if h.Typeflag == tar.TypeLink {
			target := strings.SplitN(h.Linkname, "/diff/", 2)[1]
			lines = append(lines, fmt.Sprintf("%s %s", name, contents[target]))
			continue
		}
		contents[name] = fmt.Sprintf("%c %o %d %s%s", h.Typeflag, h.Mode, h.Uid, b, h.Linkname)
		lines = append(lines, fmt.Sprintf("%s %s", name, contents[name]))
	}
}

func TestLayers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		layers [][]entry
		want   string
	}{
		{"a file that is replaced", [][]entry{{{name: "a", content: "old"}}, {{name: "a", content: "new"}}}, "a 0 755 0 new"},
		{"a folder keeps what is below", [][]entry{{{name: "d/"}, {name: "d/a"}}, {{name: "d/", mode: 0o700, uid: 5}}}, "d 5 700 5 \nd/a 0 755 0 "},
		{"a file where a folder was", [][]entry{{{name: "d/"}, {name: "d/a"}}, {{name: "d"}}}, "d 0 755 0 "},
		{"a folder where a link was", [][]entry{{{name: "usr/"}, {name: "bin", link: "usr"}}, {{name: "bin/x"}}}, "bin 5 755 0 \nbin/x 0 755 0 \nusr 5 755 0 "},
		{"a whiteout", [][]entry{{{name: "d/"}, {name: "d/a"}, {name: "d/b"}}, {{name: "d/.wh.a"}}}, "d 5 755 0 \nd/b 0 755 0 "},
		{"a whiteout of a folder", [][]entry{{{name: "d/"}, {name: "d/a"}}, {{name: ".wh.d"}}}, ""},
		{"an opaque folder", [][]entry{{{name: "d/"}, {name: "d/a"}, {name: "d/e/"}, {name: "d/e/f"}}, {{name: "d/"}, {name: "d/b"}, {name: "d/.wh..wh..opq"}}}, "d 5 755 0 \nd/b 0 755 0 "},
		{"an opaque folder whose mark comes last", [][]entry{{{name: "d/"}, {name: "d/e/"}, {name: "d/e/f"}}, {{name: "d/e/b"}, {name: "d/.wh..wh..opq"}}}, "d 5 755 0 \nd/e 5 755 0 \nd/e/b 0 755 0 "},
		{"a mark after the folder's own files", [][]entry{{{name: "a/"}, {name: "a/b/"}, {name: "a/b/old"}}, {{name: "a/"}, {name: "a/b/"}, {name: "a/b/new"}, {name: "a/.wh..wh..opq"}}}, "a 5 755 0 \na/b 5 755 0 \na/b/new 0 755 0 "},
		{"a name of a name", [][]entry{{{name: "c", content: "x"}, {name: "b", other: "c"}, {name: "a", other: "b"}}}, "a 0 755 0 x\nb 0 755 0 x\nc 0 755 0 x"},
		{"names of one file", [][]entry{{{name: "b", content: "x", mode: 0o600}, {name: "a", other: "b"}}}, "a 0 600 0 x\nb 0 600 0 x"},
		{"the first name is hidden", [][]entry{{{name: "a", content: "x"}, {name: "b", other: "a"}}, {{name: ".wh.a"}}}, "b 0 755 0 x"},
		{"the first name is another file", [][]entry{{{name: "a", content: "x"}, {name: "b", other: "./a"}}, {{name: "a", content: "y"}}}, "a 0 755 0 y\nb 0 755 0 x"},
		{"set-ID bits", [][]entry{{{name: "su", mode: 0o6755}, {name: "tmp/", mode: 0o1777}}}, "su 0 755 0 \ntmp 5 1777 0 "},
		{"devices", [][]entry{{{name: "null", kind: tar.TypeChar}, {name: "pipe", kind: tar.TypeFifo}}}, ""},
		{"names with a dot and a slash before them", [][]entry{{{name: "./a"}, {name: "/b"}}}, "a 0 755 0 \nb 0 755 0 "},
	} {
		if got, err := files(t, tt.layers...); err != nil || got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s\n(%v)", tt.name, got, tt.want, err)
		}
	}
}

// GNU tar writes a file with holes as an entry of its own kind.
func TestSparse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "holes"))
	if err == nil {
		_, err = f.WriteAt([]byte("end"), 1<<20)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	archive, err := exec.CommandContext(t.Context(), "tar", "--create", "--sparse", "--format=gnu", "--owner=0", "--group=0", "--mode=0644", "--directory", dir, "holes").Output()
	if err != nil {
		t.Fatal(err)
	}
	if len(archive) > 1<<19 {
		t.Skipf("tar has made %d bytes of it: this file system has no holes", len(archive))
	}
	image, err := mutate.AppendLayers(empty.Image, static.NewLayer(archive, types.OCIUncompressedLayer))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := Write(&b, "tree/store", []Image{{[]string{"localhost/x:1"}, image}}, epoch); err != nil {
		t.Fatal(err)
	}
	if _, files := unpacked(t, &b); !strings.HasPrefix(files, "holes 0 644 0 \x00") || !strings.HasSuffix(files, "\x00end") || len(files) < 1<<20 {
		t.Errorf("%d bytes: %.40q", len(files), files)
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		entry entry
		want  string
	}{
		{entry{name: "../a"}, "leads out of the image"},
		{entry{name: "a/../../b"}, "leads out of the image"},
		{entry{name: "a", uid: 65536}, "it belongs to 65536:65536"},
		{entry{name: "./", uid: 70000}, "it belongs to 70000:70000"},
		{entry{name: strings.Repeat("a/", 3000) + "a"}, "more than 4095 bytes"},
		{entry{name: "a", other: "none"}, `another name of "none"`},
		{entry{name: "a", other: "../../etc/shadow"}, "which is no file"},
	} {
		if got, err := files(t, []entry{tt.entry}); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "localhost/x:1") {
			t.Errorf("%+v: %q, %v; want %q", tt.entry, got, err, tt.want)
		}
	}
}

// What Podman reads; it is compared with Podman's own when an image is booted.
func TestStore(t *testing.T) {
	t.Parallel()
	one := imageOf(t, "localhost/one:1", []entry{{name: "a", uid: 7}})
	again := Image{[]string{"localhost/again:1"}, one.Image}
	two := imageOf(t, "localhost/two:1", []entry{{name: "b"}})
	var first, second bytes.Buffer
	if err := Write(&first, "tree/store", []Image{one, two, again}, epoch); err != nil {
		t.Fatal(err)
	}
	if err := Write(&second, "tree/store", []Image{again, two, one}, epoch); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the order of the images changes the store")
	}
	own, _ := unpacked(t, &first)
	var images []imageRecord
	var layers []layerRecord
	if err := errors.Join(json.Unmarshal([]byte(own["tree/store/overlay-images/images.json"]), &images), json.Unmarshal([]byte(own["tree/store/overlay-layers/layers.json"]), &layers)); err != nil {
		t.Fatal(err)
	}
	if len(images) != 2 || len(layers) != 2 || !slices.Equal(images[0].Names, []string{"localhost/again:1", "localhost/one:1"}) {
		t.Fatalf("images %+v, layers %+v", images, layers)
	}
	if !slices.Equal(layers[0].UIDs, []int{0, 7}) {
		t.Errorf("accounts %v", layers[0].UIDs)
	}
	for i, image := range []Image{one, two} {
		manifest, err := image.RawManifest()
		if err != nil {
			t.Fatal(err)
		}
		digest, err := image.Digest()
		if err != nil {
			t.Fatal(err)
		}
		r := images[i]
		if own[path.Join("tree/store/overlay-images", r.ID, "manifest")] != string(manifest) || r.Digest != digest.String() || r.BigDataSizes["manifest"] != len(manifest) {
			t.Errorf("the image %+v has another manifest", r)
		}
		short := own[path.Join("tree/store/overlay", r.Layer, "link")]
		if own["tree/store/overlay/l/"+short] != path.Join("..", r.Layer, "diff") {
			t.Errorf("the short name %q leads nowhere", short)
		}
	}
}

// randomLayer is a folder of files, with some of what is below hidden.
func randomLayer(r *rand.Rand) []entry {
	var list []entry
	var fill func(dir string, depth int)
	fill = func(dir string, depth int) {
		var regular []string
		for _, base := range []string{"a", "b", "c"} {
			name := dir + base
			switch r.IntN(8) {
			case 0, 1:
				list = append(list, entry{name: name, content: fmt.Sprint(r.IntN(100)), mode: 0o600 + r.Int64N(2)*0o55, uid: r.IntN(3)})
				regular = append(regular, name)
			case 2:
				list = append(list, entry{name: name, link: []string{"a", "../b", "/c"}[r.IntN(3)]})
			case 3:
				list = append(list, entry{name: dir + whiteout + base, mode: 0o600})
			case 4:
				if len(regular) > 0 {
					list = append(list, entry{name: name, other: regular[0]})
				}
			case 5, 6:
				list = append(list, entry{name: name + "/", uid: r.IntN(3)})
				if r.IntN(4) == 0 {
					list = append(list, entry{name: name + "/" + opaque, mode: 0o600})
				}
				if depth < 3 {
					fill(name+"/", depth+1)
				}
			}
		}
	}
	fill("", 1)
	return list
}

// The kernel's overlayfs is asked what a container sees of random layers, each of
// them unpacked as Podman unpacks it.
func TestOverlayfsAgrees(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount an overlay and mark folders as opaque")
	}
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 0))
		layers := make([][]entry, 1+r.IntN(4))
		for i := range layers {
			layers[i] = randomLayer(r)
		}
		got, err := files(t, layers...)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if want := overlaid(t, layers); got != want {
			t.Fatalf("seed %d, layers %+v:\n%s\nand overlayfs has\n%s", seed, layers, got, want)
		}
	}
}

// overlaid are the files of layers in an overlay, as [unpacked] has them.
func overlaid(t *testing.T, layers [][]entry) string {
	t.Helper()
	dir := t.TempDir()
	lower := []string{filepath.Join(dir, "empty")}
	for i, entries := range layers {
		folder := filepath.Join(dir, fmt.Sprint(i))
		lower = slices.Insert(lower, 0, folder)
		for _, e := range entries {
			unpackEntry(t, folder, e)
		}
	}
	for _, d := range append(lower, filepath.Join(dir, "merged")) {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// A whiteout of nothing is listed and cannot be read, of which tar warns with 1.
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "--propagation=private", "sh", "-euc",
		`mount -t overlay overlay -o "lowerdir=$1" "$2"; tar --create --numeric-owner --sort=name --hard-dereference --warning=none --directory "$2" . || [ $? = 1 ]`,
		"sh", strings.Join(lower, ":"), filepath.Join(dir, "merged"))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	archive := tar.NewReader(bytes.NewReader(out))
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			slices.Sort(lines)
			return strings.Join(lines, "\n")
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		if name := path.Clean(h.Name); name != "." {
			lines = append(lines, fmt.Sprintf("%s %c %o %d %s%s", name, h.Typeflag, h.Mode, h.Uid, content, h.Linkname))
		}
	}
}

func unpackEntry(t *testing.T, folder string, e entry) {
	t.Helper()
	h := e.header()
	dir, base := filepath.Join(folder, path.Dir(h.Name)), path.Base(h.Name)
	file := filepath.Join(dir, base)
	err := os.MkdirAll(dir, 0o755)
	hidden, isWhiteout := strings.CutPrefix(base, whiteout)
	switch {
	case err != nil:
	case base == opaque:
		err = unix.Setxattr(dir, "trusted.overlay.opaque", []byte("y"), 0)
	case isWhiteout:
		err = unix.Mknod(filepath.Join(dir, hidden), unix.S_IFCHR, 0)
	case h.Typeflag == tar.TypeDir:
		err = os.MkdirAll(file, 0o755)
	case h.Typeflag == tar.TypeSymlink:
		err = os.Symlink(h.Linkname, file)
	case h.Typeflag == tar.TypeLink:
		err = os.Link(filepath.Join(folder, h.Linkname), file)
	default:
		err = os.WriteFile(file, []byte(e.content), 0o600)
	}
	if own := h.Typeflag == tar.TypeReg || h.Typeflag == tar.TypeDir; err == nil && own && !isWhiteout {
		err = errors.Join(os.Chown(file, h.Uid, h.Gid), os.Chmod(file, os.FileMode(h.Mode)))
	}
	if err != nil {
		t.Fatal(err)
	}
}
