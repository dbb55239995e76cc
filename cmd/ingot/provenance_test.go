package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"ingot/config"
	"ingot/images"
	"ingot/layers/system"
	"ingot/qemu-tests/attest"
)

// attribute FOLDER writes the provenance of a folder's image, as ingot build
// would, signed by the key that ingot build would find.
func attribute(ts *testscript.TestScript, not bool, args []string) {
	if not || len(args) != 1 {
		ts.Fatalf("usage: attribute FOLDER")
	}
	dir := ts.MkAbs(args[0])
	loaded, _, err := config.Load(dir, system.Layer{})
	ts.Check(err)
	image := filepath.Join(dir, "build", "image.raw")
	p, err := provenanceOf(context.Background(), loaded, dir,
		images.Options{LockFile: filepath.Join(dir, images.LockFile), Agent: image},
		images.Result{Image: image, SHA256: digest(ts, image), IgnitionSHA256: digest(ts, image), Compression: images.FastCompression})
	ts.Check(err)
	key, err := attest.FindKey(placesOf(ts, dir))
	ts.Check(err)
	ts.Check(attest.WriteProvenance(filepath.Join(dir, "build", attest.ProvenanceFile), p, key))
}

func TestRevisionOf(t *testing.T) {
	repository := t.TempDir()
	dir := filepath.Join(repository, "servers", "one")
	out := filepath.Join(dir, "build")
	run := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = repository
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org")
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, text)
		}
	}
	put := func(file, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := func(when string, found, dirty bool) {
		t.Helper()
		r := revisionOf(t.Context(), dir, out)
		if (r != nil) != found {
			t.Fatalf("%s: %+v", when, r)
		}
		if found && (r.Dirty != dirty || r.Folder != "servers/one" || !commitID.MatchString(r.Commit)) {
			t.Errorf("%s: %+v, want dirty %v", when, r, dirty)
		}
	}
	put(filepath.Join(dir, "ingot.yaml"), "name: a\n")
	want("no repository", false, false)
	run("init", "-q")
	want("no commit", false, false)
	put(filepath.Join(repository, ".gitignore"), "secrets\n")
	run("add", ".")
	run("commit", "-q", "-m", "first")
	want("clean", true, false)
	put(filepath.Join(out, "image.raw"), "x")
	put(filepath.Join(dir, "secrets", "key"), "x")
	put(filepath.Join(repository, "servers", "two", "ingot.yaml"), "name: b\n")
	want("outputs, secrets, another folder", true, false)
	put(filepath.Join(dir, "app", "config.bu"), "x")
	want("a new file", true, true)
	run("config", "status.showUntrackedFiles", "no")
	want("a new file that git status is not to show", true, true)
	run("add", ".")
	want("staged", true, true)
	run("commit", "-q", "-m", "second")
	want("committed", true, false)
	put(filepath.Join(dir, "ingot.yaml"), "name: c\n")
	want("changed", true, true)
	run("checkout", "-q", ".")
	run("rm", "-q", "--cached", "servers/one/ingot.yaml")
	put(filepath.Join(repository, ".gitignore"), "secrets\ningot.yaml\n")
	run("commit", "-q", "-a", "-m", "third")
	want("ingot.yaml is ignored", true, true)
	run("reset", "-q", "--hard", "HEAD~")
	t.Setenv("GIT_DIR", filepath.Join(repository, "nowhere"))
	want("in another repository's hook", true, false)
	t.Setenv("PATH", t.TempDir())
	want("without git", false, false)
}

func TestOwnRevision(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("0123456789", 4)
	for text, want := range map[string]string{id: id, id + "-dirty": id + " dirty", "": "none", "abc": "none", "v1.0": "none", id + "x": "none"} {
		got := "none"
		if r := ownRevision(text); r != nil {
			got = r.Commit
			if r.Dirty {
				got += " dirty"
			}
		}
		if got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}
