// Package fault sorts errors by who can do something about them, so that one
// place can map them to the exit codes of the command line.
package fault

import "errors"

// Kind is who can do something about an error.
type Kind int

// The kinds. Unknown is a defect of Ingot's own.
const (
	Unknown    Kind = iota
	OfChecks        // the image does not keep its promises
	OfInput         // ingot.yaml, the arguments or files beside them are wrong
	OfMachine       // this machine lacks something
	OfProvider      // a provider's service failed
)

type fault struct {
	kind Kind
	error
}

func (f fault) Unwrap() error { return f.error }

// Checks marks err as a check that failed.
func Checks(err error) error { return mark(OfChecks, err) }

// Input marks err as something wrong with what the user gave.
func Input(err error) error { return mark(OfInput, err) }

// Machine marks err as something this machine lacks.
func Machine(err error) error { return mark(OfMachine, err) }

// Provider marks err as a provider's failure.
func Provider(err error) error { return mark(OfProvider, err) }

func mark(k Kind, err error) error {
	if err == nil {
		return nil
	}
	return fault{k, err}
}

// Of returns the kind of err: the outermost mark decides.
func Of(err error) Kind {
	var f fault
	if errors.As(err, &f) {
		return f.kind
	}
	return Unknown
}
