package openstack

import (
	"context"
	"time"

	"ingot/providers"
)

// createAttempts is how often something is asked for whose answer was lost.
const createAttempts = 3

// createLooks is how often it is looked for before: a service behind a proxy that gave up
// may still be at it.
const createLooks = 10

// maker is how one thing comes to be.
type maker[T any] struct {
	kind, name string
	// look finds one that was made before.
	look func(context.Context) (found T, ok bool, err error)
	make func(context.Context) (T, error)
}

// ensure finds a thing or makes it. When the answer to the request is lost, it is
// looked for before the request is sent again.
func ensure[T any](ctx context.Context, p *Provider, journal *providers.Entry, m maker[T]) (T, error) {
	var none T
	for n := 1; ; n++ {
		found, ok, err := m.look(ctx)
		if err != nil {
			return none, p.wrap("look for the "+m.kind+" "+m.name, err)
		}
		if ok {
			return found, nil
		}
		if err := journal.Creates(m.kind, m.name); err != nil {
			return none, err
		}
		made, err := m.make(ctx)
		if err == nil {
			return made, nil
		}
		if !isUnsure(err) || n == createAttempts {
			return none, p.wrap("create the "+m.kind+" "+m.name, err)
		}
		for range createLooks {
			select {
			case <-ctx.Done():
				return none, ctx.Err()
			case <-time.After(p.poll):
			}
			if found, ok, err := m.look(ctx); err == nil && ok {
				return found, nil
			}
		}
	}
}
