package hetzner

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"ingot/providers"
	"ingot/providers/fake"
)

// Ended at any request, a move is finished by asking for it again.
func TestMoveEndedAnywhere(t *testing.T) {
	t.Parallel()
	for when, f := range map[string]fake.Fault{"before": {Refused: true}, "after": {Lost: true}} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			step := 1
			if testing.Short() {
				step = 5
			}
			b := newBench(t)
			b.two()
			start := b.cloud.kinds
			for n, ended := 0, true; ended; n += step {
				b.cloud.reset(t, start)
				from, to := b.cloud.server("claw-1"), b.cloud.server("claw-2")
				ended = false
				for _, move := range []func(context.Context) error{
					func(ctx context.Context) error { return b.MoveVolume(ctx, from, to) },
					func(ctx context.Context) error { return b.MoveAddress(ctx, from, to) },
				} {
					ctx, kill := context.WithCancel(t.Context())
					b.endAt(n, f, kill)
					err := move(ctx)
					kill()
					b.api.Calm()
					if err == nil {
						continue
					}
					ended = true
					if !errors.Is(err, context.Canceled) {
						t.Errorf("ended at request %d: %v", n, err)
					}
					// Never do both volumes go with the old server.
					if got := b.where(); strings.Contains(got, "state at claw-2 of claw-1") && strings.Contains(got, "fresh at claw-1,") {
						t.Errorf("ended at request %d it is %s", n, got)
					}
					if err := move(t.Context()); err != nil {
						t.Fatalf("ended at request %d, and again: %v", n, err)
					}
				}
				if got := b.where(); got != swapped {
					t.Fatalf("ended at request %d it is %s", n, got)
				}
				if !ended {
					t.Logf("ended at each of %d requests", n)
				}
			}
		})
	}
}

// Ended at any request, and ended again at any request of the way back, all comes back.
// Meanwhile an address that moves starts nobody without its state.
func TestMoveUndoneAnywhere(t *testing.T) {
	t.Parallel()
	for when, f := range map[string]fake.Fault{"before": {Refused: true}, "after": {Lost: true}} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			step := 1
			if testing.Short() {
				step = 5
			}
			b := newBench(t)
			b.cloud.patient = 1
			b.two()
			start := b.cloud.kinds
			for n := 0; ; n += step {
				b.cloud.reset(t, start)
				from, to := b.cloud.server("claw-1"), b.cloud.server("claw-2")
				ctx, kill := context.WithCancel(t.Context())
				b.endAt(n, f, kill)
				err := b.MoveVolume(ctx, from, to)
				kill()
				b.api.Calm()
				ended := err != nil
				ctx, kill = context.WithCancel(t.Context())
				b.endAt((5*n)%23, f, kill)
				_ = b.MoveVolume(ctx, to, from)
				kill()
				b.api.Calm()
				for _, move := range []func(context.Context, providers.Server, providers.Server) error{b.MoveAddress, b.MoveVolume} {
					if err := move(t.Context(), to, from); err != nil {
						t.Fatalf("ended at request %d, and back: %v", n, err)
					}
				}
				if got := b.where(); got != back {
					t.Fatalf("ended at request %d, and back, it is %s", n, got)
				}
				if !ended {
					t.Logf("ended at each of %d requests", n)
					return
				}
			}
		})
	}
}

func (c *cloud) server(name string) providers.Server {
	return providers.Server{ID: fmt.Sprint(id(c.byRef("servers", name))), Name: name}
}

func TestMoveInBadWeather(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes ten seconds; run without -short")
	}
	t.Parallel()
	b := newBench(t)
	b.two()
	start := b.cloud.kinds
	for _, on := range []string{"POST /volumes/*/actions/attach", "POST /volumes/*/actions/detach", "PUT /volumes/*", "POST /primary_ips/*/actions/unassign", "POST /primary_ips/*/actions/assign", "POST /servers/*/actions/shutdown", "POST /servers/*/actions/poweron", "PUT /primary_ips/*"} {
		for how, f := range map[string]fake.Fault{
			"locked": {Times: 3, Status: 423, Body: refusal("locked")}, "lost": {Lost: true}, "broken": {Status: 500, Body: refusal("server_error")},
			"late": {Stale: true, Times: 4},
		} {
			t.Run(how+" at "+on, func(t *testing.T) {
				b.cloud.reset(t, start)
				b.api.Calm()
				if f.On = on; f.Stale {
					f.On, f.After = "GET *", on
				}
				b.api.Plan(f)
				from, to := b.cloud.server("claw-1"), b.cloud.server("claw-2")
				if err := b.MoveVolume(t.Context(), from, to); err != nil {
					t.Fatal(err)
				}
				if err := b.MoveAddress(t.Context(), from, to); err != nil {
					t.Fatal(err)
				}
				if got := b.where(); got != swapped {
					t.Errorf("it is %s", got)
				}
			})
		}
	}
}
