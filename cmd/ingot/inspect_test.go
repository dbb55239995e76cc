package main

import (
	"encoding/json"
	"strings"
	"testing"

	"ingot/images/inspect"
)

// inspected: the image's bytes say what was built, and one that differs in a bit
// is not what was sealed.
func (s server) inspected(t *testing.T) {
	look := func(args ...string) outcome {
		return finish(t, ingot(t, s.cache, append(args, "--json")...))
	}
	var image inspect.Image
	whole := look("inspect", s.dir)
	if err := json.Unmarshal([]byte(whole.stdout), &image); err != nil || whole.code != exitFine {
		t.Fatalf("inspect ended with %d (%v): %s", whole.code, err, whole.stderr)
	}
	if image.SHA256 != s.result.SHA256 || image.RootHash != s.result.RootHash || image.Bytes != s.result.Bytes || image.Broken != "" {
		t.Errorf("inspect says sha256 %s, root hash %s, %d bytes, broken %q; the build said %+v", image.SHA256, image.RootHash, image.Bytes, image.Broken, s.result)
	}
	if len(image.Packages) < 100 || len(image.Files) < 5000 || len(image.Units) == 0 || len(image.Ports) != 3 {
		t.Errorf("%d packages, %d files, %d units, ports %v", len(image.Packages), len(image.Files), len(image.Units), image.Ports)
	}

	var d inspect.Diff
	if out := look("diff", s.dir, s.result.Image, "--exit-code"); json.Unmarshal([]byte(out.stdout), &d) != nil || out.code != exitFine || !d.Same || !d.Alike() {
		t.Errorf("diff of an image with itself ended with %d: %s", out.code, out.stderr)
	}
	// EROFS leaves the first 1024 bytes to boot loaders: only the hash tree sees them.
	flip(t, s.result.Image, image.Partitions[3].Start)
	defer flip(t, s.result.Image, image.Partitions[3].Start)
	if out := look("inspect", s.dir); out.code != exitChecks || !strings.Contains(out.stderr, "is not what was sealed: block 0 of the root") {
		t.Errorf("inspect of a changed image ended with %d: %s", out.code, out.stderr)
	}
}
