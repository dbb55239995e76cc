package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"ingot/images"
)

// agentBesideIngot puts the appliance's program where ingot looks for it, as
// "make" does.
func agentBesideIngot(t *testing.T) {
	t.Helper()
	ingot, err := exec.LookPath("ingot")
	if err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=",
		"-o", filepath.Join(filepath.Dir(ingot), "ingot-agent"), "ingot/cmd/ingot-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the agent: %v\n%s", err, out)
	}
}

func TestBuildScripts(t *testing.T) {
	agentBesideIngot(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/build",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "without": without},
		Setup: func(e *testscript.Env) error {
			e.Setenv("INGOT_CACHE", filepath.Join(e.WorkDir, "cache"))
			return nil
		},
	})
}

// without PROGRAM… leaves a build everything it needs but these in PATH.
func without(ts *testscript.TestScript, not bool, args []string) {
	if not || len(args) == 0 {
		ts.Fatalf("usage: without PROGRAM…")
	}
	dir, err := os.MkdirTemp(ts.Getenv("WORK"), "path-")
	ts.Check(err)
	for _, name := range []string{"ingot", "mmdebstrap", "apt-get", "dpkg-deb", "unshare", "newuidmap", "go"} {
		if program, err := exec.LookPath(name); err == nil && !slices.Contains(args, name) {
			ts.Check(os.Symlink(program, filepath.Join(dir, name)))
		}
	}
	ts.Setenv("PATH", dir)
}

// server is a folder with ingot.yaml, its lock and its key, and the cache its
// image is in.
type server struct {
	dir, cache string
	result     images.Result
}

// outcome is what a run of ingot left.
type outcome struct {
	code           int
	stdout, stderr string
}

// ingot prepares a run in a folder of its own process group, with a cache.
func ingot(t *testing.T, cache string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ingot", args...)
	cmd.Env = append(os.Environ(), "INGOT_CACHE="+cache)
	return cmd
}

func finish(t *testing.T, cmd *exec.Cmd) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// built is the result of a build that must succeed.
func built(t *testing.T, o outcome) images.Result {
	t.Helper()
	var r images.Result
	if o.code != exitFine {
		t.Fatalf("exit code %d:\n%s", o.code, o.stderr)
	}
	if err := json.Unmarshal([]byte(o.stdout), &r); err != nil {
		t.Fatalf("%v in\n%s", err, o.stdout)
	}
	return r
}

// redone are the stages that did not come from the cache.
func redone(r images.Result) []string {
	names := []string{}
	for _, s := range r.Stages {
		if !s.Cached {
			names = append(names, s.Name)
		}
	}
	return names
}

// newServer is the example, built. It takes minutes when the cache is empty.
func newServer(t *testing.T) server {
	t.Helper()
	if err := images.CheckHost(); err != nil {
		t.Skip(err)
	}
	cache, err := images.OpenCache(os.Getenv("INGOT_CACHE"))
	if err != nil {
		t.Fatal(err)
	}
	agentBesideIngot(t)
	s := server{dir: t.TempDir(), cache: cache.Dir}
	for _, name := range []string{"ingot.yaml", images.LockFile} {
		b, err := os.ReadFile(filepath.Join("../../examples/openclaw", name))
		if errors.Is(err, os.ErrNotExist) && name == images.LockFile {
			continue // the build makes it
		}
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(s.dir, name), string(b))
	}
	s.result = built(t, finish(t, ingot(t, s.cache, "build", "--json", s.dir)))
	return s
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// copy is another folder for the same server, not built yet.
func (s server) copy(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"ingot.yaml", images.LockFile, "secrets"} {
		if out, err := exec.CommandContext(t.Context(), "cp", "-a", filepath.Join(s.dir, name), dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	return dir
}

// replace changes a folder's ingot.yaml.
func replace(t *testing.T, dir, old, new string) {
	t.Helper()
	file := filepath.Join(dir, "ingot.yaml")
	b, err := os.ReadFile(file)
	if err != nil || !bytes.Contains(b, []byte(old)) {
		t.Fatalf("%q is not in %s (%v)", old, file, err)
	}
	write(t, file, strings.Replace(string(b), old, new, 1))
}

// wantOutputs wants a build folder to hold exactly these files.
func wantOutputs(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	got := []string{}
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s holds %q, want %q", dir, got, want)
	}
}

// await waits for a condition for at most a minute.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	awaitFor(t, time.Minute, what, done)
}

func awaitFor(t *testing.T, most time.Duration, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(most)
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestBuild(t *testing.T) {
	if testing.Short() {
		t.Skip("builds an image")
	}
	s := newServer(t)
	t.Run("verifiers", s.verifiers)
	t.Run("cached", s.cached)
	t.Run("inspected", s.inspected)
	t.Run("two at once", s.twoAtOnce)
	t.Run("reproducible", s.reproducible)
	t.Run("secrets", s.secrets)
	t.Run("full output", s.fullOutput)
	t.Run("full cache", s.fullCache)
	t.Run("interrupted", s.interrupted)
	t.Run("interrupted later", s.interruptedLater)
	t.Run("unfit machines", s.unfit)
	t.Run("killed", s.killed)
}

// cached: nothing changed, nothing is redone; and an image that was written to is
// put right.
func (s server) cached(t *testing.T) {
	r := built(t, finish(t, ingot(t, s.cache, "build", "--json", s.dir)))
	if len(r.Stages) < 6 || len(redone(r)) > 0 || r.SHA256 != s.result.SHA256 || r.RootHash != s.result.RootHash {
		t.Errorf("a second build redid %q of %d stages; sha256 %s, want %s", redone(r), len(r.Stages), r.SHA256, s.result.SHA256)
	}
	flip(t, s.result.Image, s.result.Bytes/2)
	r = built(t, finish(t, ingot(t, s.cache, "build", "--json", s.dir)))
	if !slices.Equal(redone(r), []string{"disk"}) || r.SHA256 != s.result.SHA256 {
		t.Errorf("of an image that was written to a build redid %q and made sha256 %s, want %s", redone(r), r.SHA256, s.result.SHA256)
	}
	wantOutputs(t, filepath.Join(s.dir, "build"), ".lock", "image.raw", "instance.ign", "provenance.json", "sbom.cdx.json", "sbom.spdx.json")
}

// twoAtOnce: the second build of a folder waits for the first and then finds
// all of its work.
func (s server) twoAtOnce(t *testing.T) {
	dir, cache := s.copy(t), s.linked(t, "root")
	replace(t, dir, "why: HTTPS reverse proxy", "why: another reason")
	first := make(chan outcome)
	go func() { first <- finish(t, ingot(t, cache, "build", "--json", dir)) }()
	lock := filepath.Join(dir, "build", ".lock")
	await(t, "the first build", func() bool { return len(holders(lock)) == 1 })
	second := make(chan outcome)
	go func() { second <- finish(t, ingot(t, cache, "build", "--json", dir)) }()
	await(t, "the second build", func() bool { return len(holders(lock)) == 2 })
	select {
	case o := <-second:
		t.Errorf("the second build did not wait: %+v", o)
		return
	case o := <-first:
		r := built(t, o)
		if got := redone(r); !slices.Equal(got, []string{"root", "disk"}) {
			t.Errorf("a changed line made the stages %q anew, want root and disk", got)
		}
		if r.SHA256 == s.result.SHA256 {
			t.Error("a changed line did not change the image")
		}
		again := built(t, <-second)
		if len(redone(again)) > 0 || again.SHA256 != r.SHA256 {
			t.Errorf("the second build made %q anew; sha256 %s, want %s", redone(again), again.SHA256, r.SHA256)
		}
	}
	wantOutputs(t, filepath.Join(dir, "build"), ".lock", "image.raw", "instance.ign", "provenance.json", "sbom.cdx.json", "sbom.spdx.json")
}

// linked is a new cache that has the stages of another, all but those named.
func (s server) linked(t *testing.T, but ...string) string {
	t.Helper()
	cache := filepath.Join(t.TempDir(), "cache")
	if err := os.MkdirAll(filepath.Join(cache, "stages"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(s.cache, "debs"), filepath.Join(cache, "debs")); err != nil {
		t.Fatal(err)
	}
	stages, err := filepath.Glob(filepath.Join(s.cache, "stages", "*-*[0-9a-f]"))
	if err != nil || len(stages) == 0 {
		t.Fatalf("no stages in %s (%v)", s.cache, err)
	}
	for _, stage := range stages {
		name, _, _ := strings.Cut(filepath.Base(stage), "-")
		if slices.Contains(but, name) {
			continue
		}
		if err := os.Symlink(stage, filepath.Join(cache, "stages", filepath.Base(stage))); err != nil {
			t.Fatal(err)
		}
	}
	return cache
}

// reproducible: another place, cache, umask, time zone and language, the same
// bytes.
func (s server) reproducible(t *testing.T) {
	dir, cache := s.copy(t), s.linked(t, "root")
	cmd := ingot(t, cache, "build", "--json", dir)
	cmd.Path = "/bin/sh"
	cmd.Args = append([]string{"sh", "-c", `umask 077; exec ingot "$@"`, "sh"}, cmd.Args[1:]...)
	cmd.Env = append(cmd.Env, "TZ=Asia/Kathmandu", "LC_ALL=tr_TR.UTF-8", "SOURCE_DATE_EPOCH=1")
	r := built(t, finish(t, cmd))
	if got := redone(r); !slices.Equal(got, []string{"root", "disk"}) {
		t.Errorf("made %q anew, want root and disk", got)
	}
	if r.SHA256 != s.result.SHA256 {
		t.Errorf("root hash %s, sha256 %s; want %s, %s", r.RootHash, r.SHA256, s.result.RootHash, s.result.SHA256)
	}
}

// secrets: a private key and a token in layers' files refuse the image.
func (s server) secrets(t *testing.T) {
	dir := s.copy(t)
	private := "PRIVATE" + " KEY"
	for layer, secret := range map[string]string{
		"keeper": "-----BEGIN " + private + "-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END " + private + "-----\n",
		"talker": "AWS_ACCESS_KEY_ID=AKIA" + "IOSFODNN7EXAMPLE\n",
	} {
		write(t, filepath.Join(dir, layer, "config.bu"), "storage:\n  files:\n    - path: /etc/"+layer+".conf\n      mode: 0644\n      contents: {local: "+layer+".conf}\n")
		write(t, filepath.Join(dir, layer, "files", layer+".conf"), secret)
	}
	replace(t, dir, "  sysctl: {}\n", "  sysctl: {}\n  custom: [./keeper, ./talker]\n")
	o := finish(t, ingot(t, s.cache, "build", "--json", dir))
	if o.code != exitInput {
		t.Fatalf("exit code %d, want %d:\n%s", o.code, exitInput, o.stderr)
	}
	for _, want := range []string{
		"layer custom/keeper: /etc/keeper.conf holds a private key", "layer custom/talker: /etc/talker.conf holds an AWS access key",
	} {
		if !strings.Contains(o.stderr, want) {
			t.Errorf("%q is not in\n%s", want, o.stderr)
		}
	}
	if all := o.stdout + o.stderr; strings.Contains(all, "MC4CAQ") || strings.Contains(all, "AKIA") {
		t.Errorf("the secret is shown:\n%s", all)
	}
	wantOutputs(t, filepath.Join(dir, "build"), ".lock")
	wantNothingOf(t, dir)
}
