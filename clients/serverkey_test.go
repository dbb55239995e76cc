package clients

import (
	"os"
	"path/filepath"
	"testing"
)

// Two first builds of one folder at once: the key that people were told of
// stays, and no half-written one is ever there.
func TestWriteOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "key")
	for i, want := range []bool{true, false} {
		made, err := writeOnce(file, []byte{byte('a' + i)})
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
	if _, err := writeOnce(filepath.Join(dir, "none", "key"), nil); err == nil {
		t.Error("a folder that is not there is no error")
	}
}
