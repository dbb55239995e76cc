package assay

import (
	"context"
	"errors"
	"time"

	"golang.org/x/crypto/ssh"

	"ingot/layers"
	"ingot/qemu-tests/verdict"
)

// NewShell is a shell over a connection of an administrator's, which it closes.
func NewShell(c *ssh.Client) *Shell { return &Shell{client: c} }

// NeedsShell reports whether a shell on the machine is all that a check needs, and
// not a simulated internet.
func NeedsShell(c layers.Check) bool {
	return c.Sysctl != nil || c.File != nil || c.Unit != nil || c.Command != nil || c.Listener != nil || c.Exposure != nil
}

// Look makes a check that needs a shell. ports are the plan's.
func (s *Shell) Look(ctx context.Context, c layers.Check, ports []layers.Port) verdict.Result {
	begun := time.Now()
	r := verdict.Result{ID: c.ID, Layer: c.Layer, Title: c.Title, Result: verdict.Passed}
	evidence, err := s.inside(ctx, c, ports)
	r.Evidence, r.Seconds = evidence, time.Since(begun).Seconds()
	if err != nil {
		r.Result, r.Problem = verdict.Incomplete, err.Error()
		if errors.Is(err, errUnmet) {
			r.Result, r.Class = verdict.Failed, verdict.Product
		}
	}
	return r
}
