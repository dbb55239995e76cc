package openstack

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"ingot/fault"
	"ingot/providers"
)

// back gives a server what another has taken, as "ingot rollback" does.
func back(ctx context.Context, p *Provider, from, to providers.Server) error {
	state, address, err := p.Taken(ctx, from)
	if err != nil {
		return err
	}
	if address {
		err = p.MoveAddress(ctx, from, to)
	}
	if state && err == nil {
		err = p.MoveVolume(ctx, from, to)
	}
	return err
}

func (c *tiny) wantVolumes(t *testing.T, when string) {
	t.Helper()
	if c.on[va] != sa || c.on[vb] != sb || c.meta[va][providers.LabelServer] != "claw" {
		t.Errorf("%s: %v; boots %v", when, c, c.boots)
	}
}

func TestMoveThereAndBack(t *testing.T) {
	c := newTiny()
	p, a, b := c.open(t)
	if err := errors.Join(p.MoveVolume(t.Context(), a, b), p.MoveAddress(t.Context(), a, b)); err != nil {
		t.Fatal(err)
	}
	if c.on[va] != sb || c.fip[fa] != "port-sb" {
		t.Fatal(c)
	}
	if err := back(t.Context(), p, b, a); err != nil {
		t.Fatal(err)
	}
	c.wantVolumes(t, "back")
	if slices.Contains(c.boots, "sa with vb") {
		t.Errorf("the old server met its clients with the new one's empty state: %v", c.boots)
	}
}

// An attachment fails, or its answer is lost: no server runs without its state, and not
// both do.
func TestNobodyRunsWithoutState(t *testing.T) {
	for _, lost := range []bool{false, true} {
		c := newTiny()
		p, a, b := c.open(t)
		fails := func(method, path string) int {
			if method == "POST" && strings.HasSuffix(path, "os-volume_attachments") {
				return 504
			}
			return 0
		}
		if lost {
			c.after = fails
		} else {
			c.before = fails
		}
		if err := p.MoveVolume(t.Context(), a, b); err == nil {
			t.Errorf("lost=%v: the move says that all is well", lost)
		}
		for _, boot := range c.boots {
			if strings.HasSuffix(boot, "with ") {
				t.Errorf("lost=%v: switched on without a state: %s", lost, boot)
			}
		}
		if c.state[sa] == "ACTIVE" && c.state[sb] == "ACTIVE" {
			t.Errorf("lost=%v: both run", lost)
		}
	}
}

// Ctrl-C before anything moved: giving back is no move of its own.
func TestUndoOfNothing(t *testing.T) {
	c := newTiny()
	p, a, b := c.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	c.before = func(method, path string) int {
		if strings.HasSuffix(path, "/action") {
			cancel()
			return 500
		}
		return 0
	}
	err := p.MoveVolume(ctx, a, b)
	c.before = nil
	c.wantVolumes(t, "interrupted")
	if err == nil {
		t.Error("an interrupted move says that all is well")
	}
	if err := back(t.Context(), p, b, a); err != nil {
		t.Fatal(err)
	}
	c.wantVolumes(t, "given back")
	found, err := p.findVolumes(t.Context(), "idb")
	if err != nil || slices.ContainsFunc(found, func(r providers.Resource) bool { return r.ID == va }) {
		t.Errorf("destroying the new server removes %v, %v", found, err)
	}
}

// The answer to each write of the way there is lost in turn, then it is undone.
func TestUndoAtAnyMoment(t *testing.T) {
	for n := 1; ; n++ {
		c := newTiny()
		p, a, b := c.open(t)
		writes := 0
		c.after = func(method, path string) int {
			if method != "GET" {
				if writes++; writes >= n {
					return 504
				}
			}
			return 0
		}
		err := p.MoveVolume(t.Context(), a, b)
		c.after = nil
		if err == nil {
			return
		}
		mid := c.String()
		if err := back(t.Context(), p, b, a); err != nil {
			t.Errorf("%d: %v", n, err)
		}
		if c.on[va] != sa || c.on[vb] != sb || c.meta[va][providers.LabelServer] != "claw" || c.state[sb] == "ACTIVE" {
			t.Errorf("answer %d lost (%v), then: %s; undone: %v; boots %v", n, err, mid, c, c.boots)
		}
	}
}

// The way back, all done but for the label, and run again as its message says.
func TestGivenBackTwice(t *testing.T) {
	c := newTiny()
	p, a, b := c.open(t)
	if err := p.MoveVolume(t.Context(), a, b); err != nil {
		t.Fatal(err)
	}
	c.before = func(method, path string) int {
		if method == "DELETE" && strings.Contains(path, "/metadata/") {
			return 503
		}
		return 0
	}
	err := back(t.Context(), p, b, a)
	c.before = nil
	if err == nil {
		t.Error("the label could not be taken off, and nobody says so")
	}
	c.wantVolumes(t, "back, label not off")
	if err := back(t.Context(), p, b, a); err != nil {
		t.Fatal(err)
	}
	c.wantVolumes(t, "back, again")
}

// The same for the address.
func TestAddressGivenBackTwice(t *testing.T) {
	want := func(c *tiny, when string) {
		t.Helper()
		if c.fip[fa] != "port-sa" || c.fip[fb] != "port-sb" {
			t.Errorf("%s: %v", when, c)
		}
	}
	c := newTiny()
	p, a, b := c.open(t)
	if err := p.MoveAddress(t.Context(), a, b); err != nil {
		t.Fatal(err)
	}
	c.before = func(method, path string) int {
		if method == "DELETE" && strings.Contains(path, "/metadata/") {
			return 503
		}
		return 0
	}
	if err := back(t.Context(), p, b, a); err == nil {
		t.Error("the label could not be taken off, and nobody says so")
	}
	c.before = nil
	want(c, "back, label not off")
	if err := back(t.Context(), p, b, a); err != nil {
		t.Fatal(err)
	}
	want(c, "back again")

	// nothing moved yet
	c = newTiny()
	p, a, b = c.open(t)
	c.before = func(method, path string) int {
		if method == "PUT" && strings.Contains(path, "floatingips") {
			return 503
		}
		return 0
	}
	if err := p.MoveAddress(t.Context(), a, b); err == nil {
		t.Error("a move that failed says that all is well")
	}
	c.before = nil
	want(c, "failed")
	if err := back(t.Context(), p, b, a); err != nil {
		t.Fatal(err)
	}
	want(c, "undone")
}

// A third server has the state: the second has nothing to give back to the first. va
// plays the third one's empty volume, which the second has.
func TestStateIsAtAThird(t *testing.T) {
	c := newTiny()
	c.meta[sb][labelTookState] = "sa.v1"
	c.on, c.meta[va], c.meta[vb] = map[string]string{va: sb, vb: sa}, mk("idb", "claw-2"), mk("ida", "claw")
	c.state = map[string]string{sa: "SHUTOFF", sb: "SHUTOFF"}
	p, a, b := c.open(t)
	if err := back(t.Context(), p, b, a); fault.Of(err) != fault.OfInput || c.state[sa] == "ACTIVE" {
		t.Errorf("%v: %v", err, c)
	}
}

// A request whose answer is lost is not sent again because its thing is seen late.
func TestCreatedOnceThoughSeenLate(t *testing.T) {
	made, looks := 0, 0
	p := &Provider{hide: &scrubber{}, poll: time.Millisecond}
	_, err := ensure(t.Context(), p, nil, maker[int]{kind: "volume", name: "v",
		look: func(context.Context) (int, bool, error) {
			looks++
			return 1, made > 0 && looks > 3, nil // one look late
		},
		make: func(context.Context) (int, error) {
			if made++; made == 1 {
				return 0, gophercloud.ErrUnexpectedResponseCode{Actual: 504}
			}
			return made, nil
		}})
	if made != 1 {
		t.Errorf("made %d, %v", made, err)
	}
}

// Killed with the volume on no server: neither of the two is destroyed then.
func TestDestroyHalfMoved(t *testing.T) {
	c := newTiny()
	p, a, b := c.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	c.before = func(method, path string) int {
		if strings.HasSuffix(path, "os-volume_attachments") {
			cancel() // kill -9
			return 500
		}
		return 0
	}
	if err := p.MoveVolume(ctx, a, b); err == nil {
		t.Error("a move that was killed says that all is well")
	}
	c.before = nil
	p.image = &gophercloud.ServiceClient{ProviderClient: p.network.ProviderClient, Endpoint: p.network.Endpoint}
	p.image.ResourceBase = p.network.ResourceBase
	for _, id := range []string{"ida", "idb"} {
		found, err := p.Find(t.Context(), id)
		if err == nil {
			t.Errorf("destroying %s removes %v; now %v", id, found, c)
		}
	}
}
