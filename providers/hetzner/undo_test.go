package hetzner

import (
	"context"
	"errors"
	"strings"
	"testing"

	"ingot/fault"
	"ingot/providers"
	"ingot/providers/fake"
)

// The move of the address ends at each of its requests in turn, and what was taken is
// given back: both servers have again what they had.
func TestAddressUndoneAnywhere(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 7
	}
	for when, f := range map[string]fake.Fault{"before": {Refused: true}, "after": {Lost: true}} {
		t.Run(when, func(t *testing.T) {
			b := newBench(t)
			b.cloud.patient = 1
			b.two()
			from, to := b.cloud.server("claw-1"), b.cloud.server("claw-2")
			if err := b.MoveVolume(t.Context(), from, to); err != nil {
				t.Fatal(err)
			}
			start := b.cloud.kinds
			for n := 0; ; n += step {
				b.cloud.reset(t, start)
				ctx, kill := context.WithCancel(t.Context())
				b.endAt(n, f, kill)
				ended := b.MoveAddress(ctx, from, to)
				kill()
				b.api.Calm()
				was := b.where()
				err := errors.Join(b.MoveAddress(t.Context(), to, from), b.MoveVolume(t.Context(), to, from))
				if got := b.where(); got != back || err != nil {
					t.Errorf("ended at request %d: %s; given back: %s, %v", n, was, got, err)
				}
				if ended == nil {
					return
				}
			}
		})
	}
}

// Only what was taken is given back.
func TestTaken(t *testing.T) {
	b := newBench(t)
	taken := func(s providers.Server, wantState, wantAddress bool) {
		t.Helper()
		if state, address, err := b.Taken(t.Context(), s); state != wantState || address != wantAddress || err != nil {
			t.Errorf("%s has taken the state %v, the address %v, %v; want %v, %v", s.Name, state, address, err, wantState, wantAddress)
		}
	}
	old, replacement := b.ours("claw-1", ""), b.ours("claw-2", "")
	taken(old, false, false)
	taken(replacement, false, false)
	if err := b.MoveAddress(t.Context(), old, replacement); err != nil { // with --fresh-state
		t.Fatal(err)
	}
	taken(replacement, false, true)
}

// Of three servers the last one gives back first.
func TestStateIsAtAThird(t *testing.T) {
	b := newBench(t)
	first, second := b.two()
	third := b.ours("claw-3", "fresher")
	for _, s := range [][2]providers.Server{{first, second}, {second, third}} {
		if err := b.MoveVolume(t.Context(), s[0], s[1]); err != nil {
			t.Fatal(err)
		}
	}
	before := b.where()
	if err := b.MoveVolume(t.Context(), second, first); fault.Of(err) != fault.OfInput {
		t.Error(err)
	}
	if got := b.where(); got != before {
		t.Errorf("%s, was %s", got, before)
	}
}

// Given back, then the new server is destroyed while lists are late: the state that is
// the old one's again stays.
func TestLateListDestroysNoState(t *testing.T) {
	b := newBench(t)
	from, to := b.two()
	if err := b.MoveVolume(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
	b.api.Plan(fake.Fault{On: "GET /volumes", Times: fake.Always, Stale: true, After: "PUT /volumes/*"})
	if err := b.MoveVolume(t.Context(), to, from); err != nil {
		t.Fatal(err)
	}
	found, err := b.Find(t.Context(), "entryofclaw2")
	if err != nil {
		t.Fatal(err)
	}
	b.api.Calm()
	refused := false
	for _, r := range found {
		refused = refused || fault.Of(b.Delete(t.Context(), r)) == fault.OfInput
	}
	if !refused || !strings.Contains(b.where(), "state at claw-1") {
		t.Errorf("refused %v: %s", refused, b.where())
	}
}

// An upload of an image that is there, and whole, is ended: gc does not take it.
func TestEndedUploadLeavesWholeImage(t *testing.T) {
	b := newBench(t)
	data := disk(t)
	e := b.begin(t)
	if _, err := b.Upload(t.Context(), upload(data, e)); err != nil {
		t.Fatal(err)
	}
	if err := e.Done(); err != nil {
		t.Fatal(err)
	}
	ctx, kill := context.WithCancel(t.Context())
	b.endAt(2, fake.Fault{Lost: true}, kill)
	again := b.begin(t)
	if _, err := b.Upload(ctx, upload(data, again)); err == nil {
		t.Fatal("it was not ended")
	}
	kill()
	again.Abandon()
	b.api.Calm()
	b.collectLeft(t)
	if !strings.Contains(b.made(), "snapshot") {
		t.Errorf("there is %s", b.made())
	}
}
