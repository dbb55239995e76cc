// Package secrets keeps secrets in files beside an ingot.yaml: readable by
// their owner only, whole or not at all, and out of version control.
package secrets

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Folder is where the secrets are, beside ingot.yaml.
const Folder = "secrets"

// MakeFolder makes a folder for secrets, which git ignores wherever it is.
func MakeFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(dir, ".gitignore"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = file.WriteString("*\n")
	return errors.Join(err, file.Close())
}

// WriteOnce writes a file that nobody else may read, complete or not at all.
// It is false when another run was faster: its secret is the one that people
// were told of.
func WriteOnce(file string, content []byte) (bool, error) {
	next, err := os.CreateTemp(filepath.Dir(file), ".new-") // 0600
	if err != nil {
		return false, err
	}
	defer os.Remove(next.Name())
	_, err = next.Write(content)
	if err := errors.Join(err, next.Sync(), next.Close()); err != nil {
		return false, err
	}
	err = os.Link(next.Name(), file) // unlike a rename, it replaces nothing
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	return err == nil, err
}
