package hetzner

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"ingot/fault"
	"ingot/providers"
	"ingot/providers/fake"
)

// two are servers of ours; the first has a state volume.
func (b *bench) two() (old, replacement providers.Server) {
	var out []providers.Server
	for _, name := range []string{"claw-1", "claw-2"} {
		s := b.cloud.newServer(name, "running", obj{providers.LabelServer: name})
		out = append(out, providers.Server{ID: fmt.Sprint(id(s)), Name: name})
	}
	b.cloud.newVolume("state", b.cloud.byRef("servers", "claw-1")["id"], obj{providers.LabelServer: "claw-1"})
	return out[0], out[1]
}

// where says who has the volume and the addresses, and who runs.
func (b *bench) where() string {
	var words []string
	name := func(server any) any {
		if s := b.cloud.find("servers", n(server)); s != nil {
			return s["name"]
		}
		return "nobody"
	}
	for _, v := range b.cloud.kinds["volumes"] {
		if v["name"] == "state" {
			words = append(words, fmt.Sprint("state at ", name(v["server"])))
		}
	}
	for _, ip := range b.cloud.kinds["primary_ips"] {
		if at := fmt.Sprint(name(ip["assignee_id"])); !strings.HasPrefix(at, "theirs") {
			words = append(words, at)
		}
	}
	for _, s := range b.cloud.kinds["servers"] {
		if !strings.HasPrefix(s["name"].(string), "theirs") {
			words = append(words, fmt.Sprint(s["status"]))
		}
	}
	return strings.Join(words, ", ")
}

const (
	moved   = "state at claw-2, claw-1, claw-1, claw-2, claw-2, off, running"
	swapped = "state at claw-2, claw-2, claw-2, claw-1, claw-1, off, running"
	back    = "state at claw-1, claw-1, claw-1, claw-2, claw-2, running, off"
)

func TestMove(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	from, to := b.two()
	for _, step := range []struct {
		do   func() error
		want string
	}{
		{func() error { return b.MoveVolume(t.Context(), from, to) }, moved},
		{func() error { return b.MoveVolume(t.Context(), from, to) }, moved},
		{func() error { return b.MoveAddress(t.Context(), from, to) }, swapped},
		{func() error { return b.MoveAddress(t.Context(), from, to) }, swapped},
		// And back.
		{func() error { return b.MoveAddress(t.Context(), to, from) }, "state at claw-2, claw-1, claw-1, claw-2, claw-2, running, off"},
		{func() error { return b.MoveVolume(t.Context(), to, from) }, back},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if got := b.where(); got != step.want {
			t.Fatalf("now it is %s, want %s", got, step.want)
		}
	}
}

func TestMoveRefusals(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	from, to := b.two()
	wantError(t, b.MoveVolume(t.Context(), from, from), fault.OfInput, "the two servers are the same")
	wantError(t, b.MoveVolume(t.Context(), from, providers.Server{ID: "x"}), fault.OfInput, "no number of a server")
	wantError(t, b.MoveAddress(t.Context(), from, providers.Server{ID: "1"}), fault.OfInput, "there is no server 1")
	b.cloud.newVolume("second", b.cloud.byRef("servers", "claw-1")["id"], obj{providers.LabelServer: "claw-1"})
	wantError(t, b.MoveVolume(t.Context(), from, to), fault.OfInput, "2 volumes")
	for _, ip := range b.cloud.kinds["primary_ips"] {
		if fmt.Sprint(ip["assignee_id"]) == from.ID {
			ip["assignee_id"] = nil
		}
	}
	wantError(t, b.MoveAddress(t.Context(), from, to), fault.OfInput, "claw-1 has no address to give")
	if b.writes() != 0 {
		t.Error("something was changed")
	}
}

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
					f.Skip, f.Hook = n, kill
					b.api.Calm()
					b.api.Plan(f, fake.Fault{Skip: n, Times: fake.Always, Refused: true})
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
	for _, on := range []string{"POST /volumes/*/actions/attach", "POST /volumes/*/actions/detach", "POST /primary_ips/*/actions/unassign", "POST /primary_ips/*/actions/assign", "POST /servers/*/actions/shutdown", "POST /servers/*/actions/poweron", "PUT /primary_ips/*"} {
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
