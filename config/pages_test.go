package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ingot/layers"
	"ingot/layers/system"
)

const pagesDir = "../docs/layers"

// currentPages are made from the types, not from what is embedded, which is a
// run older under -update.
func currentPages(t *testing.T) (map[string][]byte, error) {
	t.Helper()
	_, text := generated(t, FileName)
	return pagesFrom(text, []layers.Layer{system.Layer{}})
}

func TestPagesAreCurrent(t *testing.T) {
	want, err := currentPages(t)
	if err != nil {
		t.Fatal(err)
	}
	if updating() {
		writePages(t, want)
	}
	for name, text := range want {
		got, err := os.ReadFile(filepath.Join(pagesDir, name))
		if err != nil || string(got) != string(text) {
			t.Errorf("docs/layers/%s is not what the option types say now (%v); go test ./config -update writes it", name, err)
		}
	}
	there, err := filepath.Glob(pagesDir + "/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range there {
		if want[filepath.Base(file)] == nil {
			t.Errorf("%s is about no layer", file)
		}
	}
}

func writePages(t *testing.T, pages map[string][]byte) {
	t.Helper()
	if err := os.MkdirAll(pagesDir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range pages {
		if err := os.WriteFile(filepath.Join(pagesDir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Every layer of a server has a page, and every option a row with its meaning.
func TestPagesAreComplete(t *testing.T) {
	t.Parallel()
	pages, err := currentPages(t)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := samplePlan(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Concat(plan.LayerNames, []string{"system", "custom"}) {
		if pages[name+".md"] == nil {
			t.Errorf("the layer %s has no page", name)
		}
	}
	root, _ := generated(t, FileName)
	walkSchema(root, root, "", func(path string, s *schema) {
		if path == "" || strings.HasSuffix(path, "[]") || strings.HasSuffix(path, "*") {
			return
		}
		file := "README.md"
		if rest, ok := strings.CutPrefix(path, "layers."); ok {
			name, option, _ := strings.Cut(rest, ".")
			if file = name + ".md"; option == "" {
				return
			}
		}
		row := "\n| `" + path + "` | "
		_, after, found := strings.Cut(string(pages[file]), row)
		line, _, _ := strings.Cut(after, "\n")
		if !found || strings.HasSuffix(line, "|  |") {
			t.Errorf("%s says nothing about %s: %q", file, path, line)
		}
	})
}
