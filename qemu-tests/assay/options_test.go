package assay

import (
	"archive/tar"
	"bytes"
	"errors"
	"net"
	"net/netip"
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
	"ingot/qemu-tests/internet"
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
	turn(t, image(t), 0)
	passes(t, buildEverything(t, "pages"))
}

// What is in the VPN namespace cannot leak: beside the download, a program sends
// wherever it can from its first moment on. The server is the same in all else, so
// that most of the build is shared.
func TestLeak(t *testing.T) {
	turn(t, image(t), 1)
	cannotLeak(t, buildEverything(t, "leak",
		"profiles: [web]", "profiles: [leak]", "services: [pages]", "services: [leak]",
		"{image: localhost/pages, archive: pages}", "{image: localhost/leak, archive: leak}",
		"      - {image: localhost/app, packages: [busybox-static]}\n", "",
		"    allow: [{service: app, what: cap_add=NET_BIND_SERVICE, why: it listens on port 80}]\n", ""))
}

// buildEverything builds the server with every option, changed from one text to
// another in its ingot.yaml, and the archive of one of its images.
func buildEverything(t *testing.T, archive string, change ...string) built {
	t.Helper()
	image(t) // its lock, its cache
	folder := t.TempDir()
	if err := os.CopyFS(folder, os.DirFS(everything)); err != nil {
		t.Fatal(err)
	}
	writeArchive(t, filepath.Join(folder, archive), archive)
	file := filepath.Join(folder, config.FileName)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for pair := range slices.Chunk(change, 2) {
		if !bytes.Contains(text, []byte(pair[0])) {
			t.Fatalf("%s has no %q", file, pair[0])
		}
		text = bytes.ReplaceAll(text, []byte(pair[0]), []byte(pair[1]))
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := buildFolder(t.Context(), folder, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func passes(t *testing.T, b built) {
	v, err := Run(t.Context(), Options{
		Image: b.Image, Site: b.loaded.Plan.Site, Layers: b.loaded.Layers, Locked: b.Digests,
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
	for _, id := range []string{"wireguard.through", "wireguard.dns", "containers.confined", "containers.digests", "vpn.page-18081", "ssh.certificate.alice", "ssh.certificate-expired.clawadmin", "nftables.egress", "vpn.exit", "vpn.page-9093"} {
		if !slices.ContainsFunc(v.Checks, func(c verdict.Result) bool { return c.ID == id }) {
			t.Errorf("there is no check %s", id)
		}
	}
}

// cannotLeak plays the download with a program in the VPN namespace that sends
// wherever it can from its first moment on. The same program in an ordinary
// container is seen.
func cannotLeak(t *testing.T, b built) {
	lab, id := newLab(t, b)
	lab.dir = filepath.Join(lab.dir, "standard")
	r := &run{opts: Options{Image: b.Image, Dir: lab.dir}, lab: lab, id: id, moment: &moment{}}
	r.out = newRecord(r.opts, choice{})
	s, err := newScene(r, "leak")
	if err != nil {
		t.Fatal(err)
	}
	defer s.end()
	s.restarts = 2
	inside, err := s.lab.Internet.Listen(netip.MustParseAddrPort("45.77.95.1:443"))
	if err != nil {
		t.Fatal(err)
	}
	arrived := make(chan net.Addr, 1)
	go func() {
		if conn, err := inside.Accept(); err == nil {
			arrived <- conn.RemoteAddr()
			conn.Close()
		}
	}()
	evidence, err := playDownload(t.Context(), s)
	t.Logf("%s", evidence)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case from := <-arrived:
		if a, err := netip.ParseAddrPort(from.String()); err != nil || !isExit(a.Addr()) {
			t.Errorf("what is in the VPN namespace is seen as %v", from)
		}
	default:
		t.Error("the program in the VPN namespace did not send: that nothing of it leaks proves nothing")
	}
	open := netip.MustParsePrefix("192.0.2.0/24")
	seen, err := s.lab.Internet.Count(s.machine.mark, func(f internet.Frame) bool { return open.Contains(destination(f)) })
	if err != nil || seen == 0 {
		t.Errorf("%d packets of the same program in an ordinary container, %v", seen, err)
	}
	t.Logf("%d packets of the same program in an ordinary container", seen)
}

// writeArchive makes an OCI layout with an image of one program below testdata.
func writeArchive(t *testing.T, dir, name string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), name)
	compile := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", program, "./testdata/"+name)
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
	err = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(content))})
	if err == nil {
		_, err = w.Write(content)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	oci := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.AppendLayers(oci, static.NewLayer(archive.Bytes(), types.OCIUncompressedLayer))
	if err == nil {
		image, err = mutate.Config(image, v1.Config{Entrypoint: []string{"/" + name}, User: "10001:10001"})
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
