// Package ignitiontest gives tests the real Ignition.
package ignitiontest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"ingot/ignition/source"
)

// Program is the path of the pinned Ignition, which is built once and kept in
// the user's cache. The test is skipped with -short, and without root, which
// Ignition needs for owners and for entering a tree.
func Program(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: building the real Ignition takes a minute")
	}
	if os.Geteuid() != 0 {
		t.Skip("the real Ignition changes owners and enters the tree with chroot: run as root")
	}
	return program(t, "ignition", source.Module+"/internal")
}

// Validator is the path of ignition-validate of the same version, which judges
// a config as Ignition would read it. The test is skipped with -short.
func Validator(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: building ignition-validate takes half a minute")
	}
	return program(t, "ignition-validate", source.Module+"/validate")
}

// program builds one of Ignition's programs, or finds it in the cache.
func program(t *testing.T, name, pkg string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	must(t, err)
	program := filepath.Join(cache, "ingot", "test", fmt.Sprintf("%s-%s-%s-%s", name, source.Version(), runtime.Version(), runtime.GOARCH))
	if _, err := os.Stat(program); err == nil {
		return program
	}
	must(t, os.MkdirAll(filepath.Dir(program), 0o755))
	next, err := os.MkdirTemp(filepath.Dir(program), "build-")
	must(t, err)
	defer os.RemoveAll(next)
	must(t, os.WriteFile(filepath.Join(next, "go.mod"), []byte(source.GoMod), 0o644))
	must(t, os.WriteFile(filepath.Join(next, "go.sum"), []byte(source.GoSum), 0o644))
	// What Ignition would otherwise expect of a Fedora or leave behind.
	flags := fmt.Sprintf("-s -w -X %[1]s/internal/distro.selinuxRelabel=false -X %[1]s/internal/distro.resultFilePath=", source.Module)
	build := exec.Command("go", "build", "-mod=mod", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", name, pkg)
	build.Dir = next
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	must(t, os.Rename(filepath.Join(next, name), program))
	return program
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
