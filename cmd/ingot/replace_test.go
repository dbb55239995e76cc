package main

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"ingot/fault"
	"ingot/providers"
)

// handing is a cloud whose servers hand over to each other.
type handing struct {
	providers.Provider
	providers.Mover
	servers []providers.Server
	taken   map[string]bool // who has another's
	moves   []string
	fails   string // the move that does not work
}

func (h *handing) Name() string { return "cloud" }

func (h *handing) Servers(context.Context) ([]providers.Server, error) { return h.servers, nil }

func (h *handing) Taken(_ context.Context, s providers.Server) (state, address bool, err error) {
	if h.fails == "taken" {
		return false, false, errors.New("502 bad gateway")
	}
	return h.taken[s.Name], h.taken[s.Name], nil
}

func (h *handing) move(what string) error {
	h.moves = append(h.moves, what)
	if h.fails == what {
		return errors.New("502 bad gateway")
	}
	return nil
}

func (h *handing) MoveVolume(context.Context, providers.Server, providers.Server) error {
	return h.move("state")
}

func (h *handing) MoveAddress(context.Context, providers.Server, providers.Server) error {
	return h.move("address")
}

// named is a server that was made to replace another, or none.
func named(name, replaces string) providers.Server {
	return providers.Server{Name: name, Labels: map[string]string{providers.LabelReplaces: replaces}}
}

// Of three servers that replaced each other, the last one gives back first, and nobody
// gives to a server that it did not replace.
func TestRollbackInOrder(t *testing.T) {
	t.Parallel()
	one, two, three := named("web", ""), named("web-2", "web"), named("web-3", "web-2")
	for name, tc := range map[string]struct {
		from, to providers.Server
		taken    map[string]bool
		refused  string
	}{
		"the last one":        {three, two, map[string]bool{"web-2": true, "web-3": true}, ""},
		"the last but one":    {two, one, map[string]bool{"web-2": true, "web-3": true}, `"ingot rollback --server web-3 --to web-2" comes first`},
		"then the last one":   {two, one, map[string]bool{"web-2": true}, ""},
		"the wrong way round": {one, two, map[string]bool{"web-2": true}, `web was not made by "ingot deploy --replace web-2"`},
		"two steps at once":   {three, one, map[string]bool{"web-2": true, "web-3": true}, "web-3 was not made by"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &handing{servers: []providers.Server{one, two, three}, taken: tc.taken}
			err := inOrder(t.Context(), h, h, tc.from, tc.to)
			if tc.refused == "" && err != nil || tc.refused != "" && (fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), tc.refused)) {
				t.Errorf("%v, want %q", err, tc.refused)
			}
		})
	}
}

// The address goes back before the state, whose move starts the server, and what goes wrong says how to go on.
func TestMoveBack(t *testing.T) {
	t.Parallel()
	for fails, moves := range map[string][]string{"": {"address", "state"}, "taken": nil, "address": {"address"}, "state": {"address", "state"}} {
		h := &handing{taken: map[string]bool{"web-2": true}, fails: fails}
		c := &console{stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}}
		err := c.moveBack(t.Context(), h, named("web-2", "web"), named("web", ""))
		if !slices.Equal(h.moves, moves) {
			t.Errorf("%q fails: moved %q, want %q", fails, h.moves, moves)
		}
		if fails != "" && (err == nil || !strings.Contains(err.Error(), `run "ingot rollback --server web-2 --to web"`)) {
			t.Errorf("%q fails: %v", fails, err)
		}
	}
}

func TestFreeNamesTheServer(t *testing.T) {
	t.Parallel()
	h := &handing{servers: []providers.Server{named("web", ""), named("web-2", "web")}}
	if err := free(t.Context(), h, "web-2"); err == nil || !strings.Contains(err.Error(), `"ingot destroy --server web-2"`) {
		t.Error(err)
	}
}
