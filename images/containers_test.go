package images

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ingot/images/store"
	"ingot/layers"
)

// large has runs of zeros, which packed stages leave out.
var large = strings.Repeat("x", 1<<20) + strings.Repeat("\x00", 1<<17) + strings.Repeat("y", 1<<20) + strings.Repeat("\x00", 1<<16)

// packageTree is a tree as packages leave it.
func packageTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"usr/lib/large.so": large,
		"usr/bin/app":      "program", "usr/lib64/ld-linux-x86-64.so.2": "linker", "etc/app.conf": "x",
		"usr/share/ca-certificates/mozilla/B.crt": "second\n", "usr/share/ca-certificates/mozilla/A.crt": "first\n",
	} {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "usr/bin/app"), os.ModeSetuid|0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// An image of packages has what a program expects around it, and is the same
// wherever and whenever it is made.
func TestPackageImage(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("an ordinary user packs trees in a namespace, with the program ingot")
	}
	const epoch = 1794475820
	b := &builder{opts: Options{Cache: newCache(t)}}
	var digests []string
	var content bytes.Buffer
	for i := range 2 {
		tree := packageTree(t)
		if late := time.Now().Add(time.Duration(i) * time.Hour); i > 0 {
			if err := os.Chtimes(filepath.Join(tree, "etc/app.conf"), late, late); err != nil {
				t.Fatal(err)
			}
		}
		image, err := b.packageImage(t.Context(), tree, filepath.Join(t.TempDir(), "layer.tar"), epoch)
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, digestIs(t, image))
		config, err := image.ConfigFile()
		if err != nil || config.Config.User != layers.ImageUser || config.OS != "linux" || config.Architecture != "amd64" {
			t.Errorf("config %+v, %v", config, err)
		}
		content.Reset()
		if err := store.Write(&content, "tree/store", []store.Image{{Names: []string{"localhost/app:latest"}, Image: image}}, epoch); err != nil {
			t.Fatal(err)
		}
	}
	if digests[0] != digests[1] {
		t.Errorf("made twice: %v", digests)
	}
	got := map[string]string{}
	for r := tar.NewReader(&content); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		text, errRead := io.ReadAll(r)
		if err := errors.Join(err, errRead); err != nil {
			t.Fatal(err)
		}
		if _, name, inside := strings.Cut(h.Name, "/diff/"); inside {
			got[name] = h.FileInfo().Mode().String() + " " + string(text) + h.Linkname
		}
	}
	for name, want := range map[string]string{
		"lib64": "Lrwxrwxrwx usr/lib64", "bin": "Lrwxrwxrwx usr/bin", "tmp": "dtrwxrwxrwx ", "usr/bin/app": "-rwxr-xr-x program",
		"etc/ssl/certs/ca-certificates.crt": "-rw-r--r-- first\nsecond\n",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	if got["usr/lib/large.so"] != "-rw-r--r-- "+large {
		t.Errorf("a file of %d bytes has %d, or others", len(large), len(got["usr/lib/large.so"])-len("-rw-r--r-- "))
	}
	if !strings.Contains(got["etc/passwd"], "\napp:*:65532:65532:") {
		t.Errorf("accounts %q", got["etc/passwd"])
	}
}

// A container's tree has what its programs need, and not what scripts do, unless
// there is no other way.
func TestContainerClosure(t *testing.T) {
	t.Parallel()
	archive, _, _ := newMirror(t)
	archive.add("debian/dists/trixie",
		stanza("app", "1-1", "Depends: libapp, adduser, dpkg (>= 1.20)\n"), stanza("libapp", "1-1", ""), stanza("adduser", "3-1", ""), stanza("dpkg", "1.22-1", ""),
		stanza("script", "1-1", "Depends: perl\n"), stanza("perl", "5-1", "Depends: perl-base (= 5-1)\n"), stanza("perl-base", "5-1", ""))
	archive.publish(t, "debian/dists/trixie", released, "")
	a := apt{dir: t.TempDir(), mirror: archive.url(), suite: "trixie", keyring: archive.keyring}
	if err := a.update(t.Context()); err != nil {
		t.Fatal(err)
	}
	for names, want := range map[string]string{"app": "app libapp", "app adduser": "adduser app libapp", "script": "perl perl-base script"} {
		list, err := a.resolve(t.Context(), strings.Fields(names), treeOf(layers.ContainerImage{Name: "localhost/x"}))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range list {
			got = append(got, p.Name)
		}
		slices.Sort(got)
		if strings.Join(got, " ") != want {
			t.Errorf("for %s: %v, want %s", names, got, want)
		}
	}
	if _, err := a.resolve(t.Context(), []string{"appp"}, treeOf(layers.ContainerImage{Name: "localhost/x"})); err == nil || !strings.Contains(err.Error(), "has no package appp") {
		t.Errorf("a misspelt name: %v", err)
	}
}

// What apt is told to be there already is not what was asked for.
func TestPretended(t *testing.T) {
	t.Parallel()
	status := pretended([]string{"app", "perl-base"})
	if !strings.Contains(status, "Package: dpkg\n") || strings.Contains(status, "Package: perl-base\n") {
		t.Errorf("installed are\n%s", status)
	}
}

func TestTreeOf(t *testing.T) {
	t.Parallel()
	seen := map[Tree]string{}
	for _, name := range []string{"docker.io/library/nginx:1.27", "docker.io/library-nginx:1.27", "docker.io/library/nginx:1.28", "localhost:5000/x_y/nginx@sha256:" + digits("a")} {
		tree := treeOf(layers.ContainerImage{Name: name})
		if !strings.HasPrefix(string(tree), "container-") || strings.ContainsAny(string(tree), "/:@") || !tree.extracted() {
			t.Errorf("%s has the tree %s", name, tree)
		}
		if other := seen[tree]; other != "" {
			t.Errorf("%s and %s have the tree %s", name, other, tree)
		}
		seen[tree] = name
	}
	if TreeTools.ofContainer() {
		t.Error("the tools are a container's")
	}
}
