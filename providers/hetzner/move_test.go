package hetzner

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"ingot/fault"
	"ingot/providers"
)

// ours is a server that was deployed with a volume for its state, or without.
func (b *bench) ours(name string, volume string) providers.Server {
	label := obj{providers.LabelServer: name, providers.LabelID: "entryof" + strings.ReplaceAll(name, "-", "")}
	s := b.cloud.newServer(name, "running", label)
	s["_state"] = "its own"
	if volume != "" {
		s["_state"] = "a volume"
		v := b.cloud.newVolume(volume, s["id"], obj{labelState: label[providers.LabelID], providers.LabelServer: name, providers.LabelID: label[providers.LabelID]})
		v["_label"] = "ingot-var"
	}
	return providers.Server{ID: fmt.Sprint(id(s)), Name: name}
}

// two are servers of ours, each with a volume.
func (b *bench) two() (old, replacement providers.Server) {
	return b.ours("claw-1", "state"), b.ours("claw-2", "fresh")
}

// where says who has the volumes, by place and by labels, and the addresses, and who
// runs.
func (b *bench) where() string {
	var words []string
	name := func(server any) string {
		if s := b.cloud.find("servers", n(server)); s != nil {
			return s["name"].(string)
		}
		return "nobody"
	}
	for _, v := range b.cloud.kinds["volumes"] {
		if label := v["labels"].(obj); label[labelState] != nil {
			word := fmt.Sprint(v["name"], " at ", name(v["server"]))
			if of := label[providers.LabelServer]; of != name(v["server"]) || label[providers.LabelID] != "entryof"+strings.ReplaceAll(of.(string), "-", "") {
				word += fmt.Sprint(" of ", of, " ", label[providers.LabelID])
			}
			words = append(words, word)
		}
	}
	for _, ip := range b.cloud.kinds["primary_ips"] {
		if at := name(ip["assignee_id"]); !strings.HasPrefix(at, "theirs") {
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
	apart   = "state at claw-1, fresh at claw-2, claw-1, claw-1, claw-2, claw-2, running, running"
	moved   = "state at claw-2, fresh at claw-1, claw-1, claw-1, claw-2, claw-2, off, running"
	swapped = "state at claw-2, fresh at claw-1, claw-2, claw-2, claw-1, claw-1, off, running"
	half    = "state at claw-2, fresh at claw-1, claw-1, claw-1, claw-2, claw-2, off, off"
	back    = "state at claw-1, fresh at claw-2, claw-1, claw-1, claw-2, claw-2, running, off"
)

func TestMove(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	from, to := b.two()
	for i, step := range []struct {
		do   func(context.Context, providers.Server, providers.Server) error
		a, b providers.Server
		want string
	}{
		{b.MoveVolume, from, to, moved},
		{b.MoveVolume, from, to, moved},
		{b.MoveAddress, from, to, swapped},
		{b.MoveAddress, from, to, swapped},
		// And back.
		{b.MoveAddress, to, from, half},
		{b.MoveVolume, to, from, back},
		{b.MoveVolume, to, from, back},
		// And once more.
		{b.MoveVolume, from, to, moved},
		{b.MoveVolume, to, from, back},
	} {
		if err := step.do(t.Context(), step.a, step.b); err != nil {
			t.Fatal(err)
		}
		if got := b.where(); got != step.want {
			t.Fatalf("after step %d it is %s, want %s", i, got, step.want)
		}
	}
}

// Whoever could not even begin to take something gives nothing back.
func TestNothingToBringBack(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	from, to := b.two()
	for _, move := range []func(context.Context, providers.Server, providers.Server) error{b.MoveAddress, b.MoveVolume} {
		if err := move(t.Context(), to, from); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.where(); got != back {
		t.Errorf("it is %s", got)
	}
	if b.api.Count("PUT *") > 0 {
		t.Error("something was planned")
	}
}

// A server that has taken over is replaced itself, and all comes back step by step or at
// once; or the first is replaced once more.
func TestMoveAlong(t *testing.T) {
	t.Parallel()
	for name, ways := range map[string][][2]int{
		"step by step": {{0, 1}, {1, 2}, {2, 1}, {1, 0}},
		"at once":      {{0, 1}, {1, 2}, {2, 0}},
		"two from one": {{0, 1}, {0, 2}, {2, 0}, {1, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			first, second := b.two()
			all, at := []providers.Server{first, second, b.ours("claw-3", "fresher")}, []string{"state", "fresh", "fresher"}
			for _, way := range ways {
				from, to := way[0], way[1]
				if err := b.MoveVolume(t.Context(), all[from], all[to]); err != nil {
					t.Fatalf("%v: %v", way, err)
				}
				at[from], at[to] = at[to], at[from]
				for i, volume := range at {
					if got := b.where(); !strings.Contains(got, fmt.Sprintf("%s at %s,", volume, all[i].Name)) {
						t.Errorf("after %v it is %s, want %v", way, got, at)
					}
				}
			}
		})
	}
}

// The volume goes with its new server.
func TestDestroyAfterMove(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	from, to := b.two()
	if err := b.MoveVolume(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
	found, err := b.Find(t.Context(), "entryofclaw1")
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, r := range found {
		words = append(words, r.Kind+" "+r.Name)
		if err := b.Delete(t.Context(), r); err != nil {
			t.Error(err)
		}
	}
	if got := strings.Join(words, ", "); got != "server claw-1, volume fresh" {
		t.Errorf("found %s", got)
	}
	if got := b.where(); got != "state at claw-2, claw-2, claw-2, running" {
		t.Errorf("it is %s", got)
	}
}

func TestStateSize(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	from, to := b.two()
	b.cloud.byRef("volumes", "state")["size"] = 33
	third := b.ours("claw-3", "")
	for _, test := range []struct {
		server providers.Server
		want   int
	}{{from, 33}, {to, 10}, {third, 0}} {
		if size, err := b.StateSize(t.Context(), test.server); size != test.want || err != nil {
			t.Errorf("the state of %s has %d, %v", test.server.Name, size, err)
		}
	}
	b.cloud.byRef("volumes", "state")["server"] = nil
	_, err := b.StateSize(t.Context(), from)
	wantError(t, err, fault.OfInput, "the volume state is not at its server")
	_, err = b.StateSize(t.Context(), providers.Server{ID: "x"})
	wantError(t, err, fault.OfInput, "no number of a server")
}

func TestMoveRefusals(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	from, to := b.two()
	plain := b.ours("claw-3", "")
	stranger := b.cloud.newServer("stranger", "running", obj{})
	wantError(t, b.MoveVolume(t.Context(), from, from), fault.OfInput, "the two servers are the same")
	wantError(t, b.MoveVolume(t.Context(), from, providers.Server{ID: "x"}), fault.OfInput, "no number of a server")
	wantError(t, b.MoveVolume(t.Context(), from, providers.Server{ID: fmt.Sprint(id(stranger))}), fault.OfInput, "Ingot did not make it")
	wantError(t, b.MoveAddress(t.Context(), from, providers.Server{ID: "1"}), fault.OfInput, "there is no server 1")
	for _, way := range [][2]providers.Server{{plain, to}, {from, plain}} {
		err := b.MoveVolume(t.Context(), way[0], way[1])
		wantError(t, err, fault.OfInput, "the server claw-3 keeps its state on its own disk", "deploy both servers with a volume")
		if !errors.Is(err, providers.ErrUnsupported) {
			t.Errorf("%v is not ErrUnsupported", err)
		}
	}
	state := b.cloud.byRef("volumes", "state")
	state["location"] = nuremberg
	err := b.MoveVolume(t.Context(), from, to)
	wantError(t, err, fault.OfInput, "nbg1", "fsn1", "one location")
	if !errors.Is(err, providers.ErrUnsupported) {
		t.Errorf("%v is not ErrUnsupported", err)
	}
	state["location"] = falkenstein
	label := state["labels"].(obj)
	for what, test := range map[string]struct {
		server any
		move   string
		words  string
	}{
		"with a stranger":       {stranger["id"], "", "the volume state is not at its server"},
		"of another move":       {nil, "77-" + from.ID, "ingot-move=77-" + from.ID},
		"a move to another":     {nil, from.ID + "-77", "finish the move"},
		"two at one":            {b.cloud.byRef("servers", "claw-2")["id"], "", "2 volumes"},
		"away and not to bring": {nil, "", "the volume state is not at its server"},
	} {
		state["server"] = test.server
		if delete(label, labelMove); test.move != "" {
			label[labelMove] = test.move
		}
		way := [2]providers.Server{from, to}
		if what == "away and not to bring" {
			way = [2]providers.Server{to, from}
		}
		t.Run(what, func(t *testing.T) {
			wantError(t, b.MoveVolume(t.Context(), way[0], way[1]), fault.OfInput, test.words)
		})
	}
	delete(label, labelMove)
	state["server"] = b.cloud.byRef("servers", "claw-1")["id"]
	third := b.cloud.newVolume("second", state["server"], obj{labelState: "x"})
	wantError(t, b.MoveVolume(t.Context(), from, to), fault.OfInput, "3 volumes")
	b.cloud.drop("volumes", third)
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
