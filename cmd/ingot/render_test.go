package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	butane "github.com/coreos/butane/config"
	"github.com/coreos/butane/config/common"

	"ingot/ignition/ignitiontest"
)

// exampleWithSecrets is a copy of the example with a value for its one slot.
func exampleWithSecrets(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	config, err := os.ReadFile("../../examples/openclaw/ingot.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"ingot.yaml": config, "secrets/wireguard/private-key": []byte("4GJQ0lkIcaaDeuTUOTFiFhdlw8cvLuFbEjmSjhTrLFs=\n"),
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// renderedExample is a rendering of the example as the command line gives it.
func renderedExample(t *testing.T, args ...string) []byte {
	t.Helper()
	var out, problems bytes.Buffer
	if code := run(t.Context(), append(append([]string{"render"}, args...), exampleWithSecrets(t)), &out, &problems); code != 0 {
		t.Fatalf("exit %d: %s", code, &problems)
	}
	return out.Bytes()
}

// Ignition's own validator has nothing to say about the example.
func TestRenderIgnitionIsValid(t *testing.T) {
	t.Parallel()
	program := ignitiontest.Validator(t)
	for _, args := range [][]string{{"ignition"}, {"ignition", "--instance"}, {"ignition", "--stock", "--with-packages"}} {
		cmd := exec.CommandContext(t.Context(), program, "-")
		cmd.Stdin = bytes.NewReader(renderedExample(t, args...))
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("render %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	broken := exec.CommandContext(t.Context(), program, "-")
	broken.Stdin = strings.NewReader(`{"ignition": {"version": "3.6.0"}, "storage": {"files": [{"path": "relative"}]}}`)
	if out, err := broken.CombinedOutput(); err == nil {
		t.Errorf("the validator takes a relative path: %s", out)
	}
}

// Butane's translator, asked to be strict, makes of the one rendering the
// other.
func TestRenderButaneIsStrict(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"--instance"}, {"--stock", "--with-packages"}} {
		doc := renderedExample(t, append([]string{"butane"}, args...)...)
		got, report, err := butane.TranslateBytes(doc, common.TranslateBytesOptions{
			Pretty: true, TranslateOptions: common.TranslateOptions{NoResourceAutoCompression: true},
		})
		if err != nil || len(report.Entries) > 0 {
			t.Fatalf("butane %v: %v\n%s", args, err, report.String())
		}
		want := renderedExample(t, append([]string{"ignition"}, args...)...)
		if !bytes.Equal(bytes.TrimSpace(got), bytes.TrimSpace(want)) {
			t.Errorf("butane %v translates to\n%s\nand render ignition gives\n%s", args, got, want)
		}
	}
}
