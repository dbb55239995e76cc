package assay

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	ocilayout "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"ingot/config"
	"ingot/layers/system"
	"ingot/qemu-tests/report"
	"ingot/qemu-tests/verdict"
	"ingot/qemu-tests/vm"
)

// everything is a server with every option there is, most of them not at their
// defaults: certificates, keys in tokens alone, SSH exposed, egress by an
// allowlist, a full tunnel of both families with a shared key, the resolver for
// peers, lockdown for confidentiality.
const everything = "../../config/testdata/complete"

// Options promise something, too, and the same assay proves it.
func TestEveryOption(t *testing.T) {
	image(t) // its lock, its cache
	folder := t.TempDir()
	if err := os.CopyFS(folder, os.DirFS(everything)); err != nil {
		t.Fatal(err)
	}
	writeArchive(t, filepath.Join(folder, "pages"))
	b, err := buildFolder(t.Context(), folder, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	v, err := Run(t.Context(), Options{
		Image: b.Image, Site: b.loaded.Plan.Site, Layers: b.loaded.Layers,
		Toolchain: vm.Toolchain{Root: b.Tools, Kernel: b.Kernel}, Dir: artefacts(t), Cache: exampleDir, Firmware: vm.BIOS,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Text(os.Stdout, v, report.TextOptions{}); err != nil {
		t.Fatal(err)
	}
	if v.Verdict != verdict.Passed {
		t.Errorf("the verdict is %s", v.Verdict)
	}
	// What nobody else tries is there.
	for _, id := range []string{"wireguard.through", "wireguard.dns", "containers.confined", "containers.pages.port-18081", "ssh.certificate.alice", "ssh.certificate-expired.clawadmin", "nftables.egress"} {
		if !slices.ContainsFunc(v.Checks, func(c verdict.Result) bool { return c.ID == id }) {
			t.Errorf("there is no check %s", id)
		}
	}
}

// writeArchive makes an OCI layout with an image of one program.
func writeArchive(t *testing.T, dir string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "pages")
	compile := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", program, "./testdata/pages")
	compile.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	err = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "pages", Mode: 0o755, Size: int64(len(content))})
	if err == nil {
		_, err = w.Write(content)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	oci := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.AppendLayers(oci, static.NewLayer(archive.Bytes(), types.OCIUncompressedLayer))
	if err == nil {
		image, err = mutate.Config(image, v1.Config{Entrypoint: []string{"/pages"}, User: "10001:10001"})
	}
	if err != nil {
		t.Fatal(err)
	}
	layout, err := ocilayout.Write(dir, empty.Index)
	if err == nil {
		err = layout.AppendImage(image)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A check that was never seen failing is none: all have a way to be.
func TestEveryCheckHasASabotage(t *testing.T) {
	t.Parallel()
	for _, folder := range []string{"../../examples/openclaw", "../../examples/web", everything} {
		loaded, findings, err := config.Load(folder, system.Layer{})
		if err != nil || len(findings) > 0 {
			t.Fatal(errors.Join(err, config.Render(os.Stderr, findings)))
		}
		for _, c := range catalogue(loaded.Plan) {
			if c.sabotage == "" {
				t.Errorf("%s: no sabotage for %s", folder, c.id)
			}
		}
	}
}
