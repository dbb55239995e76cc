package ssh

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// hostkey runs the program on a folder of the test's.
func hostkey(t *testing.T, dir string) string {
	t.Helper()
	for _, name := range []string{"sh", "ssh-keygen", "sync", "mktemp"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed here", name)
		}
	}
	if !strings.Contains(hostKeyScript, "dir="+HostKeyDir+"\n") || !strings.Contains(hostKeyScript, "key=$dir/"+filepath.Base(HostKey)+"\n") {
		t.Fatal("the script and the package name different places")
	}
	cmd := exec.Command("sh", "-c", strings.Replace(hostKeyScript, "dir="+HostKeyDir, "dir="+dir, 1))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Fatalf("%v holds %v, want the two halves of a key", dir, entries)
	}
	return string(out)
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestHostKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key := filepath.Join(dir, filepath.Base(HostKey))
	hostkey(t, dir)
	first := read(t, key)
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	hostkey(t, dir)
	if read(t, key) != first {
		t.Error("the second run made another key")
	}

	// What a power cut of an unlucky file system leaves.
	if err := os.Mkdir(filepath.Join(dir, ".new.abcdef"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(key, 0); err != nil {
		t.Fatal(err)
	}
	if out := hostkey(t, dir); !strings.Contains(out, "cannot be read") {
		t.Errorf("the loss is not reported: %q", out)
	}
	if again := read(t, key); again == first || again == "" {
		t.Error("no new key was made")
	}
}
