package inspect

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// sample is an image with a little of everything.
func sample() Image {
	file := func(path, sha, pkg string) File {
		return File{Path: path, Type: "file", Mode: "0644", Bytes: 10, Stored: 10, SHA256: sha, Package: pkg}
	}
	return Image{
		Path: "old.raw", SHA256: strings.Repeat("a", 64), Bytes: 3 << 30, DiskBytes: 100 << 20, RootBytes: 90 << 20, System: "Debian",
		Kernel:   Kernel{Version: "6.12.1", SHA256: "k", Initrd: "i", Arguments: []string{"ro", "console=tty0", "console=ttyS0", "panic=10"}, Config: "c", Options: map[string]string{"CONFIG_A": "y", "CONFIG_B": "m", "CONFIG_C": "y"}},
		Packages: []Package{{Name: "curl", Version: "8.1"}, {Name: "libssl3", Version: "3.5.1"}},
		Ports:    []Port{{"tcp", "443", "internet", "web"}},
		Sockets:  []Socket{{"ssh.socket", []string{"stream 22"}}},
		Units:    []Unit{{Name: "a.service", State: "enabled", By: []string{"multi-user.target"}}},
		Users:    []User{{"root", 0, 0, "/root", "/bin/bash", "none"}},
		Groups:   []Group{{"root", 0, nil}},
		ESP:      []File{file("/a/slot.cfg", "s", ""), file("/grub/grub.cfg", "g", "")},
		Files: []File{
			{Path: "/", Type: "directory", Mode: "0755"}, file("/etc/app.conf", "1", ""), file("/etc/gone", "2", ""),
			file("/usr/bin/curl", "3", "curl"), file("/usr/lib/libcrypto.so.3", "4", "libssl3"), file("/usr/lib/libssl.so.3", "5", "libssl3"),
		},
	}
}

// changed is sample after an update.
func changed() Image {
	i := sample()
	i.Path, i.SHA256, i.RootBytes = "new.raw", strings.Repeat("b", 64), 91<<20
	i.Kernel.Version, i.Kernel.SHA256, i.Kernel.Config = "6.12.2", "l", "d"
	i.Kernel.Options = map[string]string{"CONFIG_A": "y", "CONFIG_B": "y", "CONFIG_D": "32"}
	i.Kernel.Arguments = []string{"ro", "console=tty0", "panic=20", "quiet"}
	i.Packages = []Package{{Name: "jq", Version: "1.7"}, {Name: "libssl3", Version: "3.5.2"}}
	i.Ports = append(i.Ports, Port{"tcp", "22", "wireguard", "SSH"})
	i.Sockets = []Socket{{"ssh.socket", []string{"stream 2222"}}}
	i.Units = []Unit{{Name: "a.service", State: "masked"}}
	i.Users = []User{{"root", 0, 0, "/root", "/bin/bash", "set"}}
	i.Groups = []Group{{"root", 0, []string{"bob"}}}
	i.ESP = []File{i.ESP[0], i.ESP[1]}
	i.ESP[0].SHA256, i.ESP[1].SHA256 = "t", "h"
	f := i.Files
	conf, ssl, crypto := f[1], f[5], f[4]
	conf.Mode, conf.UID = "0600", 7
	ssl.SHA256, ssl.Bytes, crypto.SHA256 = "55", 12, "44"
	i.Files = []File{f[0], conf, {Path: "/etc/new", Type: "link", Target: "/\x1b[31m"}, crypto, ssl}
	return i
}

func TestCompare(t *testing.T) {
	t.Parallel()
	same := Compare(sample(), sample())
	if !same.Same || !same.Alike() {
		t.Errorf("an image differs from itself: %+v", same)
	}
	sparser := sample()
	sparser.DiskBytes = 1
	if same := Compare(sample(), sparser); !same.Alike() {
		t.Errorf("how a file is kept makes another image of it: %+v", same)
	}
	d := Compare(sample(), changed())
	if d.Same || d.Alike() {
		t.Error("the images are the same")
	}
	got := fmt.Sprint(d.Facts, d.Arguments, d.Config, d.Packages, d.Ports, d.Sockets, d.Units, d.Users)
	want := "[{ESP /grub/grub.cfg g h} {kernel 6.12.1 6.12.2} {kernel config sha256 c d} {kernel sha256 k l} {root, compressed 90.0 MiB 91.0 MiB}]" +
		" [{console tty0; ttyS0 tty0} {panic 10 20} {quiet  set}]" +
		" [{CONFIG_B m y} {CONFIG_C y } {CONFIG_D  32}]" +
		" [{curl 8.1 } {jq  1.7} {libssl3 3.5.1 3.5.2}]" +
		" [{tcp 22 from wireguard  SSH}]" +
		" [{ssh.socket stream 22 stream 2222}]" +
		" [{a.service enabled by multi-user.target masked}]" +
		" [{group root 0 0, members bob} {user root 0:0, home /root, shell /bin/bash, password none 0:0, home /root, shell /bin/bash, password set}]"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var files []string
	for _, f := range d.Files {
		files = append(files, fileSign(f)+f.Path+" "+strings.Join(f.What, ", "))
	}
	wantFiles := "~/etc/app.conf mode 0644 → 0600, owner 0:0 → 7:0|-/etc/gone |+/etc/new |-/usr/bin/curl |" +
		"~/usr/lib/libcrypto.so.3 content, 10 → 10 bytes|~/usr/lib/libssl.so.3 content, 10 → 12 bytes"
	if got := strings.Join(files, "|"); got != wantFiles {
		t.Errorf("got  %s\nwant %s", got, wantFiles)
	}
}

// TestCompareSeesDoubles: the second of a name counts, too.
func TestCompareSeesDoubles(t *testing.T) {
	t.Parallel()
	a, b := sample(), sample()
	b.SHA256 = strings.Repeat("b", 64)
	b.Kernel.Config, b.Kernel.Options = "", nil
	b.Kernel.Arguments = append(b.Kernel.Arguments, "panic=0")
	b.Ports = append([]Port{{"tcp", "443", "internet", "another"}}, b.Ports...)
	b.Users = append(b.Users, User{"root", 0, 0, "/", "/bin/sh", "set"})
	d := Compare(a, b)
	got := fmt.Sprint(d.Facts, d.Arguments, d.Config, d.Ports, d.Users)
	want := "[{kernel config sha256 c }] [{panic 10 10; 0}] [] [{tcp 443 from internet web another; web}]" +
		" [{user root 0:0, home /root, shell /bin/bash, password none 0:0, home /root, shell /bin/bash, password none; 0:0, home /, shell /bin/sh, password set}]"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestDiffText compares with files; INGOT_UPDATE=1 writes them anew.
func TestDiffText(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		b   Image
		all bool
	}{"diff.txt": {changed(), false}, "diff-files.txt": {changed(), true}, "same.txt": {sample(), false}} {
		var b strings.Builder
		if err := Compare(sample(), test.b).Text(&b, test.all); err != nil {
			t.Fatal(err)
		}
		golden(t, name, b.String())
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if os.Getenv("INGOT_UPDATE") != "" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := string(fixture(t, name)); got != want {
		t.Errorf("%s is\n%s\nand was\n%s", name, got, want)
	}
}

func TestFolds(t *testing.T) {
	t.Parallel()
	a, b := sample(), sample()
	for i := range foldAbove + 1 {
		b.Files = append(b.Files, File{Path: fmt.Sprintf("/usr/share/x/%03d", i), Type: "file"})
	}
	folds, loose := Compare(a, b).Folds()
	if len(loose) != 0 || len(folds) != 1 || folds[0].Name != "/usr/share/x" || folds[0].Added != foldAbove+1 {
		t.Errorf("%+v, %d loose", folds, len(loose))
	}
	b.Files = b.Files[:len(b.Files)-1]
	if folds, loose = Compare(a, b).Folds(); len(loose) != foldAbove || len(folds) != 0 {
		t.Errorf("%+v, %d loose", folds, len(loose))
	}
}

func TestHTML(t *testing.T) {
	t.Parallel()
	b := changed()
	b.Units[0].By = []string{"<script>alert(1)</script>"}
	b.Broken = "block 3 of the root"
	var out bytes.Buffer
	if err := Compare(sample(), b).HTML(&out); err != nil {
		t.Fatal(err)
	}
	page := out.String()
	for _, lacks := range []string{"<script", "http://", "https://", "\x1b", "<img", "ZgotmplZ", "<no value>"} {
		if strings.Contains(page, lacks) {
			t.Errorf("the page has %q", lacks)
		}
	}
	for _, want := range []string{"What changes", "libssl3", "<del>3.5.1</del>", "<ins>3.5.2</ins>", "&lt;script&gt;", "Not what was sealed: block 3"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	style := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindStringSubmatch(page)
	digest := sha256.Sum256([]byte(style[1]))
	if policy := "style-src 'sha256-" + base64.StdEncoding.EncodeToString(digest[:]) + "'"; !strings.Contains(strings.ReplaceAll(page, "&#39;", "'"), strings.ReplaceAll(policy, "+", "&#43;")) {
		t.Errorf("the policy does not allow the style: %s", policy)
	}
	var same bytes.Buffer
	if err := Compare(sample(), sample()).HTML(&same); err != nil || !strings.Contains(same.String(), "the same, bit for bit") {
		t.Errorf("the page of equal images does not say so (%v)", err)
	}
}
