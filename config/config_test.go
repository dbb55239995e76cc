package config_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ingot/config"
	"ingot/layers"
	"ingot/layers/system"
)

var update = flag.Bool("update", false, "write the golden files anew")

const example = "../examples/openclaw"

func load(t *testing.T, path string) (config.Loaded, []config.Finding) {
	t.Helper()
	loaded, findings, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return loaded, findings
}

// project writes an ingot.yaml and more files into a folder of its own.
func project(t *testing.T, yaml string, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, config.FileName), yaml)
	for name, content := range files {
		write(t, filepath.Join(dir, name), content)
	}
	return dir
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

func exampleText(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(example, config.FileName))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// replace is strings.Replace that fails when there is nothing to replace.
func replace(t *testing.T, text, old, new string) string {
	t.Helper()
	if !strings.Contains(text, old) {
		t.Fatalf("%q is not in the text", old)
	}
	return strings.Replace(text, old, new, 1)
}

func rendered(t *testing.T, findings []config.Finding) string {
	t.Helper()
	var b bytes.Buffer
	if err := config.Render(&b, findings); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		write(t, file, got)
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; go test -update writes it", err)
	}
	if got != string(want) {
		t.Errorf("%s differs\n--- got\n%s--- want\n%s", file, got, want)
	}
}

func TestBroken(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/broken/*.yaml")
	if err != nil || len(files) < 240 {
		t.Fatalf("%d broken files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			_, findings := load(t, file)
			if len(findings) == 0 {
				t.Fatal("nothing was found")
			}
			for _, f := range findings {
				if f.Line < 1 || f.Column < 1 || f.Message == "" || f.Advice == "" || f.File == "" {
					t.Errorf("incomplete finding: %#v", f)
				}
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".golden", rendered(t, findings))
		})
	}
}

// No finding may show a secret: findings end up in the logs of build machines.
func TestBrokenShowsNoSecrets(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/broken/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	holding := 0
	for _, file := range files {
		_, findings := load(t, file)
		text := rendered(t, findings)
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{exampleWireGuardPrivate, exampleSSHPrivate, exampleVerdictPrivate, "hunter2"} {
			if strings.Contains(string(raw), secret) {
				holding++
			}
			if strings.Contains(text, secret) {
				t.Errorf("%s: the secret is shown:\n%s", file, text)
			}
		}
	}
	if holding < 6 {
		t.Errorf("only %d files hold a secret", holding)
	}
}

// Keys that nothing uses, made for this test.
const (
	exampleWireGuardPrivate = "kG6yFm8UkwJA/xpBuxYC5r8hCfBM6CuZs8en6K18zHY="
	exampleSSHPrivate       = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW"
	exampleVerdictPrivate   = "IDtw+ci+FsnqC43tcbeNNuuIdgXm0RM/Dxdl1KsdFN1b"
)

func TestExample(t *testing.T) {
	t.Parallel()
	loaded, findings := load(t, example)
	if len(findings) > 0 {
		t.Fatal(rendered(t, findings))
	}
	plan := loaded.Plan
	if plan.Site.Name != "openclaw" || plan.Site.Hostname != "openclaw" || plan.Site.Suite != "trixie" || plan.Site.SlotBytes != 2<<30 {
		t.Errorf("site: %+v", plan.Site)
	}
	var table []string
	for _, p := range plan.Ports {
		table = append(table, string(p.From)+" "+p.Proto+" "+p.Layer+" "+p.Why)
	}
	want := "internet tcp nftables HTTPS reverse proxy|internet udp wireguard WireGuard|wireguard tcp ssh SSH for clawadmin"
	if got := strings.Join(table, "|"); got != want {
		t.Errorf("port table %q, want %q", got, want)
	}
	if len(loaded.Layers) != 10 || len(loaded.Layers) != len(plan.LayerNames) {
		t.Errorf("%d layers, named %v", len(loaded.Layers), plan.LayerNames)
	}
	if at := loaded.Positions["ssh"]; at != (config.Position{Line: 15, Column: 3}) {
		t.Errorf("ssh is at %v", at)
	}
}

func TestLoadErrors(t *testing.T) {
	t.Parallel()
	if _, _, err := config.Load(t.TempDir()); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "examples/openclaw") {
		t.Errorf("no file: %v", err)
	}
	if _, _, err := config.Load(filepath.Join(t.TempDir(), "no", "folder")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, config.FileName), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, _, err := config.Load(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a folder: %v", err)
	}
}

// What the machine-readable form must keep (DESIGN §11).
func TestFindingJSON(t *testing.T) {
	t.Parallel()
	_, findings := load(t, project(t, "name: [\n", nil))
	got, err := json.Marshal(findings[0])
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(got, &fields); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"file", "line", "column", "message", "advice"} {
		if _, ok := fields[key]; !ok {
			t.Errorf("%s is missing in %s", key, got)
		}
		delete(fields, key)
	}
	if len(fields) > 0 {
		t.Errorf("unexpected: %v", fields)
	}
}

// The same text in every shape that editors save: the plan must not notice.
func TestSameMeaning(t *testing.T) {
	t.Parallel()
	text := exampleText(t)
	want, _ := load(t, example)
	for name, variant := range map[string]string{
		"BOM":   "\ufeff" + text,
		"CRLF":  strings.ReplaceAll(text, "\n", "\r\n"),
		"end":   strings.TrimSpace(text),
		"dots":  "---\n" + text + "...\n",
		"list":  listed(t, text),
		"empty": replace(t, text, "  ssh: {}", "  ssh:"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, findings := load(t, project(t, variant, nil))
			if len(findings) > 0 {
				t.Fatal(rendered(t, findings))
			}
			if a, b := encode(t, got.Plan), encode(t, want.Plan); a != b {
				t.Errorf("the plan differs\n%s\n%s", a, b)
			}
		})
	}
}

// listed writes the mapping below "layers:", the last of the file, as a list.
func listed(t *testing.T, text string) string {
	t.Helper()
	before, after, found := strings.Cut(text, "\nlayers:\n")
	if !found {
		t.Fatal("the text has no layers")
	}
	item := regexp.MustCompile(`(?m)^  ([a-z])`)
	deeper := regexp.MustCompile(`(?m)^    `)
	after = item.ReplaceAllString(deeper.ReplaceAllString(after, "        "), "  - $1")
	return before + "\nlayers:\n" + strings.ReplaceAll(after, ": {}\n", "\n")
}

func encode(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Instance options must never reach the image: one image serves many servers.
func TestInstanceStaysOutOfImage(t *testing.T) {
	t.Parallel()
	base, _ := load(t, example)
	for name, change := range map[string][2]string{
		"hostname": {"name: openclaw\n", "name: openclaw\nhostname: claw2.example.com\n"},
		"key":      {" laptop\n", " desktop\n"},
		"address":  {"10.8.0.1/24", "10.8.0.3/24"},
		"peer":     {"name: laptop", "name: phone, presharedKey: true"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, findings := load(t, project(t, replace(t, exampleText(t), change[0], change[1]), nil))
			if len(findings) > 0 {
				t.Fatal(rendered(t, findings))
			}
			if encode(t, got.Plan.Image) != encode(t, base.Plan.Image) {
				t.Error("the image changed")
			}
			if encode(t, got.Plan.Identity) != encode(t, base.Plan.Identity) {
				t.Error("the list of what an identity may hold changed")
			}
			if encode(t, got.Plan.Instance) == encode(t, base.Plan.Instance) && got.Plan.Site.Hostname == base.Plan.Site.Hostname {
				t.Error("the instance did not change")
			}
		})
	}
}

// A peer that comes or goes is a new instance config and nothing else.
func TestPeersStayOutOfImage(t *testing.T) {
	t.Parallel()
	const laptop = "      - {name: laptop, address: 10.8.0.2, publicKey: c8rjWkBU97aluuFEv5nHSQpHqLiXjG6ooLm7EOC0pAE=}\n"
	base, _ := load(t, example)
	for name, peers := range map[string]string{
		"one more":  laptop + "      - {name: phone, address: 10.8.0.3, publicKey: G9ZfTu5d0ico/s7MklvkkeJVqfS4NgEdkVELx1+w6yw=, presharedKey: true, keepalive: 25}\n",
		"another":   "      - {name: phone, address: 10.8.0.3, publicKey: G9ZfTu5d0ico/s7MklvkkeJVqfS4NgEdkVELx1+w6yw=}\n",
		"IPv6":      replace(t, laptop, "10.8.0.2", "10.8.0.2, address6: fd00:8::2") + "    address6: fd00:8::1/64\n",
		"other MTU": laptop + "    mtu: 1300\n",
		"endpoint":  laptop + "    endpoint: claw.example.com\n",
	} {
		got, findings := load(t, project(t, replace(t, exampleText(t), laptop, peers), nil))
		if len(findings) > 0 {
			t.Fatal(rendered(t, findings))
		}
		if name != "endpoint" && encode(t, got.Plan.Instance) == encode(t, base.Plan.Instance) {
			t.Errorf("%s: the instance did not change", name)
		}
		if a, b := encode(t, imagePart(got.Plan)), encode(t, imagePart(base.Plan)); a != b {
			t.Errorf("%s: the image changed\n%s\n%s", name, a, b)
		}
	}
}

// imagePart is a plan without what belongs to one server: its files, its
// secrets, and what is looked at there.
func imagePart(p layers.Plan) layers.Plan {
	p.Instance, p.Secrets, p.Checks, p.Tunnels, p.Owner = layers.Fragment{}, nil, nil, nil, nil
	return p
}

// Image options must reach the image.
func TestImageOptionsReachImage(t *testing.T) {
	t.Parallel()
	base, _ := load(t, example)
	for name, change := range map[string][2]string{
		"user":       {"user: clawadmin", "user: other"},
		"sshPort":    {"ssh: {}", "ssh: {port: 2222}"},
		"tries":      {"ssh: {}", "ssh: {maxAuthTries: 5}"},
		"allow":      {"port: 443", "port: 8443"},
		"why":        {"HTTPS reverse proxy", "the API"},
		"ping":       {"  nftables:\n", "  nftables:\n    ping: true\n"},
		"sysctl":     {"sysctl: {}", "sysctl: {set: {kernel.sysrq: 176}}"},
		"lockdown":   {"kernel: {}", "kernel: {lockdown: off}"},
		"ia32":       {"kernel: {}", "kernel: {ia32: true}"},
		"module":     {"kernel: {}", "kernel: {allow: [udf]}"},
		"without":    {"kernel: {}", "kernel: {without: [debugfs]}"},
		"listenPort": {"    address: 10.8", "    listenPort: 51821\n    address: 10.8"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, findings := load(t, project(t, replace(t, exampleText(t), change[0], change[1]), nil))
			if len(findings) > 0 {
				t.Fatal(rendered(t, findings))
			}
			if encode(t, got.Plan.Image) == encode(t, base.Plan.Image) {
				t.Error("the image did not change")
			}
		})
	}
}

// Everything the instance writes must be allowed by the identity patterns, or
// the machine refuses its own identity.
func TestIdentityCoversInstance(t *testing.T) {
	t.Parallel()
	loaded, _ := load(t, project(t, replace(t, exampleText(t), "name: laptop", "name: laptop, presharedKey: true"), nil))
	if len(loaded.Plan.Instance.Files) != 5 {
		t.Fatalf("%d instance files, want 5", len(loaded.Plan.Instance.Files))
	}
	for _, f := range loaded.Plan.Instance.Files {
		allowed := false
		for _, pattern := range loaded.Plan.Identity {
			match, err := filepath.Match(pattern, f.Path)
			if err != nil {
				t.Fatal(err)
			}
			allowed = allowed || match
		}
		if !allowed {
			t.Errorf("%s is not in the identity list %v", f.Path, loaded.Plan.Identity)
		}
	}
}

func TestDigest(t *testing.T) {
	t.Parallel()
	text := replace(t, exampleText(t), "  sysctl: {}", "  sysctl: {}\n  custom: [./layers/app]")
	files := map[string]string{
		"layers/app/config.bu":      "storage:\n  files:\n    - path: /etc/app.conf\n      contents: {local: app.conf}\n",
		"layers/app/files/app.conf": "a = 1\n",
	}
	first, findings := load(t, project(t, text, files))
	if len(findings) > 0 {
		t.Fatal(rendered(t, findings))
	}
	again, _ := load(t, project(t, text, files))
	if first.Digest != again.Digest || len(first.Digest) != 64 {
		t.Errorf("the digest depends on the folder: %s, %s", first.Digest, again.Digest)
	}
	files["layers/app/files/app.conf"] = "a = 2\n"
	changed, _ := load(t, project(t, text, files))
	if changed.Digest == first.Digest {
		t.Error("a changed file does not change the digest")
	}
}

// fakeLayer stands for the layers that a caller adds.
type fakeLayer struct{ files []layers.File }

func (fakeLayer) Name() string                          { return "fake" }
func (fakeLayer) Validate(layers.Site) []layers.Finding { return nil }
func (f fakeLayer) Contribute(layers.Site) layers.Contribution {
	return layers.Contribution{Image: layers.Fragment{Files: f.files}}
}

func TestAlwaysOnConflict(t *testing.T) {
	t.Parallel()
	always := fakeLayer{files: []layers.File{{Path: "/etc/ssh/sshd_config"}}}
	_, findings, err := config.Load(example, always)
	if err != nil {
		t.Fatal(err)
	}
	if len(findings) != 1 || findings[0].Line != 15 || !strings.Contains(findings[0].Message, "fake and ssh both claim file /etc/ssh/sshd_config") {
		t.Errorf("findings: %s", rendered(t, findings))
	}
}

// "If you can't explain why a port is open, it shouldn't be" (field notes
// §2.3): so it is with everything that a layer brings.
func TestEverythingHasAReason(t *testing.T) {
	t.Parallel()
	loaded, findings, err := config.Load(example, system.Layer{})
	if err != nil || len(findings) > 0 {
		t.Fatal(err, rendered(t, findings))
	}
	plan := loaded.Plan
	reasons := 0
	want := func(why, what, name string) {
		reasons++
		if why == "" || strings.ContainsAny(why, "\n\r") {
			t.Errorf("%s %s has the reason %q, want one line", what, name, why)
		}
	}
	for _, f := range slices.Concat(plan.Image.Files, plan.Instance.Files) {
		want(f.Why, "file", f.Path)
	}
	for _, u := range plan.Image.Units {
		want(u.Why, "unit", u.Name)
	}
	for _, p := range plan.Ports {
		want(p.Why, "port", fmt.Sprintf("%s/%d", p.Proto, p.Port))
	}
	for _, s := range plan.State {
		want(s.Why, "state", s.Path)
	}
	for _, s := range plan.SUID {
		want(s.Why, "set-ID file", s.Path)
	}
	for _, r := range plan.Removed {
		want(r.Why, "removal", r.Pattern)
	}
	for _, s := range plan.Secrets {
		want(s.Why, "secret", s.Name)
	}
	for _, e := range plan.Egress {
		want(e.Why, "egress", fmt.Sprintf("%s/%d", e.Proto, e.Port))
	}
	if reasons < 60 {
		t.Errorf("only %d reasons were looked at", reasons)
	}
}
