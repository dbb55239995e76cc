package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
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
	dir, cache := s.copy(t), s.linked(t, "base", "root")
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
	wantNoStages(t, cache, "base", "root")
	wantOutputs(t, filepath.Join(dir, "build"), ".lock")
	for _, name := range hostTemporaries(t) {
		if !slices.Contains(before, name) {
			t.Errorf("%s is left", name)
		}
	}
}

// What a killed build had begun to write goes; what another one writes now stays.
func TestSweep(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	old := time.Now().Add(-2 * halfWrittenFor)
	kept := []string{".instance.ign", ".instance.ign1x", ".lock", ".other7", "instance.ign", "sbom.cdx.json5"}
	gone := []string{".instance.ign4711", ".provenance.json1", ".sbom.cdx.json22", ".sbom.spdx.json333", ".ingot.lock9"}
	for _, name := range append(slices.Clone(kept), gone...) {
		file := filepath.Join(dir, name)
		write(t, file, "x")
		if err := os.Chtimes(file, old, old); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(dir, ".instance.ign12"), "of another build")
	if err := os.Symlink("instance.ign", filepath.Join(dir, ".ingot.lock10")); err != nil {
		t.Fatal(err)
	}
	if err := sweep(dir); err != nil {
		t.Fatal(err)
	}
	want := append(kept, ".instance.ign12", ".ingot.lock10")
	slices.Sort(want)
	wantOutputs(t, dir, want...)
	if err := sweep(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
}

// TestEndedAnywhere ends builds in the middle of every stage, in a cache that has
// nothing but the packages when the first of them begins. "make variations" runs
// it; TestBuild does the same with the stages that take seconds.
func TestEndedAnywhere(t *testing.T) {
	skipUnlessVariations(t)
	s := newServer(t)
	t.Run("killed", func(t *testing.T) { s.ended(t, syscall.SIGKILL, allStages...) })
	t.Run("interrupted", func(t *testing.T) { s.ended(t, syscall.SIGINT, allStages...) })
}

func (s server) killed(t *testing.T) {
	s.ended(t, syscall.SIGKILL, warmStages...)
}

func (s server) interruptedLater(t *testing.T) {
	s.ended(t, syscall.SIGINT, warmStages...)
}

// ended ends a build in the middle of each of these stages, which the cache
// lacks, and while it writes the image. All are of one folder and in one cache: each finds
// what the one before left, and goes on.
func (s server) ended(t *testing.T, how syscall.Signal, stages ...string) {
	dir, cache := s.copy(t), s.linked(t, stages...)
	out := filepath.Join(dir, "build")
	var left []string
	for _, stage := range append(slices.Clone(stages), writingImage) {
		o, in := s.endIn(t, how, dir, cache, stage, left)
		if o.code == exitFine {
			t.Errorf("the build was done before it was seen in %s", stage)
			break
		}
		if want := map[syscall.Signal]int{syscall.SIGKILL: -1, syscall.SIGINT: exitInterrupted}[how]; o.code != want || o.stdout != "" {
			t.Errorf("%s in %s: exit code %d, want %d:\n%s%s", how, stage, o.code, want, o.stdout, o.stderr)
		}
		if byScript := stage != "contents" && stage != "boot" && stage != writingImage; byScript && in < 2 {
			t.Errorf("only %d process works at %s: the check for processes sees nothing", in, stage)
		}
		if how == syscall.SIGKILL {
			await(t, "the end of the build's processes", func() bool { return len(users(cache)) == 0 })
		}
		wantNothingOf(t, cache)
		wantNothingOf(t, dir)
		wantOutputs(t, out, ".lock")
		now := unfinished(cache)
		for _, name := range left {
			if slices.Contains(now, name) {
				t.Errorf("%s was left in the cache and is still there after another build, which was ended in %s", name, stage)
			}
		}
		left = now
		switch {
		case how == syscall.SIGINT && len(left) > 0:
			t.Errorf("interrupted in %s, it leaves %q in the cache", stage, left)
		case how == syscall.SIGKILL && stage != writingImage && !slices.ContainsFunc(left, func(name string) bool { return strings.HasPrefix(name, stage+"-") }):
			t.Errorf("killed in %s, it leaves %q: it was not in the middle", stage, left)
		}
		t.Logf("%s in %s, of %d processes; left in the cache: %q", how, stage, in, left)
	}
	r := built(t, finish(t, ingot(t, cache, "build", "--json", dir)))
	if r.SHA256 != s.result.SHA256 {
		t.Errorf("the build after them has the sha256 %s, want %s", r.SHA256, s.result.SHA256)
	}
	wantNoStages(t, cache)
	wantOutputs(t, out, ".lock", "image.raw", "instance.ign", "provenance.json", "sbom.cdx.json", "sbom.spdx.json")
}

// writingImage is the step that is no stage of the cache.
const writingImage = "disk"

// endIn sends a signal to a build that is in a stage, and says how many processes
// it had.
func (s server) endIn(t *testing.T, how syscall.Signal, dir, cache, stage string, left []string) (o outcome, processes int) {
	t.Helper()
	cmd := ingot(t, cache, "build", dir)
	done := make(chan struct{})
	go func() {
		o = finish(t, cmd)
		close(done)
	}()
	awaitFor(t, 20*time.Minute, "the stage "+stage, func() bool {
		select {
		case <-done:
			return true
		default:
			return begun(dir, cache, stage, left)
		}
	})
	select {
	case <-done:
	default:
		processes = len(users(cache))
		if err := cmd.Process.Signal(how); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		<-done
	}
	return o, processes
}

// begun reports whether a build works at a stage: whether the first files are
// there, those of a script where one makes the stage. What was left before is none
// of them.
func begun(dir, cache, stage string, left []string) bool {
	var files string
	switch stage {
	case "base", "tools", "compiler", "initrd":
		files = "tree/*"
	case "ignition": // it writes where only the script sees it
		files = "build/upper"
	case "initramfs", "root":
		files = "build/upper/*" // the overlay itself is mounted where only the script sees it
	case "contents", "boot": // they write at their end
	case writingImage:
		return len(openIn(filepath.Join(dir, "build"))) > 0
	}
	return slices.ContainsFunc(unfinished(cache), func(name string) bool {
		found, _ := filepath.Glob(filepath.Join(cache, "tmp", name, files))
		return strings.HasPrefix(name, stage+"-") && !slices.Contains(left, name) && len(found) > 0
	})
}

// openIn are the files of a folder that processes have open and that are not its
// lock: those without a name, too.
func openIn(dir string) []string {
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	var found []string
	for _, link := range links {
		if target, _ := os.Readlink(link); strings.HasPrefix(target, dir+"/") && filepath.Base(target) != ".lock" {
			found = append(found, target)
		}
	}
	return found
}

// unfinished are the names of what is not done, or was not, in a cache.
func unfinished(cache string) []string {
	entries, _ := os.ReadDir(filepath.Join(cache, "tmp"))
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
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
	dir, cache := s.copy(t), s.linked(t, "root")
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
