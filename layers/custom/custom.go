// Package custom is a layer without Go: a folder with config.bu, the plain
// subset of Butane that a sealed image can hold, and files/ with what it
// refers to.
package custom

import "ingot/layers"

// Layer is one folder, read by [Load].
type Layer struct {
	name     string
	fragment layers.Fragment
}

// Name implements [layers.Layer]: "custom/" and the folder's last element.
func (l Layer) Name() string { return l.name }

// Validate implements [layers.Layer]. Mistakes in the folder are found by
// [Load], with their position in config.bu.
func (Layer) Validate(layers.Site) []layers.Finding { return nil }

// Contribute implements [layers.Layer].
func (l Layer) Contribute(layers.Site) layers.Contribution {
	return layers.Contribution{Image: l.fragment}
}
