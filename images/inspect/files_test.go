package inspect

import (
	"archive/tar"
	"bytes"
	"fmt"
	"maps"
	"strings"
	"testing"
)

// TestReadFilesWantsThemAll: what is not there must not look like what is empty.
func TestReadFilesWantsThemAll(t *testing.T) {
	t.Parallel()
	all := texts{
		dpkgFolder + "/status": []byte("Package: a\nStatus: install ok installed\nVersion: 1\n"), "/etc/passwd": {}, "/etc/shadow": {}, "/etc/group": {}, osRelease: []byte("PRETTY_NAME=\"Debian\"\n"),
		"/usr/lib/modules/6.1/config": []byte("# CONFIG_A is not set\nCONFIG_B=y\n\nCONFIG_C=\"a=b\"\n"),
	}
	i := Image{Kernel: Kernel{Version: "6.1"}, Files: []File{{Path: "/usr/lib/modules/6.1/config", SHA256: "c"}, {Path: "/usr/lib/modules/6.2/config", SHA256: "d"}}}
	if err := i.readFiles(all); err != nil || i.System != "Debian" || len(i.Packages) != 1 {
		t.Errorf("%+v, %v", i, err)
	}
	if got := fmt.Sprint(i.Kernel.Config, " ", i.Kernel.Options); got != `c map[CONFIG_B:y CONFIG_C:"a=b"]` {
		t.Errorf("the kernel's configuration is %s", got)
	}
	for name := range all {
		if !wanted(name) {
			t.Errorf("%s is not read", name)
		}
		if strings.HasPrefix(name, modulesFolder) {
			continue
		}
		less := maps.Clone(all)
		delete(less, name)
		if err := i.readFiles(less); err == nil || !strings.Contains(err.Error(), name+" is no file, or is not there") {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

// TestReadFile: what is read is whole, bounded, and no other name of a file.
func TestReadFile(t *testing.T) {
	t.Parallel()
	read := func(name string, kind byte, size int64, kept texts) error {
		f := &File{Path: name, Type: "file", Mode: "0644", Bytes: size}
		files := map[string]*File{name: f, "/first": {Path: "/first", Type: "file", Bytes: size, SHA256: "s"}}
		return f.read(t.Context(), &tar.Header{Name: name, Typeflag: kind, Linkname: "first", Mode: 0o644, Size: size}, bytes.NewReader(make([]byte, size)), files, kept)
	}
	kept := texts{}
	if err := read("/etc/passwd", tar.TypeReg, 10, kept); err != nil || len(kept["/etc/passwd"]) != 10 {
		t.Errorf("%v, kept %v", err, kept)
	}
	for _, tc := range []struct {
		name string
		kind byte
		size int64
		want string
	}{
		{"/etc/shadow", tar.TypeReg, maxKept + 1, "/etc/shadow has 16777217 bytes"},
		{"/etc/shadow", tar.TypeLink, 10, "do not agree on what /etc/shadow is"},
		{"/etc/shadow", tar.TypeReg, maxKept, ""},
		{"/etc/other", tar.TypeReg, maxKept + 1, ""},
		{"/etc/other", tar.TypeLink, 10, ""},
		{"/usr/share/ingot/a", tar.TypeReg, maxKept, ""},
		{"/usr/share/ingot/b", tar.TypeReg, maxKept, ""},
		{"/usr/share/ingot/c", tar.TypeReg, maxKept - 10, ""},
		{"/usr/share/ingot/d", tar.TypeReg, 1, "with others of its kind 67108865"},
	} {
		err := read(tc.name, tc.kind, tc.size, kept)
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s of %d bytes: %v, want %q", tc.name, tc.size, err, tc.want)
		}
	}
}
