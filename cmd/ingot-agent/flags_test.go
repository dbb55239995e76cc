package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A planted file that even root cannot remove is removed all the same.
func TestSweepRemovesPinnedFiles(t *testing.T) {
	etc := t.TempDir()
	planted := filepath.Join(etc, "systemd", "system")
	if err := os.MkdirAll(planted, 0o755); err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(planted, "evil.service")
	if err := os.WriteFile(unit, []byte("[Service]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = exec.Command("chattr", "-R", "-i", "-a", etc).Run() })
	if out, err := exec.Command("chattr", "+i", unit, planted).CombinedOutput(); err != nil {
		t.Skipf("this file system or user cannot make files immutable: %s", out)
	}
	if err := os.Remove(unit); err == nil {
		t.Fatal("the planted file is not pinned")
	}
	a, err := parseAllowlist(strings.NewReader("/etc/hostname\n"))
	if err != nil {
		t.Fatal(err)
	}
	removed, err := a.sweep(etc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(unit); err == nil || len(removed) != 1 {
		t.Errorf("removed %q, and the planted unit is still there", removed)
	}
}
