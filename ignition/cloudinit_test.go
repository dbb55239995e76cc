package ignition

import (
	"encoding/base64"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"ingot/layers"
)

// userData is the document as cloud-init would read it; the parser is not the
// one that wrote it.
type userData struct {
	Bootcmd    []any  `yaml:"bootcmd"`
	Runcmd     []any  `yaml:"runcmd"`
	Hostname   string `yaml:"hostname"`
	Users      []map[string]any
	WriteFiles []struct {
		Path, Owner, Permissions, Encoding, Content string
		Defer                                       bool
	} `yaml:"write_files"`
	Packages []string `yaml:"packages"`
}

func parsed(t *testing.T, doc []byte) userData {
	t.Helper()
	if !strings.HasPrefix(string(doc), "#cloud-config\n") {
		t.Fatalf("the first line is %.40q", doc)
	}
	keys := map[string]any{}
	if err := yaml.Unmarshal(doc, &keys); err != nil {
		t.Fatalf("%v in\n%s", err, doc)
	}
	for key := range keys {
		if !slices.Contains([]string{
			"allow_public_ssh_keys", "apt", "bootcmd", "disable_root", "hostname", "package_update", "package_upgrade",
			"packages", "power_state", "preserve_hostname", "runcmd", "users", "write_files",
		}, key) {
			t.Errorf("a value became the key %q", key)
		}
	}
	var u userData
	if err := yaml.Unmarshal(doc, &u); err != nil {
		t.Fatal(err)
	}
	return u
}

// hostile are values that mean something to YAML, to a shell, or to cloud-init.
var hostile = []string{
	"x\nruncmd:\n  - [reboot]\n", "'; reboot; '", "$(reboot)", "`reboot`", "\"; reboot #", "- a\n- b\n", "a: b: c # d", "%TAG ! x", "---\n...\n",
	"!!python/object/apply:os.system [reboot]", "&a *a", "yes", "0644", "1:30", "~", "\ttab\n", " leading\n  more\n", "trailing \n\n\n",
	"no line break", "carriage\r\nreturn\r\n", "\x00\x01\x7f", "\u0085next\u2028line\u2029", "\ufeffmark\n", "\xff\xfe", "{{ jinja }}\n", "## template: jinja\n#cloud-config\n", "é\n", "\U0001f511\n",
}

// Whatever a value is, cloud-init gets that value and nothing else changes.
func TestCloudInitHostileValues(t *testing.T) {
	t.Parallel()
	for _, value := range hostile {
		plan := merge(t, layer{name: "custom", Contribution: layers.Contribution{
			Image: layers.Fragment{
				Files: []layers.File{{Path: "/etc/hostile", Mode: 0o600, Contents: value}},
				Links: []layers.Link{{Path: "/etc/link", Target: "/" + strings.ReplaceAll(value, "\x00", "")}},
				Units: []layers.Unit{{Name: "hostile.service", Enabled: new(true), Contents: "[Service]\nExecStart=/bin/true\n#" + strings.ReplaceAll(strings.ReplaceAll(value, "\n", " "), "\r", " ") + "\n[Install]\nWantedBy=multi-user.target\n"}},
			},
			SealOnly:   []layers.SealOnly{{What: "file " + value, Why: value}},
			Removed:    []layers.Removal{{Pattern: "/opt/" + value}},
			Validators: []layers.Validator{{Argv: []string{"true", value}}, {Argv: []string{"true", value}, PrintsErrors: true}},
		}})
		doc, err := CloudInit(plan, nil)
		var found Findings
		if errors.As(err, &found) {
			continue // refused is fine as well
		}
		if err != nil {
			t.Fatalf("%q: %v", value, err)
		}
		u := parsed(t, doc)
		i := slices.IndexFunc(u.WriteFiles, func(f struct {
			Path, Owner, Permissions, Encoding, Content string
			Defer                                       bool
		}) bool {
			return f.Path == "/etc/hostile"
		})
		if got := decoded(t, u.WriteFiles[i].Encoding, u.WriteFiles[i].Content); got != value {
			t.Errorf("the content %q became %q", value, got)
		}
		if last := u.WriteFiles[len(u.WriteFiles)-1].Path; last != filesWritten {
			t.Errorf("the last file is %s", last)
		}
		arrives(t, u, "/"+strings.ReplaceAll(value, "\x00", ""), 1)
		arrives(t, u, "/opt/"+value, 1)
		arrives(t, u, value, 2)
	}
}

// arrives wants a value as a whole argument of so many steps.
func arrives(t *testing.T, u userData, value string, times int) {
	t.Helper()
	n := 0
	for _, step := range u.Runcmd {
		words, _ := step.([]any)
		if slices.Contains(words, any(value)) {
			n++
		}
	}
	if n != times {
		t.Errorf("%q is an argument of %d steps, want %d", value, n, times)
	}
}

func TestCloudInitRefuses(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]layers.Contribution{
		`layer bad: user a;reboot: cloud-init cannot make or use the account "a;reboot"`:                                       {Image: layers.Fragment{Users: []layers.User{{Name: "a;reboot"}}}},
		`layer bad: user x: cloud-init cannot make or use the account "-G"`:                                                    {Image: layers.Fragment{Users: []layers.User{{Name: "x", Groups: []string{"-G"}}}}},
		`layer bad: user x: a colon or a line break cannot be in passwd`:                                                       {Image: layers.Fragment{Users: []layers.User{{Name: "x", Gecos: "x:0:0"}}}},
		`layer bad: group A: cloud-init cannot make or use`:                                                                    {Image: layers.Fragment{Groups: []layers.Group{{Name: "A"}}}},
		`layer bad: kernel argument x: update-grub takes "x=$(reboot)" apart; a stock system cannot have it`:                   {Image: layers.Fragment{KernelArguments: []string{"x=$(reboot)"}}},
		`layer bad: file /etc/x: cloud-init cannot make or use the account "root:root"`:                                        {Image: layers.Fragment{Files: []layers.File{{Path: "/etc/x", User: "root:root"}}}},
		`"-oDpkg::Pre-Invoke::=reboot" is no name of a Debian package`:                                                         {Packages: []string{"-oDpkg::Pre-Invoke::=reboot"}},
		`layer bad: file /etc/x: it holds the secret nobody/declared, which no layer declares`:                                 {Instance: layers.Fragment{Files: []layers.File{{Path: "/etc/x", SecretSlot: "nobody/declared"}}}},
		`layer bad: file /etc/../x: the path is not plain`:                                                                     {Image: layers.Fragment{Files: []layers.File{{Path: "/etc/../x"}}}},
		`layer bad: directory /srv: cloud-init cannot make or use the account "nobody --parents"; use lower-case letters, dig`: {Image: layers.Fragment{Directories: []layers.Directory{{Path: "/srv", User: "nobody --parents"}}}},
	} {
		_, err := CloudInit(merge(t, layer{name: "bad", Contribution: c}), key)
		if err == nil || !strings.Contains(strings.Replace(err.Error(), "file /x:", "file /etc/../x:", 1), want) {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}

// Without secrets nothing of them is in the document, and the machine asks for
// them before it goes on.
func TestCloudInitSecrets(t *testing.T) {
	t.Parallel()
	for _, with := range []bool{false, true} {
		var secrets Secrets
		if with {
			secrets = key
		}
		doc, err := CloudInit(server(t), secrets)
		if err != nil {
			t.Fatal(err)
		}
		u := parsed(t, doc)
		there := false
		for _, f := range u.WriteFiles {
			if f.Path == "/etc/ingot/secrets/private-key" {
				there = true
				if f.Permissions != "0640" || f.Owner != "root:network" {
					t.Errorf("the secret is %s %s", f.Owner, f.Permissions)
				}
			}
		}
		if there != with {
			t.Errorf("with secrets %t: the secret is there %t", with, there)
		}
		arrives(t, u, "/etc/ingot/secrets/private-key", 1)
	}
}

// The foreign verifier, where it is installed; the test that boots a system
// has that of the system.
func TestCloudInitSchema(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("cloud-init")
	if err != nil {
		t.Skip("cloud-init is not installed here; the assay's TestCloudInit asks that of a Debian system")
	}
	doc, err := CloudInit(server(t), key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "user-data")
	if err := os.WriteFile(file, doc, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), program, "schema", "--config-file", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func decoded(t *testing.T, encoding, content string) string {
	t.Helper()
	if encoding == "" {
		return content
	}
	b, err := base64.StdEncoding.DecodeString(content)
	if err != nil || encoding != "b64" {
		t.Fatalf("encoding %q: %v", encoding, err)
	}
	return string(b)
}
