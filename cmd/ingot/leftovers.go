package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// halfWritten are the names under which outputs are written before they get their
// own: those of renameio. A killed build leaves one at most.
var halfWritten = regexp.MustCompile(`^\.(instance\.ign|provenance\.json|sbom\.(cdx|spdx)\.json|ingot\.lock)[0-9]+$`)

// halfWrittenFor is longer than another build of the folder takes to write one.
const halfWrittenFor = time.Minute

// sweep deletes what killed builds left in a folder.
func sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		info, infoErr := e.Info()
		if infoErr != nil || !info.Mode().IsRegular() || !halfWritten.MatchString(e.Name()) || time.Since(info.ModTime()) < halfWrittenFor {
			continue
		}
		if removeErr := os.Remove(filepath.Join(dir, e.Name())); !errors.Is(removeErr, fs.ErrNotExist) {
			err = errors.Join(err, removeErr)
		}
	}
	return err
}
