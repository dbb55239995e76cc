package hetzner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"ingot/fault"
)

// actionTime is how long one action may take. Snapshots take minutes.
const actionTime = 30 * time.Minute

// wait returns when actions are done. The SDK's own takes one that is not listed yet
// for one that will never be.
func (p *Provider) wait(ctx context.Context, what string, actions ...*hcloud.Action) error {
	ctx, cancel := context.WithTimeoutCause(ctx, actionTime, fault.Provider(fmt.Errorf("%s: it is not done after %s", what, actionTime)))
	defer cancel()
	for _, a := range actions {
		missing := 0
		for n := 0; a != nil && a.Status != hcloud.ActionStatusSuccess; n++ {
			if a.Status == hcloud.ActionStatusError {
				return explain(what, a.Error())
			}
			if err := p.pause(ctx, n); err != nil {
				return explain(what, errors.Join(err, cause(ctx)))
			}
			var seen *hcloud.Action
			err := p.call(ctx, what, func() (err error) { seen, _, err = p.client.Action.GetByID(ctx, a.ID); return err })
			switch {
			case err != nil:
				return err
			case seen != nil:
				a = seen
			case missing == looks:
				return fault.Provider(fmt.Errorf("%s: the action %d cannot be found", what, a.ID))
			default:
				missing++
			}
		}
	}
	return nil
}

// cause is why a context ended, when that says more than the context's error.
func cause(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil && err != ctx.Err() {
		return err
	}
	return nil
}

// server reads one; none is an error.
func (p *Provider) server(ctx context.Context, id int64) (*hcloud.Server, error) {
	var s *hcloud.Server
	err := p.call(ctx, fmt.Sprintf("read the server %d", id), func() (err error) { s, _, err = p.client.Server.GetByID(ctx, id); return err })
	if err == nil && s == nil {
		err = fault.Input(fmt.Errorf("there is no server %d here", id))
	}
	return s, err
}

// newServer reads one that was made a moment ago, and may not be seen by all of the
// service yet.
func (p *Provider) newServer(ctx context.Context, id int64) (*hcloud.Server, error) {
	for n := 0; ; n++ {
		var s *hcloud.Server
		err := p.call(ctx, fmt.Sprintf("read the server %d", id), func() (err error) { s, _, err = p.client.Server.GetByID(ctx, id); return err })
		if err != nil || s != nil {
			return s, err
		}
		if n == looks {
			return nil, fault.Provider(fmt.Errorf("the server %d was made and cannot be found", id))
		}
		if err := p.pause(ctx, n); err != nil {
			return nil, err
		}
	}
}

// on starts a server that is off, and waits until it runs.
func (p *Provider) on(ctx context.Context, id int64) (*hcloud.Server, error) {
	what := fmt.Sprintf("start the server %d", id)
	var last error
	for n := 0; ; n++ {
		s, err := p.newServer(ctx, id)
		if err != nil || s.Status == hcloud.ServerStatusRunning {
			return s, err
		}
		if n == busyTries {
			return nil, fault.Provider(errors.Join(fmt.Errorf("%s: it is %s", what, s.Status), last))
		}
		if s.Status == hcloud.ServerStatusOff {
			last = p.act(ctx, what, func() (*hcloud.Action, *hcloud.Response, error) { return p.client.Server.Poweron(ctx, s) })
			if last != nil && !isLost(last) {
				return nil, last
			}
		}
		if err := p.pause(ctx, n); err != nil {
			return nil, explain(what, err)
		}
	}
}

// off switches a server off: first it is asked to.
func (p *Provider) off(ctx context.Context, id int64) error {
	what := fmt.Sprintf("switch off the server %d", id)
	s, err := p.server(ctx, id)
	if err != nil || s.Status == hcloud.ServerStatusOff {
		return err
	}
	err = p.act(ctx, what, func() (*hcloud.Action, *hcloud.Response, error) { return p.client.Server.Shutdown(ctx, s) })
	if err != nil && !isLost(err) {
		return err
	}
	return p.awaitOff(ctx, s)
}

// awaitOff waits until a server that was told to switch off has, and does it itself
// when that takes too long.
func (p *Provider) awaitOff(ctx context.Context, s *hcloud.Server) error {
	what := fmt.Sprintf("switch off the server %d", s.ID)
	var last error
	for n := 0; ; n++ {
		now, err := p.server(ctx, s.ID)
		if err != nil || now.Status == hcloud.ServerStatusOff {
			return err
		}
		if n >= goneLooks {
			if n == 2*goneLooks {
				return fault.Provider(errors.Join(fmt.Errorf("%s: it is %s", what, now.Status), last))
			}
			last = p.act(ctx, what, func() (*hcloud.Action, *hcloud.Response, error) { return p.client.Server.Poweroff(ctx, s) })
			if last != nil && !isLost(last) {
				return last
			}
		}
		if err := p.pause(ctx, n); err != nil {
			return explain(what, err)
		}
	}
}

// lost is the error of a request that may have been done all the same.
type lost struct{ error }

func (l lost) Unwrap() error { return l.error }

func isLost(err error) bool {
	var l lost
	return errors.As(err, &l)
}

// act has something done that does no harm when it is done twice. When the answer is
// lost, the caller's next look says whether it was done.
func (p *Provider) act(ctx context.Context, what string, request func() (*hcloud.Action, *hcloud.Response, error)) error {
	var a *hcloud.Action
	var sent error
	err := p.call(ctx, what, func() error { a, _, sent = request(); return sent })
	if uncertain(ctx, sent) {
		return lost{err}
	}
	if err != nil {
		return err
	}
	return p.wait(ctx, what, a)
}
