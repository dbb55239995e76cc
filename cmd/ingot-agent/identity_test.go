package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCopyTree(t *testing.T) {
	src, dst := t.TempDir(), filepath.Join(t.TempDir(), "etc")
	for p, mode := range map[string]uint32{"hostname": 0o644, "secrets/key": 0o640, "secrets/read": 0o400, "setuid": 0o4755} {
		write(t, filepath.Join(src, p), "content of "+p)
		must(t, syscall.Chmod(filepath.Join(src, p), mode))
	}
	must(t, syscall.Chmod(filepath.Join(src, "secrets"), 0o1750))
	must(t, copyTree(src, dst))
	for p, want := range map[string]os.FileMode{
		"":             0o755 | os.ModeDir,
		"hostname":     0o644,
		"secrets":      0o750 | os.ModeDir, // the sticky bit stays behind
		"secrets/key":  0o640,
		"secrets/read": 0o400,
		"setuid":       0o755, // and so does setuid
	} {
		info, err := os.Lstat(filepath.Join(dst, p))
		must(t, err)
		if info.Mode() != want {
			t.Errorf("%q has mode %v, want %v", p, info.Mode(), want)
		}
	}
	if got := read(t, filepath.Join(dst, "secrets/key")); got != "content of secrets/key" {
		t.Errorf("secrets/key holds %q", got)
	}
}

func TestCopyTreeKeepsOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	src, dst := t.TempDir(), filepath.Join(t.TempDir(), "etc")
	write(t, filepath.Join(src, "secrets/key"), "key")
	must(t, os.Chown(filepath.Join(src, "secrets"), 0, 77))
	must(t, os.Chown(filepath.Join(src, "secrets/key"), 998, 77))
	must(t, copyTree(src, dst))
	for p, want := range map[string][2]uint32{"secrets": {0, 77}, "secrets/key": {998, 77}} {
		var st unix.Stat_t
		must(t, unix.Lstat(filepath.Join(dst, p), &st))
		if got := [2]uint32{st.Uid, st.Gid}; got != want {
			t.Errorf("%s belongs to %v, want %v", p, got, want)
		}
	}
}

// An opaque folder would hide the image's.
func TestCopyTreeLeavesExtendedAttributes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can set the overlay's attributes")
	}
	const opaque = "trusted.overlay.opaque"
	src, dst := t.TempDir(), filepath.Join(t.TempDir(), "etc")
	write(t, filepath.Join(src, "ssh/file"), "")
	for _, p := range []string{"", "ssh", "ssh/file"} {
		must(t, unix.Setxattr(filepath.Join(src, p), opaque, []byte("y"), 0))
	}
	must(t, copyTree(src, dst))
	for _, p := range []string{"", "ssh", "ssh/file"} {
		if _, err := unix.Getxattr(filepath.Join(dst, p), opaque, nil); err != unix.ENODATA {
			t.Errorf("%q: %v, want no attribute", p, err)
		}
	}
}

const (
	hashA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	hashB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

func TestStampSaysImageAndConfig(t *testing.T) {
	base := newStamp(hashA, []byte("config"))
	if base != newStamp(hashA, []byte("config")) {
		t.Error("the same inputs give two stamps")
	}
	for name, other := range map[string]stamp{
		"image":          newStamp(hashB, []byte("config")),
		"config":         newStamp(hashA, []byte("confiG")),
		"longer config":  newStamp(hashA, []byte("config\n")),
		"shorter config": newStamp(hashA, nil),
	} {
		if base == other {
			t.Errorf("the stamp does not see another %s", name)
		}
	}
}

func TestReadStamp(t *testing.T) {
	good := newStamp(hashA, []byte("config"))
	whole := `{"root_hash":"` + good.RootHash + `","config_sha256":"` + good.ConfigSHA256 + `"}` + "\n"
	for _, tc := range []struct {
		name, content string
		want          stamp
	}{
		{"whole", whole, good},
		{"empty", "", stamp{}},
		{"truncated", whole[:len(whole)-3], stamp{}},
		{"first half only", whole[:len(whole)/2], stamp{}},
		{"zeros, as a power cut leaves them", string(make([]byte, len(whole))), stamp{}},
		{"garbage", "\xff\xfe{", stamp{}},
		{"null", "null", stamp{}},
		{"another type", `[1]`, stamp{}},
		{"wrong type of a field", `{"root_hash":1,"config_sha256":"x"}`, stamp{}},
		{"one field", `{"root_hash":"x"}`, stamp{}},
		{"two documents", whole + whole, stamp{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, identityStamp), tc.content)
			must(t, os.Mkdir(filepath.Join(dir, identityEtc), 0o755))
			if got := readStamp(dir); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestWriteStampIsReadBack(t *testing.T) {
	dir, want := t.TempDir(), newStamp(hashA, []byte("config"))
	must(t, os.Mkdir(filepath.Join(dir, identityEtc), 0o755))
	must(t, writeStamp(dir, want))
	if got := readStamp(dir); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// A stamp does not count when the identity it speaks of cannot be used.
func TestReadStampOfIncompleteIdentity(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, dir string){
		"no folder": func(t *testing.T, dir string) { must(t, os.RemoveAll(dir)) },
		"no stamp":  func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, identityStamp))) },
		"no etc":    func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, identityEtc))) },
		"etc is a link": func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, identityEtc)))
			must(t, os.Symlink("/etc", filepath.Join(dir, identityEtc)))
		},
		"stamp is a pipe": func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, identityStamp)))
			must(t, unix.Mkfifo(filepath.Join(dir, identityStamp), 0o600))
		},
		"stamp is a folder": func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, identityStamp)))
			must(t, os.Mkdir(filepath.Join(dir, identityStamp), 0o700))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.Mkdir(filepath.Join(dir, identityEtc), 0o755))
			must(t, writeStamp(dir, newStamp(hashA, nil)))
			damage(t, dir)
			if got := readStamp(dir); got != (stamp{}) {
				t.Errorf("got %+v, want none", got)
			}
		})
	}
}

func TestReplace(t *testing.T) {
	for name, current := range map[string]func(t *testing.T, p string){
		"first time":        func(*testing.T, string) {},
		"exchange":          func(t *testing.T, p string) { write(t, filepath.Join(p, "old"), "old") },
		"a file in its way": func(t *testing.T, p string) { write(t, p, "file") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			next, identity := filepath.Join(dir, "identity.new"), filepath.Join(dir, "identity")
			write(t, filepath.Join(next, "new"), "new")
			current(t, identity)
			must(t, replace(next, identity))
			if got := contents(t, identity); len(got) != 1 || got["new"] != "new" {
				t.Errorf("the identity holds %v", got)
			}
			if exists(next) {
				t.Error("the old identity is still there")
			}
		})
	}
}

func TestReplaceWithoutNext(t *testing.T) {
	dir := t.TempDir()
	identity := filepath.Join(dir, "identity")
	write(t, filepath.Join(identity, "old"), "old")
	if err := replace(filepath.Join(dir, "identity.new"), identity); err == nil {
		t.Error("no error")
	}
	if got := contents(t, identity); got["old"] != "old" {
		t.Errorf("the old identity became %v", got)
	}
}
