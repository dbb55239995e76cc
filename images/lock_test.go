package images

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
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
		"2.41.5-0+deb13u1", "20250419", "9~", "- a", "a: b", "a #b", "'", `"`, `\`, "*a", "&a", "!a", "%a", "@a", "`", "é",
	} {
		lock := newLock()
		lock.Trees[TreeImage][0].Version = version
		lock.Accounts.Passwd = append(lock.Accounts.Passwd, "x:x:1:1:"+version+":/:/bin/sh")
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
	for _, tc := range []struct{ name, content, want string }{
		{"empty", "", "version 0"},
		{"an older version", replace("version: 2", "version: 0"), "version 0 and this ingot writes 2"},
		{"a newer version with new keys", replace("version: 2", "version: 3\nsigned: true"), "version 3 and this ingot writes 2"},
		{"an unknown key", replace("suite:", "suit: trixie\nsuite:"), `unknown field "suit"`},
		{"an unknown key in a package", replace("arch:", "architecture: all\n    arch:"), `unknown field "architecture"`},
		{"a key twice", replace("suite: trixie", "suite: trixie\nsuite: trixie"), "already defined"},
		{"a wrong type", replace("size: 42", "size: many"), "size"},
		{"not YAML", replace("suite: trixie", "suite: [trixie"), ""},
		{"merge conflict", replace("suite: trixie", "<<<<<<< HEAD\nsuite: trixie\n======="), ""},
		{"no epoch", replace("epoch: 1794475820", "epoch: 0"), "a part of it is missing"},
		{"no Ignition", replace("ignition: "+digits("b"), `ignition: ""`), "a part of it is missing"},
		{"a requested package is missing", replace("- seabios", "- seabios\n  - ovmf"), "the package ovmf of the tools tree"},
		{"a digest that is none", replace(digits("a"), "../../../../etc/passwd"), `"bash" is not complete`},
		{"a path that leads out", replace("debian/pool", "../pool"), `"bash" is not complete`},
	} {
		file := filepath.Join(t.TempDir(), LockFile)
		if err := os.WriteFile(file, []byte(tc.content), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := ReadLock(file)
		if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), `run "ingot lock"`) {
			t.Errorf("%s: %v, want %q and advice", tc.name, err, tc.want)
		}
	}
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
	if err := os.Mkdir(file+".new", 0o755); err != nil { // cannot be written
		t.Fatal(err)
	}
	if err := newLock().Write(file); err == nil {
		t.Error("no error")
	}
	wantNames(t, dir)
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
