package custom

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzFolder feeds the three files of a folder anything: the loader must not
// crash, and what it finds must have a place.
func FuzzFolder(f *testing.F) {
	for _, name := range []string{ConfigName, ManifestName, ChecksName} {
		seeds, err := filepath.Glob("../../config/testdata/broken/custom/*/" + name)
		if err != nil || len(seeds) == 0 {
			f.Fatal(name, err)
		}
		for _, seed := range append(seeds, "../../examples/web/layers/web/"+name) {
			data, err := os.ReadFile(seed)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(name, data)
		}
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		if name != ConfigName && name != ManifestName && name != ChecksName {
			return
		}
		for file, content := range map[string][]byte{ConfigName: []byte(emptyConfig), ManifestName: []byte("packages: []\n"), ChecksName: []byte("checks: []\n"), name: data} {
			if err := os.WriteFile(filepath.Join(dir, file), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, _, findings := loadFolder(t, dir)
		for _, x := range findings {
			if x.Line < 1 || x.Column < 1 || x.Message == "" || x.Advice == "" || x.File == "" {
				t.Errorf("impossible finding: %#v", x)
			}
		}
	})
}
