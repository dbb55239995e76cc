package secrets

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMakeFolder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), Folder)
	for range 2 { // the second finds it made
		if err := MakeFolder(dir); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder has %v, %v", info.Mode(), err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, ".gitignore")); err != nil || string(got) != "*\n" {
		t.Errorf("git is told %q, %v", got, err)
	}
}

// Two first builds of one folder at once: the key that people were told of
// stays, and no half-written one is ever there.
func TestWriteOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "key")
	for i, want := range []bool{true, false} {
		made, err := WriteOnce(file, []byte{byte('a' + i)})
		if err != nil || made != want {
			t.Errorf("write %d: %t, %v", i, made, err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "a" {
		t.Errorf("the file holds %q, %v", got, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has %v, %v", info.Mode(), err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left in the folder: %v, %v", left, err)
	}
	if _, err := WriteOnce(filepath.Join(dir, "none", "key"), nil); err == nil {
		t.Error("a folder that is not there is no error")
	}
}
