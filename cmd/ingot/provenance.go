package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"ingot/config"
	"ingot/images"
	"ingot/images/sbom"
	"ingot/qemu-tests/attest"
)

// commit is what ingot was built from, set by the Makefile: 40 hex digits, with
// "-dirty" behind them when there were changes. Go's own stamp would need a
// repository wherever somebody builds ingot.
var commit string

// provenance writes what the image was made of, signed, beside it. A build does
// not fail for want of a key: what relies on the provenance asks for it.
func (c *console) provenance(ctx context.Context, loaded config.Loaded, dir string, o images.Options, r images.Result) error {
	file := filepath.Join(filepath.Dir(r.Image), attest.ProvenanceFile)
	key, err := attest.FindKey(attest.PlacesOf(dir))
	if err != nil {
		c.remark("no provenance is written: %v", err)
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) { // of another image
			return err
		}
		return nil
	}
	p, err := provenanceOf(ctx, loaded, dir, o, r)
	if err != nil {
		return err
	}
	return attest.WriteProvenance(file, p, key)
}

// provenanceOf is what the image in a folder was made of.
func provenanceOf(ctx context.Context, loaded config.Loaded, dir string, o images.Options, r images.Result) (attest.Provenance, error) {
	out := filepath.Dir(r.Image)
	p := attest.Provenance{
		Image: filepath.Base(r.Image), ImageSHA256: r.SHA256, Config: loaded.Digest, Ignition: r.IgnitionSHA256, Go: runtime.Version(),
		Parameters: attest.Parameters{Suite: loaded.Plan.Site.Suite, Compression: r.Compression},
		Source:     revisionOf(ctx, dir, out), Ingot: ownRevision(commit),
	}
	var err error
	if p.Lock, err = digestOf(o.LockFile); err != nil {
		return p, err
	}
	if p.Agent, err = digestOf(o.Agent); err != nil {
		return p, err
	}
	p.Bills, err = billDigests(out)
	return p, err
}

// billDigests are the SHA-256 of the bills in a folder by their name, of those
// that are there.
func billDigests(dir string) (map[string]string, error) {
	sums := map[string]string{}
	for _, name := range []string{sbom.SPDXFile, sbom.CycloneDXFile} {
		sum, err := digestOf(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		sums[name] = sum
	}
	return sums, nil
}

var commitID = regexp.MustCompile(`^(?:[0-9a-f]{40}|[0-9a-f]{64})$`)

// ownRevision reads what the Makefile says.
func ownRevision(commit string) *attest.Revision {
	id, dirty := strings.CutSuffix(commit, "-dirty")
	if !commitID.MatchString(id) {
		return nil
	}
	return &attest.Revision{Commit: id, Dirty: dirty}
}

// revisionOf is the commit of the repository that a folder is in, nil when it is
// in none, git is not installed or does not trust the repository's owner. What is
// ignored and the folder of the outputs do not make it dirty, but that ingot.yaml
// itself is ignored does. It does not depend on what the user has git show.
func revisionOf(ctx context.Context, dir, out string) *attest.Revision {
	id, err := git(ctx, dir, "rev-parse", "--verify", "HEAD")
	if err != nil || !commitID.MatchString(id) {
		return nil
	}
	folder, err := git(ctx, dir, "rev-parse", "--show-prefix")
	if err != nil {
		return nil
	}
	arguments := []string{"status", "--porcelain", "--untracked-files=normal", "--ignore-submodules=none", "--", "."}
	if inside, err := filepath.Rel(dir, out); err == nil && filepath.IsLocal(inside) && inside != "." {
		arguments = append(arguments, ":(exclude,literal)"+filepath.ToSlash(inside))
	}
	changes, err := git(ctx, dir, arguments...)
	if err != nil {
		return nil
	}
	_, untracked := git(ctx, dir, "ls-files", "--error-unmatch", "--", config.FileName)
	return &attest.Revision{Commit: id, Dirty: changes != "" || untracked != nil, Folder: strings.TrimSuffix(folder, "/")}
}

// git asks Git about a repository, and writes nothing to it. Where this runs in a
// hook or a script of Git's, the environment would name another one.
func git(ctx context.Context, dir string, arguments ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"--no-optional-locks", "-c", "core.fsmonitor=false"}, arguments...)...)
	cmd.Dir = dir
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "GIT_") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, "LC_ALL=C.UTF-8")
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", arguments[0], err)
	}
	return string(bytes.TrimSpace(out)), nil
}
