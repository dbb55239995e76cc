package compose

import (
	"ingot/layers/vpn"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// quadlet is the generator's dry run over a translation's units. INGOT_QUADLET
// names it, with its arguments: that of Debian trixie on another system needs
// its own ld.so before it.
func quadlet(t *testing.T, units []File) (string, error) {
	t.Helper()
	argv := strings.Fields(os.Getenv("INGOT_QUADLET"))
	if len(argv) == 0 {
		const installed = "/usr/libexec/podman/quadlet"
		if _, err := os.Stat(installed); err != nil {
			t.Skipf("Podman's generator is not here: install podman 5.4, or name the generator with INGOT_QUADLET")
		}
		argv = []string{installed}
	}
	dir := t.TempDir()
	for _, u := range units {
		if err := os.WriteFile(filepath.Join(dir, u.Name), []byte(u.Contents), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), argv[0], append(argv[1:], "-dryrun")...)
	cmd.Env = append(os.Environ(), "QUADLET_UNIT_DIRS="+dir)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Podman's own generator takes every unit that is made, and makes of the words
// what they were in the compose file.
func TestQuadletTakesTheUnits(t *testing.T) {
	t.Parallel()
	for name, x := range goldens(t) {
		out, err := quadlet(t, x.Quadlets)
		if err != nil || strings.Contains(out, "converting ") || strings.Contains(out, "nsupported key") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		for _, u := range x.Quadlets {
			service := strings.TrimSuffix(u.Name, ".container")
			if n, ok := strings.CutSuffix(service, ".network"); ok {
				service = n + "-network"
			}
			if !strings.Contains(out, "---"+service+".service---") {
				t.Errorf("%s: no %s.service in\n%s", name, service, out)
			}
		}
		verifyUnits(t, out)
	}
}

// verifyUnits asks systemd about what the generator made.
func verifyUnits(t *testing.T, dryRun string) {
	t.Helper()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("systemd-analyze is not here: the units were not verified")
		return
	}
	dir := t.TempDir()
	var units []string
	for _, part := range strings.Split(dryRun, "\n---")[0:] {
		name, text, ok := strings.Cut(strings.TrimPrefix(part, "---"), "---\n")
		if !ok || !strings.HasSuffix(name, ".service") {
			continue
		}
		// Programs that are not on this machine.
		text = strings.ReplaceAll(text, "/usr/bin/podman", "/bin/true")
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		units = append(units, file)
	}
	if len(units) == 0 {
		t.Fatalf("no units in\n%s", dryRun)
	}
	for _, name := range []string{vpn.NamespaceUnit, vpn.LinkUnit} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("[Service]\nType=oneshot\nExecStart=/bin/true\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), analyze, append([]string{"verify", "--man=no", "--recursive-errors=no"}, units...)...)
	cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":")
	if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), dir) {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// The generator is asked something: it refuses what is wrong.
func TestQuadletRefuses(t *testing.T) {
	t.Parallel()
	out, err := quadlet(t, []File{{Name: "a.container", Contents: "[Container]\nImage=a\nNovelty=b\n"}})
	if err == nil || !strings.Contains(out, "nsupported key") {
		t.Errorf("%v: %s", err, out)
	}
}
