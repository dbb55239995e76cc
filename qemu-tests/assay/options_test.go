package assay

import (
	"errors"
	"os"
	"slices"
	"testing"

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
	b, err := buildFolder(t.Context(), everything, t.TempDir(), nil)
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
	for _, id := range []string{"wireguard.through", "wireguard.dns", "ssh.certificate.alice", "ssh.certificate-expired.clawadmin", "nftables.egress"} {
		if !slices.ContainsFunc(v.Checks, func(c verdict.Result) bool { return c.ID == id }) {
			t.Errorf("there is no check %s", id)
		}
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
