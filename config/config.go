// Package config reads ingot.yaml: strictly, with every finding at once, and
// into one merged plan.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"ingot/config/document"
	"ingot/layers"
	"ingot/layers/custom"
)

// FileName is the file that describes a server.
const FileName = "ingot.yaml"

// Finding is one mistake in ingot.yaml or in a file that it names. Its JSON
// form is {file, line, column, message, advice}.
type Finding = document.Finding

// Position is a line and a column, both from 1.
type Position = document.Position

// Render writes findings for people.
func Render(w io.Writer, findings []Finding) error { return document.Render(w, findings) }

// Loaded is what a folder with an ingot.yaml says.
type Loaded struct {
	// File is the path of ingot.yaml as the caller would name it.
	File string
	// Plan is the merged plan of all layers. It is complete only when there
	// were no findings.
	Plan layers.Plan
	// Layers are the plan's, with their options: what the assay merges again
	// for an identity of its own.
	Layers []layers.Layer
	// Test is which verdicts about the image are relied on.
	Test Test
	// Mirrors are base URLs of Debian's archives, in the order in which they are
	// asked. They are no part of the image.
	Mirrors []string
	// Digest is the SHA-256, in hex, of every file that was read, with their
	// names: ingot.yaml and the custom layers' files.
	Digest string
	// Positions says where each layer stands in File, by the layer's name.
	// Layers that are always on stand where they are configured, or nowhere.
	Positions map[string]Position

	doc   *document.Document
	paths map[string][]any // to each layer's node
}

// Finding is about what path leads to in File.
func (l Loaded) Finding(path []any, message, advice string) Finding {
	return l.doc.Finding(path, false, message, advice)
}

// At returns where an option of a layer stands in File; nil is the layer
// itself. It is false for a layer that has no place there.
func (l Loaded) At(layer string, option []any) (Position, bool) {
	base := l.paths[layer]
	if base == nil || l.doc == nil {
		return Position{}, false
	}
	return l.doc.Key(append(append([]any{}, base...), option...)), true
}

// Place returns the file and the line that asked for a thing: of a custom
// layer's folder, or of ingot.yaml. It is false for what no line asked for.
func (l Loaded) Place(e layers.Explanation) (file string, at Position, known bool) {
	for _, layer := range l.Layers {
		c, ok := layer.(custom.Layer)
		if !ok || c.Name() != e.Layer {
			continue
		}
		// "enabled unit x" and "unit x" are the same claim.
		what := e.What
		if i := strings.Index(what, "unit "); i > 0 {
			what = what[i:]
		}
		if f, ok := c.Claim(what); ok {
			return f.File, Position{Line: f.Line, Column: f.Column}, true
		}
	}
	at, known = l.At(e.Layer, e.Option)
	return l.File, at, known
}

// Load reads the ingot.yaml at path, or in the folder at path, adds always to
// its layers, and returns the merged plan. Findings are mistakes of the
// author's, sorted by position. The error is for a file that cannot be read;
// it wraps fs.ErrNotExist when there is none.
func Load(path string, always ...layers.Layer) (Loaded, []Finding, error) {
	file := path
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		file = filepath.Join(path, FileName)
	}
	root, err := os.OpenRoot(filepath.Dir(file))
	if err != nil {
		return Loaded{}, nil, notThere(file, err)
	}
	defer root.Close()
	data, err := readFile(file)
	if err != nil {
		return Loaded{}, nil, err
	}
	loaded, findings := decode(file, data, root, always)
	return loaded, findings, nil
}

// readFile reads no more than a byte beyond what the decoder takes. The open
// does not wait for the other end of a pipe.
func readFile(file string) ([]byte, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, notThere(file, err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: it is not a regular file; give the path of an %s", file, FileName)
	}
	data, err := io.ReadAll(io.LimitReader(f, document.MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return data, nil
}

func notThere(file string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read %s: %w; copy the one of examples/openclaw, or name the folder that holds one", file, fs.ErrNotExist)
	}
	return fmt.Errorf("read %s: %w", file, err)
}
