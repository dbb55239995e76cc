package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// holders are the processes other than this one that have a file open.
func holders(file string) []string {
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	found := []string{}
	for _, link := range links {
		pid := strings.Split(link, "/")[2]
		if target, _ := os.Readlink(link); target == file && !slices.Contains(found, pid) {
			found = append(found, pid)
		}
	}
	return found
}

// users are the processes that work below a folder or were told of it.
func users(dir string) []string {
	found := []string{}
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range processes {
		cmdline, _ := os.ReadFile(p + "/cmdline")
		environ, _ := os.ReadFile(p + "/environ")
		cwd, _ := os.Readlink(p + "/cwd")
		root, _ := os.Readlink(p + "/root")
		if bytes.Contains(cmdline, []byte(dir)) || bytes.Contains(environ, []byte(dir)) || strings.HasPrefix(cwd, dir) || strings.HasPrefix(root, dir) {
			found = append(found, filepath.Base(p)+" "+strings.ReplaceAll(string(cmdline), "\x00", " "))
		}
	}
	return found
}

// wantNothingOf wants no process and no mount that has to do with a folder.
func wantNothingOf(t *testing.T, dir string) {
	t.Helper()
	if left := users(dir); len(left) > 0 {
		t.Errorf("processes are left:\n%s", strings.Join(left, "\n"))
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || bytes.Contains(mounts, []byte(dir)) {
		t.Errorf("mounts of %s are left (%v):\n%s", dir, err, mounts)
	}
}

// wantNoStages wants a cache without half-made stages, and without these.
func wantNoStages(t *testing.T, cache string, names ...string) {
	t.Helper()
	wantOutputs(t, filepath.Join(cache, "tmp"))
	for _, name := range names {
		stages, err := filepath.Glob(filepath.Join(cache, "stages", name+"-*[0-9a-f]"))
		if err != nil || len(stages) > 0 {
			t.Errorf("%q is left (%v)", stages, err)
		}
	}
}

func hostTemporaries(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("/tmp/*mmdebstrap*")
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// interrupted: Ctrl-C in the middle of the packages' installation leaves no
// process, no mount and no file.
func (s server) interrupted(t *testing.T) {
	dir, cache := s.copy(t), s.linked(t, "base", "root", "disk")
	before := hostTemporaries(t)
	cmd := ingot(t, cache, "build", dir)
	done := make(chan outcome)
	go func() { done <- finish(t, cmd) }()
	await(t, "the base stage", func() bool {
		unpacked, _ := filepath.Glob(filepath.Join(cache, "tmp", "base-*", "tree", "usr", "bin"))
		return len(unpacked) == 1
	})
	if len(users(cache)) < 2 {
		t.Errorf("only %q work for the build: the check for processes sees nothing", users(cache))
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if o := <-done; o.code != exitInterrupted || o.stdout != "" {
		t.Errorf("exit code %d, want %d:\n%s%s", o.code, exitInterrupted, o.stdout, o.stderr)
	}
	wantNothingOf(t, cache)
	wantNoStages(t, cache, "base", "root", "disk")
	wantOutputs(t, filepath.Join(dir, "build"), ".lock")
	for _, name := range hostTemporaries(t) {
		if !slices.Contains(before, name) {
			t.Errorf("%s is left", name)
		}
	}
}

// onSmallDisk runs ingot with a file system of size bytes mounted on dir, where
// only it sees it, and appends a list of the files there to stdout.
func onSmallDisk(t *testing.T, cmd *exec.Cmd, dir, size, before string) outcome {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may mount a small disk")
	}
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Skip(err)
	}
	cmd.Path = unshare
	cmd.Args = append([]string{
		"unshare", "--mount", "--propagation=private", "sh", "-euc",
		`disk=$1 size=$2; shift 2
mount -t tmpfs -o size="$size" tmpfs "$disk"
` + before + `
code=0
ingot "$@" || code=$?
cd "$disk"
find . ! -type d ! -type l | sort
exit $code`, "sh", dir, size,
	}, cmd.Args[1:]...)
	return finish(t, cmd)
}

// fullOutput: the image does not fit where it should go.
func (s server) fullOutput(t *testing.T) {
	dir := s.copy(t)
	out := filepath.Join(dir, "build")
	if err := os.Mkdir(out, 0o755); err != nil {
		t.Fatal(err)
	}
	o := onSmallDisk(t, ingot(t, s.cache, "build", "--quiet", dir), out, "16m", "")
	if o.code != exitMachine || !strings.Contains(o.stderr, "no space left on device") || !strings.Contains(o.stderr, "image.raw") {
		t.Errorf("exit code %d, want %d and the reason:\n%s", o.code, exitMachine, o.stderr)
	}
	if o.stdout != "./.lock\n" {
		t.Errorf("left on the disk:\n%s", o.stdout)
	}
}

// fullCache: the root does not fit into the cache.
func (s server) fullCache(t *testing.T) {
	dir, cache := s.copy(t), s.linked(t, "root", "disk")
	small := t.TempDir()
	o := onSmallDisk(t, ingot(t, small, "build", "--quiet", dir), small, "24m", `cp -a "`+cache+`/stages" "$disk"`)
	if o.code != exitMachine || !strings.Contains(o.stderr, "the disk is full") {
		t.Errorf("exit code %d, want %d and the reason:\n%s", o.code, exitMachine, o.stderr)
	}
	for line := range strings.Lines(o.stdout) {
		if !strings.HasSuffix(line, ".lock\n") {
			t.Errorf("left in the cache: %s", line)
		}
	}
	wantOutputs(t, filepath.Join(dir, "build"), ".lock")
	wantNothingOf(t, small)
}
