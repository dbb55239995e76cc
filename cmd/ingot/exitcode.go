package main

import (
	"context"

	"ingot/fault"
)

// The exit codes are part of the interface: scripts branch on them.
const (
	exitFine        = 0
	exitChecks      = 1   // the image does not keep its promises
	exitInput       = 2   // ingot.yaml, arguments, or files beside them are wrong
	exitMachine     = 3   // this machine lacks something
	exitProvider    = 4   // the provider failed
	exitInterrupted = 130 // 128 + SIGINT, as shells have it
)

// exitCode maps the kind of an error. What is not marked came from the
// operating system in nearly every case: a full disk, a missing permission.
func exitCode(ctx context.Context, err error) int {
	switch {
	case err == nil:
		return exitFine
	case ctx.Err() != nil:
		return exitInterrupted
	}
	switch fault.Of(err) {
	case fault.OfChecks:
		return exitChecks
	case fault.OfInput:
		return exitInput
	case fault.OfProvider:
		return exitProvider
	}
	return exitMachine
}
