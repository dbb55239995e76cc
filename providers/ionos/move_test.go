package ionos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"ingot/fault"
	"ingot/providers"
	"ingot/providers/fake"
)

// at tells where a server is: whether it runs, at whose reserved address, and which
// blocks go with it.
func (x *two) at(n int) string {
	whose := func(ip string) string {
		for m, s := range []providers.Server{x.a, x.b} {
			if s.Addresses[0].String() == ip && x.cloud.reserved(ip) {
				return []string{"the first", "the second"}[m]
			}
		}
		return "none"
	}
	m := x.cloud.state.Centers[0].Servers[n]
	s := []providers.Server{x.a, x.b}[n]
	text := fmt.Sprintf("%s is %s at", s.Name, props(m.Object)["vmState"])
	ips := texts(props(m.Cards[0].Object)["ips"])
	if len(ips) == 0 {
		text += " none" // until it is switched on
	}
	for _, ip := range ips {
		text += " " + whose(ip)
	}
	for _, b := range x.cloud.state.Blocks {
		if nameOf(b) == s.Name+mark(s.Labels[providers.LabelID]) {
			text += ", owns " + whose(texts(props(b)["ips"])[0])
		}
	}
	return text
}

// addressed is what two servers shall be like: at first, after a move, and after that
// was undone.
type addressed struct{ atFirst, moved, undone string }

var bothReserved = addressed{
	"claw-1 is RUNNING at the first, owns the first; claw-2 is RUNNING at the second, owns the second",
	"claw-1 is SHUTOFF at none; claw-2 is RUNNING at the first, owns the first, owns the second",
	"claw-1 is RUNNING at the first, owns the first; claw-2 is SHUTOFF at the second, owns the second",
}

var firstReserved = addressed{
	"claw-1 is RUNNING at the first, owns the first; claw-2 is RUNNING at none",
	"claw-1 is SHUTOFF at none; claw-2 is RUNNING at the first, owns the first",
	"claw-1 is RUNNING at the first, owns the first; claw-2 is SHUTOFF at none",
}

func (x *two) wantsAt(t *testing.T, when, want string) {
	t.Helper()
	x.cloud.settle(false)
	if got := x.at(0) + "; " + x.at(1); got != want {
		t.Errorf("%s:\n%s, and not\n%s", when, got, want)
	}
}

// powers is how often a server was switched on or off.
func (x *two) powers() int {
	return x.api.Count("POST /datacenters/*/servers/*/stop") + x.api.Count("POST /datacenters/*/servers/*/start")
}

// The address that was taken comes back, and no other, whoever has a block of its own.
func TestMoveAddressAndBack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		second bool
		want   addressed
	}{{true, bothReserved}, {false, firstReserved}} {
		x := newTwoWith(t, true, c.second)
		x.wantsAt(t, "at first", c.want.atFirst)
		x.hasTaken(t, "at first", x.b, false, false)
		for range 2 {
			for n := range 4 {
				from, to, want := x.a, x.b, c.want.moved
				if n > 1 {
					from, to, want = x.b, x.a, c.want.undone
				}
				before := x.powers()
				if err := x.MoveAddress(t.Context(), from, to); err != nil {
					t.Fatalf("move %d: %v", n, err)
				}
				x.wantsAt(t, fmt.Sprintf("after move %d", n), want)
				x.hasTaken(t, "then", x.b, false, n < 2)
				x.hasTaken(t, "then", x.a, false, false)
				if did := x.powers() - before; n%2 == 1 && did != 0 {
					t.Errorf("the same once more switches %d times", did)
				}
			}
		}
	}
}

// Without a reserved address of the first server nothing is moved.
func TestMoveAddressRefuses(t *testing.T) {
	t.Parallel()
	for _, second := range []bool{false, true} {
		x := newTwoWith(t, false, second)
		err := x.MoveAddress(t.Context(), x.a, x.b)
		if fault.Of(err) != fault.OfInput || !errors.Is(err, providers.ErrUnsupported) || !strings.Contains(err.Error(), "was not reserved") {
			t.Errorf("it moves: %v", err)
		}
		if err := x.MoveAddress(t.Context(), x.a, x.a); fault.Of(err) != fault.OfInput {
			t.Errorf("to itself: %v", err)
		}
		if n := x.writes(); n != 0 {
			t.Errorf("%d requests changed something", n)
		}
	}
	// One that was deleted in the middle is told.
	x := newTwo(t)
	if err := x.MoveAddress(t.Context(), x.a, x.b); err != nil {
		t.Fatal(err)
	}
	x.cloud.state.Blocks = x.cloud.state.Blocks[1:]
	if err := x.MoveAddress(t.Context(), x.b, x.a); fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), "not at IONOS any more") {
		t.Errorf("it moves back: %v", err)
	}
}

// A server whose state is on its way gets its address and is not switched on.
func TestMoveAddressWithoutState(t *testing.T) {
	t.Parallel()
	x := newTwo(t)
	x.api.Plan(fake.Fault{On: "DELETE /datacenters/*/servers/*/volumes/*", Times: fake.Always, Status: 400, Body: object{"httpStatus": 400}})
	if err := x.MoveVolume(t.Context(), x.a, x.b); err == nil {
		t.Fatal("the state moves")
	}
	if err := x.MoveAddress(t.Context(), x.a, x.b); err != nil {
		t.Fatal(err)
	}
	x.wantsAt(t, "moved", strings.ReplaceAll(bothReserved.moved, "RUNNING", "SHUTOFF"))
}

// State and address come back to the first server from one that has no reserved address
// of its own to lose.
func TestMovesBackFromUnreserved(t *testing.T) {
	t.Parallel()
	x := newTwoWith(t, true, false)
	for _, moves := range [][]mover{{(*Provider).MoveVolume}, {(*Provider).MoveVolume, (*Provider).MoveAddress}} {
		for _, move := range moves {
			if err := move(x.Provider, t.Context(), x.a, x.b); err != nil {
				t.Fatal(err)
			}
		}
		x.hasTaken(t, "moved", x.b, true, len(moves) > 1)
		slices.Reverse(moves)
		for _, move := range moves {
			if err := move(x.Provider, t.Context(), x.b, x.a); err != nil {
				t.Fatal(err)
			}
		}
		x.wants(t, "back", moveBack)
		x.wantsAt(t, "back", firstReserved.undone)
	}
}

// third is one more server, as the second one is.
func (x *two) third(t *testing.T) (providers.Server, *providers.Entry) {
	t.Helper()
	e := x.begin(t)
	p := x.keeping()
	image, err := p.Upload(t.Context(), testUpload(e))
	if err != nil {
		t.Fatal(err)
	}
	m := testMachine(e, image)
	m.Name = "claw-3"
	s, err := p.Deploy(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return s, e
}

// Three servers take over from each other and give back in turn: each knows what it has
// taken, also when the one before it had taken that from another.
func TestMovesInAChain(t *testing.T) {
	t.Parallel()
	x := newTwo(t)
	// moves state, then address, or the other way round.
	moves := func(from, to providers.Server, back bool) {
		t.Helper()
		both := []mover{(*Provider).MoveVolume, (*Provider).MoveAddress}
		if back {
			slices.Reverse(both)
		}
		for _, move := range both {
			if err := move(x.Provider, t.Context(), from, to); err != nil {
				t.Fatalf("%s to %s: %v", from.Name, to.Name, err)
			}
		}
	}
	has := func(s providers.Server, other string, spare bool) {
		t.Helper()
		list, err := x.Servers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range list {
			if one.Name == s.Name && slices.Equal(one.Addresses, x.a.Addresses) != !spare || one.Name == s.Name && (one.State == "RUNNING") == spare {
				t.Errorf("%s: %s is %s at %v", other, s.Name, one.State, one.Addresses)
			}
		}
	}
	moves(x.a, x.b, false)
	x.hasTaken(t, "moved once", x.b, true, true)
	has(x.b, "moved once", false)
	c, e := x.third(t)
	x.hasTaken(t, "deployed", c, false, false)

	// A move that fails before its first change.
	x.api.Plan(fake.Fault{On: "POST /datacenters/*/volumes/*/labels", Status: 403, Body: object{"httpStatus": 403}})
	if err := x.MoveVolume(t.Context(), x.b, c); fault.Of(err) != fault.OfInput {
		t.Fatalf("it may label: %v", err)
	}
	x.hasTaken(t, "failed", c, false, false)
	x.hasTaken(t, "failed", x.b, true, true)
	has(x.b, "failed", false)

	moves(x.b, c, false)
	x.hasTaken(t, "moved twice", c, true, true)
	has(c, "moved twice", false)
	moves(c, x.b, true)
	x.hasTaken(t, "moved back", c, false, false)
	x.hasTaken(t, "moved back", x.b, true, true)
	has(x.b, "moved back", false)
	has(c, "moved back", true)
	moves(x.b, x.a, true)
	x.hasTaken(t, "moved back twice", x.b, false, false)
	x.wantsAt(t, "moved back twice", bothReserved.undone)
	if got := x.now(); got != moveBack {
		t.Errorf("moved back twice: %s, and not %s", got, moveBack)
	}

	// Each goes with what is its own.
	for _, one := range []*providers.Entry{e, x.eb, x.ea} {
		if _, err := one.Collect(t.Context(), x.Provider); err != nil {
			t.Fatal(err)
		}
		if left := x.cloud.reserved(x.a.Addresses[0].String()); left != (one != x.ea) {
			t.Errorf("the first address is there: %v", left)
		}
	}
	x.empty(t, x.ea.ID)
}

// Whenever a process ends that moves an address, or gives it back, the same once more
// brings that to its end and the other way undoes it; before its first change nothing
// is taken.
func TestMoveAddressKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes more than 10 s; run without -short")
	}
	for _, c := range []struct {
		second bool
		step   int
		want   addressed
	}{{true, 1, bothReserved}, {false, 3, firstReserved}} {
		x := newTwoWith(t, true, c.second)
		if n := x.endedAt(t, c.step, x.a, x.b, c.want.moved, c.want.undone, c.want.atFirst); n*c.step < 30 {
			t.Errorf("there were only %d moments in the middle", n)
		}
		x.reset(t)
		if err := x.MoveAddress(t.Context(), x.a, x.b); err != nil {
			t.Fatal(err)
		}
		x.save(t)
		if n := x.endedAt(t, c.step, x.b, x.a, c.want.undone, c.want.moved, c.want.moved); n*c.step < 30 {
			t.Errorf("there were only %d moments in the middle of the way back", n)
		}
	}
}

// endedAt ends moves at every so many requests, and goes on with them and undoes them, as often as
// not twice. It returns at how many moments the second server had taken something.
func (x *two) endedAt(t *testing.T, step int, from, to providers.Server, moved, undone, before string) (begun int) {
	t.Helper()
	for n := 0; ; n += step {
		for _, again := range []bool{true, false} {
			x.reset(t)
			if !x.dies(t, n, (*Provider).MoveAddress, from, to) {
				return begun
			}
			if n%2 == 0 {
				x.cloud.settle(false)
			}
			x.cloud.dawdle()
			between := x.at(0) + "; " + x.at(1)
			if strings.Contains(x.at(1), "owns the first") && !strings.Contains(x.at(1), "at the first") {
				t.Errorf("whoever destroys the new server loses the address: %s", between)
			}
			_, taken, err := x.Taken(t.Context(), x.b)
			switch {
			case err != nil:
				t.Fatal(err)
			case taken:
				begun++
			default:
				x.wantsAt(t, "nothing is taken", x.untaken(to, before, moved))
			}
			a, b, want := from, to, moved
			if !again {
				if a, b, want = to, from, undone; !taken {
					continue // which would be a move of its own
				}
			}
			for range 1 + n%2 {
				if err := x.MoveAddress(t.Context(), a, b); err != nil {
					t.Errorf("from %s: %v", between, err)
				}
			}
			x.wantsAt(t, fmt.Sprintf("from %s to %s", between, b.Name), want)
			x.hasTaken(t, "at last", x.b, false, b.ID == x.b.ID)
			if t.Failed() {
				t.Fatalf("the process died before request %d", n)
			}
		}
	}
}

// untaken is what all is like when nothing is taken: as before the move, or as after the
// way back.
func (x *two) untaken(to providers.Server, before, after string) string {
	if to.ID == x.a.ID {
		return after
	}
	return before
}

// Answers that are lost, lists of before and a busy data center change nothing of what
// comes of it.
func TestMoveAddressInBadWeather(t *testing.T) {
	t.Parallel()
	x := newTwo(t)
	servers := "/datacenters/*/servers/*"
	busy := object{"httpStatus": 422, "messages": []object{{"errorCode": "301", "message": "The resource is busy: provisioning is in progress"}}}
	var cases [][]fake.Fault
	for _, on := range []string{"POST " + servers + "/stop", "POST " + servers + "/start", "PATCH " + servers + "/nics/*", "PATCH /ipblocks/*", "POST " + servers + "/labels"} {
		cases = append(cases, []fake.Fault{{On: on, Lost: true}}, []fake.Fault{{On: on, Refused: true}}, []fake.Fault{{On: on, Times: 2, Status: 422, Body: busy}})
	}
	cards := "PATCH " + servers + "/nics/*"
	cases = append(cases,
		[]fake.Fault{{On: cards, Skip: 1, Lost: true}},
		[]fake.Fault{{On: "GET " + servers + "/nics", After: cards, Times: 3, Stale: true}},
		[]fake.Fault{{On: cards, Lost: true}, {On: "GET " + servers + "/nics", After: cards, Times: 3, Stale: true}})
	for _, faults := range cases {
		x.reset(t)
		for _, m := range []struct {
			from, to providers.Server
			want     string
		}{{x.a, x.b, bothReserved.moved}, {x.b, x.a, bothReserved.undone}} {
			x.api.Plan(faults...)
			if err := x.MoveAddress(t.Context(), m.from, m.to); err != nil {
				t.Errorf("%+v: %v", faults, err)
			}
			x.api.Calm()
			x.wantsAt(t, fmt.Sprintf("to %s with %+v", m.to.Name, faults), m.want)
		}
	}
	// Labels of before do not hide that something was taken.
	x.reset(t)
	x.api.Plan(fake.Fault{On: "GET /labels", After: "POST " + servers + "/labels", Times: 2, Stale: true})
	if err := x.MoveAddress(t.Context(), x.a, x.b); err != nil {
		t.Fatal(err)
	}
	x.hasTaken(t, "with labels of before", x.b, false, true)
}

// What IONOS cannot do is told, and can be undone.
func TestMoveAddressThatFails(t *testing.T) {
	t.Parallel()
	x := newTwo(t)
	for _, fails := range []string{"POST stop", "PATCH nics", "PATCH ipblocks", "POST start"} {
		x.reset(t)
		x.cloud.fail[fails] = "no luck"
		if err := x.MoveAddress(t.Context(), x.a, x.b); fault.Of(err) != fault.OfProvider || !strings.Contains(err.Error(), "no luck") {
			t.Errorf("%s fails: %v", fails, err)
		}
		clear(x.cloud.fail)
		x.hasTaken(t, fails+" failed", x.b, false, true)
		if err := x.MoveAddress(t.Context(), x.b, x.a); err != nil {
			t.Errorf("after %s failed: %v", fails, err)
		}
		x.wantsAt(t, "after "+fails+" failed", bothReserved.undone)
		x.hasTaken(t, "undone", x.b, false, false)
	}
	ctx, cancel := context.WithCancel(t.Context())
	x.reset(t)
	x.api.Plan(fake.Fault{On: "PATCH /datacenters/*/servers/*/nics/*", Hook: cancel})
	if err := x.MoveAddress(ctx, x.a, x.b); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if err := x.MoveAddress(t.Context(), x.b, x.a); err != nil {
		t.Error(err)
	}
	x.wantsAt(t, "undone", bothReserved.undone)
}
