package ionos

import (
	"slices"
	"strings"
	"testing"

	"ingot/fault"
	"ingot/providers"
	"ingot/providers/fake"
)

func ids(list []providers.Resource) (all []string) {
	for _, r := range list {
		_, inner, ok := strings.Cut(r.ID, "/")
		if !ok {
			inner = r.ID
		}
		all = append(all, inner)
	}
	return all
}

// A process dies in the middle of the address' move: neither of the two is destroyed then.
func TestDestroyHalfMovedAddress(t *testing.T) {
	for _, old := range []bool{true, false} {
		x := newTwo(t)
		seen := false
		for n := 0; ; n++ {
			x.reset(t)
			if !x.dies(t, n, (*Provider).MoveAddress, x.a, x.b) {
				break
			}
			x.cloud.settle(false)
			// At the second one's card, and still the first one's.
			if !strings.Contains(x.at(1), "at the first") || !strings.Contains(x.at(0), "owns the first") {
				continue
			}
			seen = true
			between := x.at(0) + "; " + x.at(1)
			e := x.eb
			if old {
				e = x.ea
			}
			if found, err := x.Find(t.Context(), e.ID); fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), "ingot rollback") {
				t.Errorf("old=%v, %s: destroying it asks for %v to be deleted: %v", old, between, ids(found), err)
			}
			break
		}
		if !seen {
			t.Error("never half way")
		}
	}
}

// The labels that are read are those of before the move: the state, which has the name of
// the new server, is not deleted with the old one.
func TestDestroyWithOldLabels(t *testing.T) {
	x := newTwo(t)
	past := fake.Fault{On: "GET /labels", After: "POST /datacenters/*/volumes/*/labels", Times: fake.Always, Stale: true}
	x.api.Plan(past)
	if err := x.MoveVolume(t.Context(), x.a, x.b); err != nil {
		t.Fatal(err)
	}
	x.wants(t, "moved", moved)
	found, err := x.Find(t.Context(), x.ea.ID)
	if err == nil || slices.Contains(ids(found), x.va) {
		t.Errorf("destroying the old server deletes the state that the new one runs with: %v, %v", found, err)
	}
}

// The config's CD-ROM was taken out and could not be deleted: it is the next time.
func TestDropConfigTwice(t *testing.T) {
	r := newRig(t)
	server, _ := r.deployed(t)
	r.api.Plan(fake.Fault{On: "PATCH /images/*", Status: 503, Times: 1, Body: object{"httpStatus": 503}})
	err := r.DropConfig(t.Context(), server)
	if err == nil {
		t.Fatal("the config could not be deleted, and nobody says so")
	}
	r.api.Calm()
	if err := r.DropConfig(t.Context(), server); err != nil {
		t.Fatal(err)
	}
	list, err := r.images(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range list {
		if !onDisk(i) && alive(i) {
			t.Errorf("there is no error, and still the config: %s, %q", *i.Properties.Name, deref(i.Properties.Description))
		}
	}
}

// A third server has taken over: the second has no address to give back to the first.
func TestAddressIsAtAThird(t *testing.T) {
	x := newTwo(t)
	c, _ := x.third(t)
	for _, ends := range [][2]providers.Server{{x.a, x.b}, {x.b, c}} {
		if err := x.MoveAddress(t.Context(), ends[0], ends[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.MoveAddress(t.Context(), x.b, x.a); fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), "claw-3") {
		t.Error(err)
	}
}

// An address that goes back before the state does not have the old server run without it.
func TestBackOnEmptyState(t *testing.T) {
	x := newTwo(t)
	for _, move := range []mover{(*Provider).MoveVolume, (*Provider).MoveAddress} {
		if err := move(x.Provider, t.Context(), x.a, x.b); err != nil {
			t.Fatal(err)
		}
	}
	x.cloud.boots = nil
	if err := x.MoveAddress(t.Context(), x.b, x.a); err != nil {
		t.Fatal(err)
	}
	for _, b := range x.cloud.boots {
		if strings.HasPrefix(b.server, "claw-1") && b.state == x.vb {
			t.Errorf("the old server runs at its public address with the new one's empty state: %s", x.at(0))
		}
	}
	if err := x.MoveVolume(t.Context(), x.b, x.a); err != nil {
		t.Fatal(err)
	}
	x.wants(t, "back", moveBack)
	x.wantsAt(t, "back", bothReserved.undone)
}
