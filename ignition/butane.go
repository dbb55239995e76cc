package ignition

import (
	butane "github.com/coreos/butane/config"
	"github.com/coreos/butane/config/common"
	"github.com/coreos/vcontext/report"

	"ingot/layers"
)

// This is the only file, but for a test, that imports Butane. Its own repository is archived;
// since 2.27 Ignition carries it, which is the copy used here: one module, and
// the translator is as old as the program that reads its output.

// Butane has no variant without a distribution's sugar; fcos 1.7.0 is the base
// specification 0.7 with sugar that a plan does not use. It makes Ignition
// 3.6.0, the oldest that takes every mode: setgid directories are new in it.
const (
	variant = "fcos"
	version = "1.7.0"
)

// Butane writes a fragment as Butane YAML, in the fragment's order. Contents
// that are not UTF-8 come as YAML's !!binary.
func Butane(f layers.Fragment) ([]byte, error) { return marshal(documentOf(f)) }

// problem is a remark of the translator's about the entry that path leads to.
type problem struct {
	path    []any // map keys are strings, list positions ints
	message string
}

// translate turns Butane YAML into Ignition JSON. Warnings are problems too:
// an unknown key or a unit that cannot be enabled is never meant.
func translate(yaml []byte) ([]byte, []problem, error) {
	ignition, r, err := butane.TranslateBytes(yaml, common.TranslateBytesOptions{
		TranslateOptions: common.TranslateOptions{NoResourceAutoCompression: true},
	})
	var problems []problem
	for _, e := range r.Entries {
		if e.Kind != report.Info {
			problems = append(problems, problem{path: e.Context.Path, message: e.Message})
		}
	}
	return ignition, problems, err
}
