package docs

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"ingot/layers"
	"ingot/layers/custom"
)

// TestChecksOfCustomLayers loads the examples of checks.yaml in
// custom-layers.md, and wants every verb to be in one.
func TestChecksOfCustomLayers(t *testing.T) {
	t.Parallel()
	blocks := regexp.MustCompile(`(?m)^    checks:\n(?:      .*\n)+`).FindAllString(read(t, "custom-layers.md"), -1)
	if len(blocks) < 2 {
		t.Fatalf("%d examples", len(blocks))
	}
	for _, b := range blocks {
		text := strings.ReplaceAll("\n"+b, "\n    ", "\n")
		if n := load(t, text); n != strings.Count(text, "- id: ") {
			t.Errorf("%d checks were read from\n%s", n, text)
		}
	}
	all := strings.Join(blocks, "")
	check := custom.Types()[custom.ChecksName].Field(0).Type.Elem()
	for i := range check.NumField() {
		f := check.Field(i)
		verb := f.Tag.Get("yaml")
		if f.Type.Kind() == reflect.Pointer && !regexp.MustCompile(`(?m)^        `+verb+`:`).MatchString(all) {
			t.Errorf("no example has the verb %s", verb)
		}
	}
}

// load returns how many checks a layer with this checks.yaml has.
func load(t *testing.T, checks string) int {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{custom.ConfigName: "variant: fcos\n", custom.ChecksName: checks} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	l, _, findings, err := custom.Load("custom/my-app", root, "my-app")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		t.Errorf("%v", f)
	}
	return len(l.Contribute(layers.Site{}).Checks)
}
