package images

import (
	"embed"
	"io/fs"
	"os"
	"path/filepath"
)

//go:embed initrd/95ingot
var module embed.FS

const moduleDir = "initrd/95ingot"

// moduleFiles is the dracut module by file name.
func moduleFiles() map[string]string {
	files := map[string]string{}
	entries, err := fs.ReadDir(module, moduleDir)
	if err != nil {
		panic(err) // embedded at compile time
	}
	for _, e := range entries {
		b, err := fs.ReadFile(module, moduleDir+"/"+e.Name())
		if err != nil {
			panic(err)
		}
		files[e.Name()] = string(b)
	}
	return files
}

func writeModule(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, content := range moduleFiles() {
		if err := writeShared(filepath.Join(dir, name), content); err != nil {
			return err
		}
	}
	return nil
}
