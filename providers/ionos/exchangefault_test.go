package ionos

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

// Answers that are lost, lists of before and a busy data center change nothing of what
// comes of a move.
func TestMoveVolumeInBadWeather(t *testing.T) {
	t.Parallel()
	x := newTwo(t)
	servers, volumes := "/datacenters/*/servers/*", "/datacenters/*/volumes/*"
	busy := object{"httpStatus": 422, "messages": []object{{"errorCode": "301", "message": "The resource is busy: provisioning is in progress"}}}
	var cases [][]fake.Fault
	for _, on := range []string{
		"POST " + servers + "/stop", "POST " + servers + "/start", "POST " + servers + "/volumes", "DELETE " + servers + "/volumes/*",
		"PATCH " + volumes, "POST " + volumes + "/labels", "PUT " + volumes + "/labels/*", "DELETE " + volumes + "/labels/*",
	} {
		cases = append(cases, []fake.Fault{{On: on, Lost: true}}, []fake.Fault{{On: on, Skip: 1, Lost: true}}, []fake.Fault{{On: on, Refused: true}}, []fake.Fault{{On: on, Times: 2, Status: 422, Body: busy}})
	}
	attached := "GET " + servers + "/volumes"
	for _, after := range []string{"POST " + servers + "/volumes", "DELETE " + servers + "/volumes/*"} {
		cases = append(cases, []fake.Fault{{On: attached, After: after, Times: 4, Stale: true}}, []fake.Fault{{On: after, Lost: true}, {On: attached, After: after, Times: 4, Stale: true}})
	}
	for _, after := range []string{"POST " + servers + "/stop", "POST " + servers + "/start"} {
		cases = append(cases, []fake.Fault{{On: "GET " + servers, After: after, Times: 4, Stale: true}})
	}
	for _, faults := range cases {
		x.reset(t)
		x.api.Plan(faults...)
		if err := x.MoveVolume(t.Context(), x.a, x.b); err != nil {
			t.Errorf("%+v: %v", faults, err)
		}
		x.wants(t, fmt.Sprintf("moved with %+v", faults), moved)
	}
	// Labels of before an earlier move, and from its middle, do not turn the next one
	// round.
	for _, after := range []string{"POST " + volumes + "/labels", "PUT " + volumes + "/labels/*", "DELETE " + volumes + "/labels/*"} {
		x.reset(t)
		x.api.Plan(fake.Fault{On: "GET /labels", After: after, Times: 3, Stale: true})
		for _, ends := range [][2]providers.Server{{x.a, x.b}, {x.b, x.a}} {
			if err := x.MoveVolume(t.Context(), ends[0], ends[1]); err != nil {
				t.Fatalf("with labels of before %s: %v", after, err)
			}
		}
		x.wants(t, "moved and moved back with labels of before "+after, moveBack)
	}
}

// An interruption leaves no server without its state, and no move that is not known to
// have begun.
func TestMoveVolumeIsInterrupted(t *testing.T) {
	t.Parallel()
	x := newTwo(t)
	for _, c := range []struct {
		on    string
		skip  int
		want  string
		stops int // of the second server, in all
	}{
		{"GET /labels", 0, atFirst + "; first is on its way", 0},
		{"POST /datacenters/*/volumes/*/labels", 0, atFirst + "; first is on its way", 0},
		// The second server is being switched off: the first one, which was, is on again.
		{"POST /datacenters/*/servers/*/stop", 1, atFirst + "; first is on its way", 1},
		{"DELETE /datacenters/*/servers/*/volumes/*", 0, strings.NewReplacer("RUNNING", "SHUTOFF", "with first", "with").Replace(atFirst) + "; first is on its way", 1},
	} {
		x.reset(t)
		ctx, cancel := context.WithCancel(t.Context())
		x.api.Plan(fake.Fault{On: c.on, Skip: c.skip, Hook: cancel})
		if err := x.MoveVolume(ctx, x.a, x.b); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", c.on, err)
		}
		x.wants(t, "interrupted at "+c.on, c.want)
		if n := x.api.Count("POST " + stopOf(x.b)); n != c.stops {
			t.Errorf("interrupted at %s: the second server was switched off %d times, not %d", c.on, n, c.stops)
		}
		stopped := x.api.Count("POST " + stopOf(x.a))
		if err := x.MoveVolume(t.Context(), x.b, x.a); err != nil {
			t.Errorf("%s: the other way: %v", c.on, err)
		}
		x.wants(t, "undone after "+c.on, moveBack)
		if n := x.api.Count("POST " + stopOf(x.a)); c.stops == 0 && n != stopped {
			t.Errorf("undone after %s: the first server, which had what it shall have, was switched off", c.on)
		}
	}
}

func stopOf(s providers.Server) string {
	dc, server, _ := split(s.ID)
	return "/datacenters/" + dc + "/servers/" + server + "/stop"
}

// What IONOS cannot do is told, with what is to be done.
func TestMoveVolumeThatFails(t *testing.T) {
	t.Parallel()
	x := newTwo(t)
	for _, c := range []struct{ fails, want, text string }{
		{"POST stop", atFirst + "; first is on its way", "IONOS could not: no luck"},
		{"POST volumes", strings.NewReplacer("RUNNING", "SHUTOFF", "with first", "with", "with second", "with").Replace(atFirst) + "; first is on its way", "run it again, or the move the other way"},
		{"POST start", strings.NewReplacer("RUNNING", "SHUTOFF").Replace(moved) + "; first is on its way", "switch on the server claw-2"},
	} {
		for _, ends := range [][2]providers.Server{{x.a, x.b}, {x.b, x.a}} {
			x.reset(t)
			x.cloud.fail[c.fails] = "no luck"
			err := x.MoveVolume(t.Context(), x.a, x.b)
			if fault.Of(err) != fault.OfProvider || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%s fails: %v", c.fails, err)
			}
			x.wants(t, c.fails+" fails", c.want)
			clear(x.cloud.fail)
			want := moved
			if ends[1].ID == x.a.ID {
				want = moveBack
			}
			if err := x.MoveVolume(t.Context(), ends[0], ends[1]); err != nil {
				t.Errorf("after %s failed: %v", c.fails, err)
			}
			x.wants(t, "after "+c.fails+" failed", want)
		}
	}
}

// Lists that show what is not so, or not yet, do not have a server switched on without
// its state.
func TestMoveVolumeThatIsNotThere(t *testing.T) {
	t.Parallel()
	x := newTwo(t)
	for server, volume := range map[string]string{x.a.ID: x.vb, x.b.ID: x.va} {
		dc, inner, _ := split(server)
		shown := object{"id": "x", "items": []object{byID(x.cloud.state.Centers[0].Volumes, volume)}}
		x.api.Plan(fake.Fault{On: "GET /datacenters/" + dc + "/servers/" + inner + "/volumes", Skip: 1, Status: 200, Body: shown})
	}
	err := x.MoveVolume(t.Context(), x.a, x.b)
	if fault.Of(err) != fault.OfProvider || !strings.Contains(err.Error(), "does not show the state") {
		t.Errorf("volumes that seem to be there already: %v", err)
	}
	attaches := "POST /datacenters/*/servers/*/volumes"
	x.api.Plan(fake.Fault{On: "GET /datacenters/*/servers/*/volumes", After: attaches, Times: fake.Always, Stale: true})
	err = x.MoveVolume(t.Context(), x.a, x.b)
	if fault.Of(err) != fault.OfProvider || !strings.Contains(err.Error(), "and does not show it") || x.api.Count(attaches) != 1 {
		t.Errorf("a volume that does not come: %v", err)
	}
	x.api.Calm()
	if err := x.MoveVolume(t.Context(), x.a, x.b); err != nil {
		t.Fatal(err)
	}
	x.wants(t, "moved then", moved)
}
