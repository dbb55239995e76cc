package hetzner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"ingot/fault"
	"ingot/providers"
)

// pace is how long the pauses between two looks at the same thing are: the first,
// and the longest.
type pace struct{ first, top time.Duration }

// pause waits before look n, from 0. Each pause is half as long again as the one
// before, as looks count for the limit of 3600 requests an hour.
func (p *Provider) pause(ctx context.Context, n int) error {
	d := p.pace.first
	for range min(n, 20) {
		d = min(d*3/2, p.pace.top)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// How often something is asked for at most; with the pauses of [New]:
const (
	busyTries = 30 // two minutes; actions on a server are done one after the other
	looks     = 8  // 12 s; for something whose making was accepted
	goneLooks = 30 // two minutes
)

// call sends a request, and again while something else is being done to what it is
// about. The error says what it was for.
func (p *Provider) call(ctx context.Context, what string, request func() error) error {
	for n := 0; ; n++ {
		err := request()
		if err != nil && ctx.Err() != nil {
			// A connection that was ended by that has an error of its own.
			return explain(what, errors.Join(ctx.Err(), err))
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = fault.Provider(err) // the connection's: it says the same of itself
		}
		if !hcloud.IsError(err, hcloud.ErrorCodeConflict, hcloud.ErrorCodeLocked) || n == busyTries {
			return explain(what, err)
		}
		if err := p.pause(ctx, n); err != nil {
			return explain(what, err)
		}
	}
}

// explain says what an error was met at, what to do, and whose it is.
func explain(what string, err error) error {
	if err == nil {
		return nil
	}
	wrapped := fmt.Errorf("%s: %w", what, err)
	var api hcloud.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), fault.Of(err) != fault.Unknown:
		return wrapped
	case !errors.As(err, &api):
		// An action that failed, no answer, or one that is not the API's.
		return fault.Provider(wrapped)
	}
	advise := func(advice string) error { return fault.Input(fmt.Errorf("%w; %s", wrapped, advice)) }
	switch api.Code {
	case hcloud.ErrorCodeUnauthorized:
		return advise("the token is wrong, or has been deleted: make one in the project's console, under Security")
	case hcloud.ErrorCodeForbidden, "token_readonly":
		return advise("the token may only read: make one with the right to write")
	case hcloud.ErrorCodeResourceLimitExceeded:
		return advise("the project's limit is reached: delete what is not needed, or have it raised in the console, under Limits")
	case hcloud.ErrorCodeUniquenessError:
		return advise("there is one already: choose another name, \"ingot destroy --server\" it, or run \"ingot gc\" if it is left of work that was ended")
	case hcloud.ErrorCodeProtected:
		return advise("it is protected in the console")
	case hcloud.ErrorCodeResourceUnavailable, hcloud.ErrorCodePlacementError:
		return fault.Provider(fmt.Errorf("%w; it is sold out there now: choose another size or location", wrapped))
	case hcloud.ErrorCodeNoSpaceLeftInLocation:
		return fault.Provider(fmt.Errorf("%w; there is no room for volumes there now: choose another location", wrapped))
	case hcloud.ErrorCodeInvalidInput, hcloud.ErrorCodeInvalidServerType, hcloud.ErrorCodeJSONError, hcloud.ErrorUnsupportedError,
		hcloud.ErrorCodeNotFound, hcloud.ErrorCodeFirewallManagedByLabelSelector, hcloud.ErrorCodePrivateNetOnlyServer:
		return fault.Input(wrapped)
	}
	return fault.Provider(wrapped)
}

// uncertain reports whether a request that failed may have been done all the same.
func uncertain(ctx context.Context, err error) bool {
	if err == nil || ctx.Err() != nil {
		return false
	}
	var api hcloud.Error
	if errors.As(err, &api) {
		switch api.Code {
		case hcloud.ErrorCodeServerError, hcloud.ErrorCodeServiceError, hcloud.ErrorCodeUnknownError, hcloud.ErrorCodeTimeout, hcloud.ErrorCodeBadGateway:
			return true
		}
		return false
	}
	// Weather marks what it gave up before sending; the connection's errors and other
	// answers have no mark.
	return fault.Of(err) == fault.Unknown
}

// tries is how often something is created at most, when no answer comes and it is
// not seen either. Names are unique here, so that it is not made twice. Those of snapshots
// are not: a second one is removed when it is seen (clear).
const tries = 3

// create makes something, and looks for it when the answer was lost. What look
// returns must be the same thing by name and label.
func create[T any](ctx context.Context, p *Provider, e *providers.Entry, kind, name string, send func() (T, error), look func() (T, bool, error)) (T, error) {
	var none T
	what := fmt.Sprintf("create the %s %s", kind, name)
	if err := e.Creates(kind, name); err != nil {
		return none, err
	}
	for n := 1; ; n++ {
		var made T
		var sent error
		err := p.call(ctx, what, func() error { made, sent = send(); return sent })
		// Of the same name is then what an earlier try has made, and is not seen yet.
		again := n > 1 && hcloud.IsError(sent, hcloud.ErrorCodeUniquenessError)
		if !uncertain(ctx, sent) && !again {
			return made, err
		}
		for i := range looks {
			if err := p.pause(ctx, i); err != nil {
				return none, explain(what, err)
			}
			var found bool
			if err := p.call(ctx, "look for the "+kind+" "+name, func() (err error) { made, found, err = look(); return err }); err != nil {
				return none, err
			}
			if found {
				return made, nil
			}
		}
		if n == tries {
			return none, err
		}
	}
}
