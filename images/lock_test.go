package images

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
)

// digits is a stand-in for a SHA-256 in hex.
func digits(c string) string { return strings.Repeat(c, 64) }

func newPackage(name string) Package {
	return Package{Name: name, Version: "1:2.3~rc1-4+b1", Arch: "amd64", SHA256: digits("a"), Size: 42, Path: "debian/pool/main/x/" + name + "_2.3.deb", Source: name, SourceVersion: "1:2.3~rc1-4"}
}

func newLock() Lock {
	return Lock{
		Version: lockVersion, Suite: "trixie", Mirror: DefaultMirror, Snapshot: "20261125T033000Z", Epoch: 1794475820, Ignition: digits("b"),
		Requested: map[Tree][]string{TreeImage: {"bash", "zsh"}, TreeTools: {"seabios"}},
		Accounts:  Accounts{Passwd: []string{"root:x:0:0:root:/root:/bin/bash"}, Group: []string{"root:x:0:"}},
		Trees: map[Tree][]Package{
			TreeImage: {newPackage("bash"), newPackage("zsh")},
			TreeTools: {newPackage("seabios")},
		},
	}
}

func TestLockRoundTrip(t *testing.T) {
	t.Parallel()
	// What a YAML reader likes to take for something other than text.
	for _, version := range []string{
		"1:2.3", "1.10", "0x1F", "1e3", "null", "~", "true", "no", "2025-01-01", "12:30:45", "1_000", "0o17", "+1", ".5",
		"2.41.5-0+deb13u1", "20250419", "9~", "- a", "a: b", "a #b", "'", `"`, `\`, "*a", "&a", "!a", "%a", "@a", "`", "é", "a, b", "{a", "a}", "[a]", "a]",
	} {
		lock := newLock()
		lock.Trees[TreeImage][0].Version = version
		lock.Accounts.Passwd = append(lock.Accounts.Passwd, "x:x:1:1:"+strings.ReplaceAll(version, ":", ";")+":/:/bin/sh")
		file := filepath.Join(t.TempDir(), LockFile)
		if err := lock.Write(file); err != nil {
			t.Fatal(err)
		}
		got, err := ReadLock(file)
		if err != nil {
			t.Errorf("version %q: %v", version, err)
			continue
		}
		if !reflect.DeepEqual(got, lock) {
			t.Errorf("version %q became %q and %q", version, got.Trees[TreeImage][0].Version, got.Accounts.Passwd)
		}
	}
}

func TestLockIsTheSameEveryTime(t *testing.T) {
	t.Parallel()
	first, err := newLock().Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for range 20 { // maps come in another order each time
		again, err := newLock().Bytes()
		if err != nil || !bytes.Equal(first, again) {
			t.Fatalf("not the same bytes (%v):\n%s", err, again)
		}
	}
}

func TestNoLock(t *testing.T) {
	t.Parallel()
	if _, err := ReadLock(filepath.Join(t.TempDir(), LockFile)); !errors.Is(err, ErrNoLock) {
		t.Errorf("%v, want ErrNoLock", err)
	}
}

func TestBrokenLocks(t *testing.T) {
	t.Parallel()
	good, err := newLock().Bytes()
	if err != nil {
		t.Fatal(err)
	}
	replace := func(old, new string) string {
		if !bytes.Contains(good, []byte(old)) {
			t.Fatalf("%q is not in\n%s", old, good)
		}
		return strings.Replace(string(good), old, new, 1)
	}
	const lost = "restore it from version control; deleting it gives up its account numbers"
	for _, tc := range []struct {
		name, content, want string
		old                 string // what "ingot lock" says; empty when it goes on from the accounts
	}{
		{"empty", "", "has version 0 and this ingot writes 3", "root is missing in passwd"},
		{"an older version", replace("version: 3", "version: 2"), `has version 2 and this ingot writes 3; run "ingot lock", which keeps its account numbers`, ""},
		{"a newer version with new keys", replace("version: 3", "version: 4\nsigned: true"), "use the newer ingot that made it", "use the newer ingot"},
		{"an unknown key", replace("suite:", "suit: trixie\nsuite:"), `unknown field "suit"`, ""},
		{"an unknown key in a package", replace("arch:", "architecture: all, arch:"), `unknown field "architecture"`, ""},
		{"a key twice", replace("suite: trixie", "suite: trixie\nsuite: trixie"), "already defined", "already defined"},
		{"a wrong type", replace("size: 42", "size: many"), "size", lost},
		{"not YAML", replace("suite: trixie", "suite: [trixie"), anew, "cannot be read"},
		{"merge conflict", replace("suite: trixie", "<<<<<<< HEAD\nsuite: trixie\n======="), anew, "cannot be read"},
		{"no epoch", replace("epoch: 1794475820", "epoch: 0"), "a part of it is missing", ""},
		{"no Ignition", replace("ignition: "+digits("b"), `ignition: ""`), "a part of it is missing", ""},
		{"no snapshot", replace("20261125T033000Z", "yesterday"), "a part of it is missing", ""},
		{"a requested package is missing", replace("- seabios", "- seabios\n  - ovmf"), "the package ovmf of the tools tree", ""},
		{"a digest that is none", replace(digits("a"), "../../../../etc/passwd"), `"bash" is not complete`, ""},
		{"a path that leads out", replace("debian/pool", "../pool"), `"bash" is not complete`, ""},
		{"an account without a number", replace("root:x:0:0:root", "root:x::0:root"), "is no line of passwd", lost},
		{"half an account", replace("root:x:0:0:root:/root:/bin/bash", "root:x:0"), "is no line of passwd", lost},
		{"no root", replace("root:x:0:0:root:/root:/bin/bash", "boot:x:1:1:root:/root:/bin/bash"), "root is missing in passwd", lost},
		{"no groups", replace(`- "root:x:0:"`, `[]`), "root is missing in group", lost},
	} {
		file := filepath.Join(t.TempDir(), LockFile)
		if err := os.WriteFile(file, []byte(tc.content), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadLock(file); err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), file+" ") {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
		old, err := readOldLock(file)
		switch {
		case tc.old == "" && (err != nil || !reflect.DeepEqual(old.Accounts, newLock().Accounts)):
			t.Errorf("%s: a new lock starts from %v (%v)", tc.name, old.Accounts, err)
		case tc.old != "" && (err == nil || !strings.Contains(err.Error(), tc.old)):
			t.Errorf("%s: a new lock: %v, want %q", tc.name, err, tc.old)
		}
	}
}

// first is a lock as version 1 had it: a package took several lines and had no
// source.
const first = `# Made by "ingot lock": what a build takes from outside. Keep it with ingot.yaml.
version: 1
suite: trixie
mirror: http://deb.debian.org
epoch: 1794475820
requested:
  image:
  - bash
ignition: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
accounts:
  passwd:
  - root:x:0:0:root:/root:/bin/bash
  - _chrony:x:997:997:Chrony daemon,,,:/var/lib/chrony:/usr/sbin/nologin
  group:
  - "root:x:0:"
  - "_chrony:x:997:"
trees:
  image:
  - name: bash
    version: 5.2.37-2+b8
    arch: amd64
    sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
    size: 42
    path: debian/pool/main/b/bash/bash_5.2.37-2+b8_amd64.deb
`

func TestOldLockKeepsItsAccounts(t *testing.T) {
	t.Parallel()
	lock, err := parseOldLock([]byte(first))
	if err != nil {
		t.Fatal(err)
	}
	want := Accounts{
		Passwd: []string{"root:x:0:0:root:/root:/bin/bash", "_chrony:x:997:997:Chrony daemon,,,:/var/lib/chrony:/usr/sbin/nologin"},
		Group:  []string{"root:x:0:", "_chrony:x:997:"},
	}
	if !reflect.DeepEqual(lock.Accounts, want) {
		t.Errorf("%q", lock.Accounts)
	}
	if p := lock.Trees[TreeImage][0]; p.Version != "5.2.37-2+b8" || p.sourceVersion() != "5.2.37-2" {
		t.Errorf("%+v, source %s", p, p.sourceVersion())
	}
	if lock, err := readOldLock(filepath.Join(t.TempDir(), LockFile)); err != nil || lock.Version != 0 {
		t.Errorf("no lock: %+v, %v", lock, err)
	}
}

// FuzzOldLock wants accounts that a base tree can be made with, or an error.
func FuzzOldLock(f *testing.F) {
	good, err := newLock().Bytes()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(first))
	f.Add([]byte("version: 2\naccounts: {passwd: [\"root:x:0:0:::\"], group: [\"root:x:0:\"]}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := parseOldLock(b)
		if err != nil {
			return
		}
		for _, line := range append(l.Accounts.Passwd, l.Accounts.Group...) {
			if strings.Count(line, ":") < 3 {
				t.Errorf("%q", line)
			}
		}
	})
}

func TestTruncatedLock(t *testing.T) {
	t.Parallel()
	good, err := newLock().Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(bytes.TrimRight(good, "\n")) {
		if _, err := parseLock(good[:n]); err == nil {
			t.Fatalf("a lock that ends after %d of %d bytes was read:\n…%s", n, len(good), good[max(0, n-60):n])
		}
	}
}

func TestWriteLockLeavesNothingHalf(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, LockFile)
	if err := os.Mkdir(file, 0o755); err != nil { // cannot be replaced
		t.Fatal(err)
	}
	if err := newLock().Write(file); err == nil {
		t.Error("no error")
	}
	wantNames(t, dir, LockFile)
}

// Whoever reads while several write finds a whole lock.
func TestWriteLockAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, LockFile)
	if err := newLock().Write(file); err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for i := range 4 {
		writers.Go(func() {
			lock := newLock()
			for range 100 * i { // of different sizes
				lock.Trees[TreeImage] = append(lock.Trees[TreeImage], newPackage("more"))
			}
			for range 5 {
				if err := lock.Write(file); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		if _, err := ReadLock(file); err != nil {
			t.Error(err)
			break
		}
	}
	writers.Wait()
	wantNames(t, dir, LockFile)
}

// A package that changes is one line of a diff.
func TestLockChangesByLines(t *testing.T) {
	t.Parallel()
	lock := newLock()
	old, err := lock.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	lock.Trees[TreeImage][1].Version, lock.Trees[TreeImage][1].SHA256 = "1:2.4-1", digits("c")
	now, err := lock.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	changed := 0
	lines := strings.Split(string(now), "\n")
	for i, line := range strings.Split(string(old), "\n") {
		if lines[i] != line {
			changed++
		}
	}
	if changed != 1 || strings.Count(string(old), "\n") != strings.Count(string(now), "\n") {
		t.Errorf("%d lines differ in\n%s", changed, now)
	}
}

// wantNames wants a directory to hold exactly these names.
func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{}
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !reflect.DeepEqual(got, append([]string{}, want...)) {
		t.Errorf("%s holds %q, want %q", dir, got, want)
	}
}
