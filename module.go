// Package ingot carries the module's own dependency pins, so that an installed
// ingot builds Ignition from exactly the sources that it was tested with.
package ingot

import _ "embed"

// GoMod is the module's go.mod.
//
//go:embed go.mod
var GoMod string

// GoSum is the module's go.sum.
//
//go:embed go.sum
var GoSum string
