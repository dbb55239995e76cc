package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const patterns = `/etc/hostname
/etc/machine-id
/etc/ssh/authorized_keys.d/*
/etc/ingot/secrets/preshared-key-*
`

func testAllowlist(t *testing.T) allowlist {
	t.Helper()
	a, err := parseAllowlist(strings.NewReader(patterns))
	must(t, err)
	return a
}

func TestParseAllowlist(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       allowlist
	}{
		{"empty", "", nil},
		{"one a line", "/etc/a\n/etc/b\n", allowlist{"/etc/a", "/etc/b"}},
		{"no newline at the end", "/etc/a\n/etc/b", allowlist{"/etc/a", "/etc/b"}},
		{"empty lines and blanks", "\n  /etc/a \n\n\t\n", allowlist{"/etc/a"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := parseAllowlist(strings.NewReader(tc.text))
			if err != nil || !slices.Equal(got, tc.want) {
				t.Errorf("got %q, %v, want %q", got, err, tc.want)
			}
		})
	}
}

func TestReadAllowlistMissing(t *testing.T) {
	if _, err := readAllowlist(filepath.Join(t.TempDir(), "identity.list")); err == nil {
		t.Error("a root without the list must stop the boot, not allow or refuse everything")
	}
}

func TestAllowlistPatterns(t *testing.T) {
	a := testAllowlist(t)
	for _, tc := range []struct {
		path      string
		file, dir bool
	}{
		{"/etc/hostname", true, false},
		{"/etc/ssh/authorized_keys.d/admin", true, false},
		{"/etc/ingot/secrets/preshared-key-laptop", true, false},
		{"/etc", false, true},
		{"/etc/ssh", false, true},
		{"/etc/ssh/authorized_keys.d", false, true},
		{"/etc/ingot/secrets", false, true},
		{"/etc/hostname2", false, false},
		{"/etc/Hostname", false, false},
		{"/etc/hostname\n", false, false},
		{"/etc/ssh/sshd_config", false, false},
		{"/etc/ssh/authorized_keys.d/sub/admin", false, false},
		{"/etc/ingot/secrets/private-key", false, false},
		{"/etc/systemd", false, false},
		{"/etc/systemd/system/evil.service", false, false},
		{"/etc/ssh ", false, false},
		{"/etc/*", false, false},
	} {
		if got := a.file(tc.path); got != tc.file {
			t.Errorf("file %q: %v, want %v", tc.path, got, tc.file)
		}
		if got := a.dir(tc.path); got != tc.dir {
			t.Errorf("dir %q: %v, want %v", tc.path, got, tc.dir)
		}
	}
}

func TestMalformedPatternAllowsNothing(t *testing.T) {
	a := allowlist{"/etc/[", "/etc/[/x"}
	for _, p := range []string{"/etc/[", "/etc/a", "/etc/[/x"} {
		if a.file(p) || a.dir(p) {
			t.Errorf("%s is allowed by a pattern that path.Match refuses", p)
		}
	}
}

// plant is one thing somebody left in an identity, and whether it may stay.
type plant struct {
	name    string
	foreign string // what is reported; empty when it may stay
	make    func(t *testing.T, etc string)
}

func plantFile(p string) func(*testing.T, string) {
	return func(t *testing.T, etc string) { write(t, filepath.Join(etc, p), "planted\n") }
}

func plantDir(p string) func(*testing.T, string) {
	return func(t *testing.T, etc string) { must(t, os.MkdirAll(filepath.Join(etc, p), 0o755)) }
}

func plantLink(target, p string) func(*testing.T, string) {
	return func(t *testing.T, etc string) {
		file := filepath.Join(etc, p)
		must(t, os.MkdirAll(filepath.Dir(file), 0o755))
		must(t, os.Symlink(target, file))
	}
}

func plantNode(mode uint32, p string) func(*testing.T, string) {
	return func(t *testing.T, etc string) {
		if mode&unix.S_IFCHR != 0 && os.Geteuid() != 0 {
			t.Skip("only root can make a device")
		}
		must(t, unix.Mknod(filepath.Join(etc, p), mode|0o644, int(unix.Mkdev(1, 3))))
	}
}

var plants = []plant{
	{"allowed file", "", plantFile("hostname")},
	{"allowed in a folder", "", plantFile("ssh/authorized_keys.d/admin")},
	{"allowed empty folder", "", plantDir("ssh/authorized_keys.d")},
	{"setuid on an allowed file", "", func(t *testing.T, etc string) {
		plantFile("hostname")(t, etc)
		must(t, os.Chmod(filepath.Join(etc, "hostname"), 0o4755))
	}},
	{"unit", "/etc/systemd", plantFile("systemd/system/evil.service")},
	{"sshd drop-in", "/etc/ssh/sshd_config.d", plantFile("ssh/sshd_config.d/00-evil.conf")},
	{"preload", "/etc/ld.so.preload", plantFile("ld.so.preload")},
	{"file where a folder belongs", "/etc/ssh", plantFile("ssh")},
	{"folder where a file belongs", "/etc/hostname", plantFile("hostname/x")},
	{"folder below the wildcard", "/etc/ssh/authorized_keys.d/deep", plantFile("ssh/authorized_keys.d/deep/admin")},
	{"link with an allowed name", "/etc/hostname", plantLink("/etc/shadow", "hostname")},
	{"dangling link with an allowed name", "/etc/ssh/authorized_keys.d/admin", plantLink("nowhere", "ssh/authorized_keys.d/admin")},
	{"link where a folder belongs", "/etc/ssh", plantLink("/var/evil", "ssh")},
	{"fifo with an allowed name", "/etc/hostname", plantNode(unix.S_IFIFO, "hostname")},
	{"socket with an allowed name", "/etc/hostname", plantNode(unix.S_IFSOCK, "hostname")},
	{"device with an allowed name", "/etc/hostname", plantNode(unix.S_IFCHR, "hostname")},
	{"hidden file", "/etc/.hidden", plantFile(".hidden")},
	{"name of three dots", "/etc/...", plantFile("...")},
	{"newline in the name", "/etc/hostname\n", plantFile("hostname\n")},
	{"name of blanks", "/etc/ ", plantFile(" ")},
	{"name that is not UTF-8", "/etc/\xff", plantFile("\xff")},
	{"name that is a pattern", "/etc/*", plantFile("*")},
	{"backslash in the name", `/etc/\hostname`, plantFile(`\hostname`)},
}

func TestForeign(t *testing.T) {
	for _, p := range plants {
		t.Run(p.name, func(t *testing.T) {
			etc := t.TempDir()
			p.make(t, etc)
			got, err := testAllowlist(t).foreign(etc)
			must(t, err)
			if want := reported(p); !slices.Equal(got, want) {
				t.Errorf("found %q, want %q", got, want)
			}
		})
	}
}

func reported(p plant) []string {
	if p.foreign == "" {
		return nil
	}
	return []string{p.foreign}
}

// Everything at once: what may stay stays as it is, all else goes and is
// reported, and a second look finds nothing.
func TestSweep(t *testing.T) {
	for _, p := range plants {
		t.Run(p.name, func(t *testing.T) {
			etc, a := t.TempDir(), testAllowlist(t)
			plantFile("machine-id")(t, etc)
			p.make(t, etc)
			removed, err := a.sweep(etc)
			must(t, err)
			if want := reported(p); !slices.Equal(removed, want) {
				t.Errorf("removed %q, want %q", removed, want)
			}
			if p.foreign != "" && exists(filepath.Join(etc, strings.TrimPrefix(p.foreign, "/etc/"))) {
				t.Errorf("%q is still there", p.foreign)
			}
			if got := read(t, filepath.Join(etc, "machine-id")); got != "planted\n" {
				t.Errorf("the sweep changed an allowed file to %q", got)
			}
			if again, err := a.foreign(etc); err != nil || len(again) > 0 {
				t.Errorf("after the sweep: %q, %v", again, err)
			}
		})
	}
}

func TestSweepDoesNotFollowLinks(t *testing.T) {
	etc, outside := t.TempDir(), t.TempDir()
	write(t, filepath.Join(outside, "kept"), "kept\n")
	must(t, os.Symlink(outside, filepath.Join(etc, "systemd")))
	if _, err := testAllowlist(t).sweep(etc); err != nil {
		t.Fatal(err)
	}
	if !exists(filepath.Join(outside, "kept")) {
		t.Error("the sweep removed what a link points to")
	}
}

func TestForeignOfMissingFolder(t *testing.T) {
	if _, err := testAllowlist(t).foreign(filepath.Join(t.TempDir(), "etc")); err == nil {
		t.Error("no error for a folder that is not there")
	}
}
