// Package source pins what the real Ignition is built from: a module of its
// own, so that a change of Ingot's dependencies does not rebuild the program
// that is in every image.
//
// To update: change the version here and in Ingot's go.mod, then run in a
// folder with copies called go.mod and go.sum
//
//	go get -tool github.com/coreos/ignition/v2/internal@VERSION && go mod tidy
package source

import (
	_ "embed"
	"strings"
)

// Module is Ignition's module path; its program is the package internal.
const Module = "github.com/coreos/ignition/v2"

// GoMod is the go.mod of the build.
//
//go:embed ignition.mod
var GoMod string

// GoSum is the go.sum of the build.
//
//go:embed ignition.sum
var GoSum string

// Version is Ignition's version in GoMod, such as "v2.27.0".
func Version() string {
	for line := range strings.Lines(GoMod) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == Module {
			return f[1]
		}
	}
	return "unknown"
}
