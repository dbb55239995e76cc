package hetzner

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"ingot/providers"
	"ingot/providers/fake"
)

// works are the pieces of work that can be ended.
func works(t *testing.T, b *bench) map[string]func(context.Context, *providers.Entry) error {
	image := b.addSnapshot()
	return map[string]func(context.Context, *providers.Entry) error{
		"upload": func(ctx context.Context, e *providers.Entry) error {
			_, err := b.Upload(ctx, upload(disk(t), e))
			return err
		},
		"deploy with state": func(ctx context.Context, e *providers.Entry) error {
			b.opts.State = 10
			_, err := b.Deploy(ctx, machine(image, e))
			return err
		},
		"deploy": func(ctx context.Context, e *providers.Entry) error {
			_, err := b.Deploy(ctx, machine(image, e))
			return err
		},
	}
}

// endAt ends the work at a request, and the service with it: when the request was
// handled, if it is, so that nobody looks meanwhile.
func (b *bench) endAt(n int, f fake.Fault, kill func()) {
	f.Skip, f.Hook = n, kill
	if f.Lost {
		f.Hook = func() { b.cloud.then.Store(&kill) }
	}
	b.api.Calm()
	b.api.Plan(f, fake.Fault{Skip: n, Times: fake.Always, Refused: true})
}

// Whoever is ended at a request, before or after it was done, leaves nothing that is
// not found by the journal, and what others have stays.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	for _, work := range []string{"upload", "deploy", "deploy with state"} {
		for when, fault := range map[string]fake.Fault{"before": {Refused: true}, "after": {Lost: true}} {
			t.Run(work+" "+when, func(t *testing.T) {
				t.Parallel()
				b := newBench(t)
				do := works(t, b)[work]
				before := b.made()
				b.grace = time.Nanosecond // a killed program does not clear up
				step := 1
				if testing.Short() {
					step = 7
				}
				for n := 0; ; n += step {
					ctx, kill := context.WithCancel(t.Context())
					b.api.Forget()
					b.endAt(n, fault, kill)
					e := b.begin(t)
					err := do(ctx, e)
					kill()
					if err == nil {
						t.Logf("ended at each of %d requests", n)
						b.api.Calm()
						b.collect(t, e)
						break
					}
					if !errors.Is(err, context.Canceled) {
						t.Errorf("ended at request %d: %v", n, err)
					}
					e.Abandon()
					b.api.Calm()
					b.collectLeft(t)
					if got := b.made(); got != before {
						t.Fatalf("ended at request %d, %v: there is %s", n, b.api.Requests()[n], got)
					}
				}
			})
		}
	}
}

// A Ctrl-C has time to clear up: nothing is left for anybody.
func TestInterruptedUpload(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.grace = time.Minute
	for _, at := range []string{"POST /firewalls", "POST /servers", "GET /actions/*", "POST /servers/*/actions/poweron", "POST /servers/*/actions/create_image"} {
		t.Run(at, func(t *testing.T) {
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			b.api.Calm()
			b.api.Plan(fake.Fault{On: at, Hook: interrupt})
			_, err := b.Upload(ctx, upload(disk(t), b.begin(t)))
			if !errors.Is(err, context.Canceled) {
				t.Errorf("the error is %v", err)
			}
			if got := b.made(); got != "" {
				t.Errorf("there is %s", got)
			}
		})
	}
}

func (b *bench) collect(t *testing.T, e *providers.Entry) []providers.Resource {
	t.Helper()
	removed, err := e.Collect(t.Context(), b)
	// When there is nothing, the journal waits for what may appear yet.
	if err != nil && (len(removed) > 0 || !strings.Contains(err.Error(), "it may appear yet")) {
		t.Fatal(err)
	}
	return removed
}

// collectLeft is "ingot gc" by another process: what it knows is in the journal.
func (b *bench) collectLeft(t *testing.T) {
	t.Helper()
	_, left, err := b.journal.Entries()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		known := map[string]bool{}
		for _, r := range e.Created {
			known[fmt.Sprint(r.Kind, r.Name)] = true
		}
		for _, r := range b.collect(t, e) {
			if !known[fmt.Sprint(r.Kind, r.Name)] {
				t.Errorf("the %s %s is not in the journal", r.Kind, r.Name)
			}
		}
	}
}
