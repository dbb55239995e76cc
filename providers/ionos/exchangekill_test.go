package ionos

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"ingot/fault"
	"ingot/providers"
)

// mortal is a transport on which a process dies: not even what it defers is done,
// as far as it would send something.
type mortal struct {
	http.RoundTripper
	left int // requests
	dead bool
}

func (m *mortal) RoundTrip(r *http.Request) (*http.Response, error) {
	if m.left--; m.left < 0 {
		m.dead = true
		panic(m)
	}
	return m.RoundTripper.RoundTrip(r)
}

// mover is one of the two moves.
type mover func(*Provider, context.Context, providers.Server, providers.Server) error

// dies moves in a process that dies before its request number n, from 0. It returns
// false when there were fewer.
func (x *two) dies(t *testing.T, n int, move mover, from, to providers.Server) (dead bool) {
	t.Helper()
	p := x.again(t)
	client := p.api.GetConfig().HTTPClient
	m := &mortal{client.Transport, n, false}
	client.Transport = m
	defer func() {
		if e := recover(); e != nil && e != any(m) {
			panic(e)
		}
		dead = m.dead
	}()
	if err := move(p, t.Context(), from, to); err != nil {
		t.Fatalf("at %d requests: %v", n, err)
	}
	return false
}

// Whenever a process ends that moves state, the same once more brings the move to its
// end, the one the other way undoes it, and neither server can be destroyed meanwhile.
func TestMoveVolumeKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes more than 10 s; run without -short")
	}
	x := newTwo(t)
	begun := x.ended(t, x.a, x.b, 1, moved, moveBack)
	if begun < 20 {
		t.Errorf("there were only %d moments", begun)
	}
	t.Logf("ended at %d moments in the middle", begun)
	swap := strings.NewReplacer("RUNNING", "SHUTOFF", "SHUTOFF", "RUNNING")
	x.ended(t, x.b, x.a, 7, swap.Replace(moved), swap.Replace(moveBack))

	// An undoing that ends is gone on with in both ways, too.
	for n := 8; n < begun; n += 8 {
		for k := 8; k < begun; k += 8 {
			for _, ends := range [][2]providers.Server{{x.a, x.b}, {x.b, x.a}} {
				x.reset(t)
				if !x.dies(t, n, (*Provider).MoveVolume, x.a, x.b) || !strings.Contains(x.now(), "first is on its way") || !x.dies(t, k, (*Provider).MoveVolume, x.b, x.a) {
					continue
				}
				between := x.now()
				want := moved
				if ends[1].ID == x.a.ID {
					want = moveBack
				}
				if strings.Contains(between, "is on its way") {
					if err := x.MoveVolume(t.Context(), ends[0], ends[1]); err != nil {
						t.Errorf("from %s: %v", between, err)
					}
					x.wants(t, "from "+between, want)
				}
			}
		}
	}
}

// ended ends moves at every so many requests, and goes on with them and undoes them.
// It returns at how many moments a move had begun.
func (x *two) ended(t *testing.T, from, to providers.Server, step int, moved, undone string) (begun int) {
	t.Helper()
	for n := 0; ; n += step {
		x.reset(t)
		if !x.dies(t, n, (*Provider).MoveVolume, from, to) {
			return begun
		}
		// What was asked for is carried out, sometimes some time after the next process
		// has come.
		if n%2 == 0 {
			x.cloud.settle(false)
		}
		x.cloud.dawdle()
		onItsWay := strings.Contains(x.now(), "is on its way")
		switch {
		case onItsWay:
			begun++
			for _, e := range []*providers.Entry{x.ea, x.eb} {
				if _, err := x.Find(t.Context(), e.ID); fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), "ingot rollback") {
					t.Errorf("before request %d: it may be destroyed: %v", n, err)
				}
			}
			if _, err := x.StateSize(t.Context(), x.a); fault.Of(err) != fault.OfInput {
				t.Errorf("before request %d: the size is told: %v", n, err)
			}
			x.hasTaken(t, "in the middle", from, true, false)
			x.hasTaken(t, "in the middle", to, true, false)
		case begun == 0:
			x.wants(t, "before anything", atFirst)
			x.hasTaken(t, "before anything", to, false, false)
		default:
			t.Errorf("before request %d: it is not known that a move has begun", n)
		}
		between := x.now()
		if err := x.MoveVolume(t.Context(), from, to); err != nil {
			t.Errorf("before request %d: the same once more: %v", n, err)
		}
		x.wants(t, "the same once more from "+between, moved)
		x.hasTaken(t, "moved", to, true, false)

		// The other way is a move of its own when nothing has begun.
		if onItsWay {
			x.reset(t)
			x.dies(t, n, (*Provider).MoveVolume, from, to)
			x.cloud.dawdle()
			if n%5 == 0 {
				x.cloud.state.Blocks = nil // which is no reason to leave it half done
			}
			if err := x.MoveVolume(t.Context(), to, from); err != nil {
				t.Errorf("before request %d: the other way: %v", n, err)
			}
			x.wants(t, "the other way from "+between, undone)
			x.hasTaken(t, "undone", to, false, false)
		}
		if t.Failed() {
			t.Fatalf("the process died before request %d", n)
		}
	}
}
