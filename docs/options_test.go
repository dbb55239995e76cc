// Package docs holds no program: only the tests that keep these pages true.
package docs

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ingot/layers"
	"ingot/layers/kernel"
	"ingot/layers/sysctl"
)

// Tables of options are written from the types, into layers/: a second one by
// hand would grow old.
func TestOptionsAreInTheirPages(t *testing.T) {
	t.Parallel()
	if row := regexp.MustCompile("(?m)^\\| `layers\\..*$").FindString(read(t, "configuration.md")); row != "" {
		t.Errorf("configuration.md has %q: write it as the doc comment of the option and run go test ./config -update", row)
	}
}

// TestSysctlDefaults compares the list in configuration.md with the layer's.
func TestSysctlDefaults(t *testing.T) {
	t.Parallel()
	var got, want []string
	line := regexp.MustCompile(`(?m)^    ([a-z0-9_.]+ = .+)$`)
	for _, m := range line.FindAllStringSubmatch(read(t, "configuration.md"), -1) {
		got = append(got, m[1])
	}
	for _, c := range (sysctl.Layer{}).Contribute(layers.Site{}).Checks {
		if c.Sysctl != nil {
			want = append(want, c.Sysctl.Key+" = "+c.Sysctl.Value)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("configuration.md has\n%s\nthe layer has\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestKernelDefaults wants every argument and module in configuration.md.
func TestKernelDefaults(t *testing.T) {
	t.Parallel()
	_, section, _ := strings.Cut(read(t, "configuration.md"), "\n## layers.kernel\n")
	section, _, _ = strings.Cut(section, "\n## ")
	image := (kernel.Layer{}).Contribute(layers.Site{}).Image
	names := slices.Clone(image.KernelArguments)
	for _, m := range regexp.MustCompile(`(?m)^install (\S+) `).FindAllStringSubmatch(image.Files[0].Contents, -1) {
		names = append(names, m[1])
	}
	if len(names) < 100 {
		t.Fatalf("only %d names were found", len(names))
	}
	for _, name := range names {
		if !regexp.MustCompile(`(^|[ |])` + regexp.QuoteMeta(name) + `([ ,\n]|$)`).MatchString(section) {
			t.Errorf("%s is not in the section layers.kernel", name)
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
