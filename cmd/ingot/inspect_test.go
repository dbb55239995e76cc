package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/github/go-spdx/v2/spdxexp"

	"ingot/images/inspect"
	"ingot/images/sbom"
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

	bill, err := image.Bill()
	if err != nil || len(bill.Components) < 200 {
		t.Errorf("%d components are listed in the image: %v", len(bill.Components), err)
	}
	for _, c := range bill.Components {
		if ok, _ := spdxexp.ValidateLicenses([]string{c.Licence}); !ok && c.Licence != "" {
			t.Errorf("%s has the licence %q, which SPDX does not know", c.Name, c.Licence)
		}
	}
	if len(image.Kernel.Config) != 64 {
		t.Errorf("the kernel's configuration has the digest %q", image.Kernel.Config)
	}
	s.scanned(t)
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

// scanned: an image in a folder of its own is scanned by the list in it, which is
// the one that the build wrote beside the image.
func (s server) scanned(t *testing.T) {
	alone := filepath.Join(t.TempDir(), "alone.raw")
	if err := os.Link(s.result.Image, alone); err != nil {
		t.Fatal(err)
	}
	database := t.TempDir()
	write(t, filepath.Join(database, "Debian", "CVE-1.json"), `{"id": "CVE-2026-0001", "affected": [{"package": {"ecosystem": "Debian:13", "name": "linux"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}]}]}`)
	write(t, filepath.Join(database, "Go", "GO-1.json"), `{"id": "GO-2026-0001", "affected": [{"package": {"ecosystem": "Go", "name": "stdlib"}, "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}]}]}]}`)
	scan := func(subject string) scanned {
		out := finish(t, ingot(t, s.cache, "scan", "--offline", database, "--fail-on", "unrated", "--json", subject))
		var found scanned
		if err := json.Unmarshal([]byte(out.stdout), &found); err != nil || out.code != exitChecks || len(found.Findings) < 2 {
			t.Fatalf("scan of %s ended with %d (%v): %s %s", subject, out.code, err, out.stdout, out.stderr)
		}
		found.Subject = ""
		return found
	}
	if image, beside := scan(alone), scan(filepath.Join(s.dir, "build", sbom.CycloneDXFile)); !reflect.DeepEqual(image, beside) {
		t.Errorf("in the image %+v are found, and by the list beside it %+v", image, beside)
	}
}
