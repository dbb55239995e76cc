package ignition

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ingot/layers"
)

func TestSecretsIn(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		slot    string
		prepare func(t *testing.T, folder string)
		value   string
		err     string // with DIR for the folder of ingot.yaml
	}{
		"fine":            {"vpn/config", put("vpn/config", "one\ntwo\n", 0o600), "one\ntwo\n", ""},
		"read-only":       {"vpn/config", put("vpn/config", "x", 0o400), "x", ""},
		"missing":         {"vpn/config", put("vpn/other", "x", 0o600), "", "secret vpn/config (the tunnel): there is no DIR/secrets/vpn/config: file does not exist; put the value there with mode 0600"},
		"no folder":       {"vpn/config", nil, "", "there is no DIR/secrets/vpn/config"},
		"group may read":  {"vpn/config", put("vpn/config", "x", 0o640), "", "DIR/secrets/vpn/config has mode 0640 and others may read it; run chmod 0600 DIR/secrets/vpn/config"},
		"world may write": {"vpn/config", put("vpn/config", "x", 0o602), "", "mode 0602"},
		"empty":           {"vpn/config", put("vpn/config", "", 0o600), "", "is empty"},
		"a directory":     {"vpn", put("vpn/config", "x", 0o600), "", "not a regular file"},
		"a link": {"vpn", func(t *testing.T, folder string) {
			put("real", "x", 0o600)(t, folder)
			must(t, os.Symlink("real", filepath.Join(folder, "secrets", "vpn")))
		}, "", "not a regular file"},
		"a pipe": {"vpn", func(t *testing.T, folder string) {
			put("real", "x", 0o600)(t, folder)
			must(t, syscall.Mkfifo(filepath.Join(folder, "secrets", "vpn"), 0o600))
		}, "", "not a regular file"},
		"a folder that leads outside": {"vpn/config", func(t *testing.T, folder string) {
			outside := t.TempDir()
			must(t, os.WriteFile(filepath.Join(outside, "config"), []byte("x"), 0o600))
			must(t, os.Mkdir(filepath.Join(folder, "secrets"), 0o700))
			must(t, os.Symlink(outside, filepath.Join(folder, "secrets", "vpn")))
		}, "", "cannot be read"},
		"a slot that leads outside": {"../config", put("../config", "x", 0o600), "", "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if tc.prepare != nil {
				tc.prepare(t, dir)
			}
			value, err := SecretsIn(dir)(layers.SecretSlot{Name: tc.slot, Why: "the tunnel"})
			if string(value) != tc.value {
				t.Errorf("value %q, want %q", value, tc.value)
			}
			if tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.Contains(err.Error(), strings.ReplaceAll(tc.err, "DIR", dir))) {
				t.Errorf("error %v\nwant %s", err, tc.err)
			}
			if name == "missing" && !errors.Is(err, fs.ErrNotExist) {
				t.Error("a missing secret is not fs.ErrNotExist")
			}
		})
	}
}

func TestEveryMissingSecretIsNamed(t *testing.T) {
	t.Parallel()
	plan := merge(t, layer{"vpn", layers.Contribution{
		Instance: layers.Fragment{Files: []layers.File{{Path: "/etc/a", SecretSlot: "a"}, {Path: "/etc/b", SecretSlot: "b"}}},
		Identity: []string{"/etc/a", "/etc/b"},
		Secrets:  []layers.SecretSlot{{Name: "a"}, {Name: "b"}},
	}})
	dir := t.TempDir()
	_, err := Instance(plan, SecretsIn(dir))
	for _, p := range []string{"secrets/a", "secrets/b"} {
		if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, p)) {
			t.Errorf("%s is not named in: %v", p, err)
		}
	}
}

func put(name, value string, mode os.FileMode) func(*testing.T, string) {
	return func(t *testing.T, folder string) {
		t.Helper()
		must(t, os.MkdirAll(filepath.Join(folder, "secrets"), 0o700))
		p := filepath.Join(folder, "secrets", name)
		must(t, os.MkdirAll(filepath.Dir(p), 0o700))
		must(t, os.WriteFile(p, []byte(value), mode))
		must(t, os.Chmod(p, mode)) // whatever the umask
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
