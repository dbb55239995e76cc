package ionos

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"ingot/fault"
	"ingot/providers"
)

// two is a rig with two servers that have volumes for their state and reserved addresses.
type two struct {
	*rig
	a, b   providers.Server
	ea, eb *providers.Entry
	va, vb string // the volumes
	saved  []byte
}

func newTwo(t *testing.T) *two {
	t.Helper()
	return newTwoWith(t, true, true)
}

// newTwoWith says which of the two have reserved addresses.
func newTwoWith(t *testing.T, first, second bool) *two {
	t.Helper()
	x := &two{rig: newRig(t)}
	x.cloud.polls = 1
	x.ea, x.eb = x.begin(t), x.begin(t)
	p := x.keeping()
	image, err := p.Upload(t.Context(), testUpload(x.ea))
	if err != nil {
		t.Fatal(err)
	}
	p.opts.Reserve = first
	if x.a, err = p.Deploy(t.Context(), testMachine(x.ea, image)); err != nil {
		t.Fatal(err)
	}
	p.opts.Reserve = second
	m := testMachine(x.eb, image)
	m.Name = "claw-2"
	if x.b, err = p.Deploy(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	x.va, x.vb = stateVolume(t, x.rig, 0), stateVolume(t, x.rig, 1)
	x.save(t)
	x.reset(t)
	return x
}

// save has the cloud as it is be what reset brings back.
func (x *two) save(t *testing.T) {
	t.Helper()
	x.cloud.settle(false)
	var err error
	if x.saved, err = json.Marshal(x.cloud.state); err != nil {
		t.Fatal(err)
	}
}

// hasTaken wants Taken to say this of a server.
func (x *two) hasTaken(t *testing.T, when string, s providers.Server, state, address bool) {
	t.Helper()
	if a, b, err := x.Taken(t.Context(), s); err != nil || a != state || b != address {
		t.Errorf("%s: %s has taken a state: %v, an address: %v, and not %v and %v; %v", when, s.Name, a, b, state, address, err)
	}
}

// reset brings the cloud back to what it was.
func (x *two) reset(t *testing.T) {
	t.Helper()
	x.api.Calm()
	x.api.Forget()
	x.cloud = newCloud(t, x.ftp)
	x.cloud.polls = 1
	if err := json.Unmarshal(x.saved, &x.cloud.state); err != nil {
		t.Fatal(err)
	}
}

// now tells of each server which state it has, whether it runs, and which volumes are
// its own; and of volumes that are on their way.
func (x *two) now() string {
	var parts []string
	name := map[string]string{x.va: "first", x.vb: "second"}
	labels := func(id, key string) (value string) {
		for _, l := range x.cloud.state.Labels {
			if props(l)["resourceId"] == id && props(l)["key"] == key {
				value = fmt.Sprint(props(l)["value"])
			}
		}
		return value
	}
	d := x.cloud.state.Centers[0]
	for n, s := range []providers.Server{x.a, x.b} {
		m := d.Servers[n]
		part := fmt.Sprintf("%s is %s with", s.Name, props(m.Object)["vmState"])
		for _, id := range m.Volumes[1:] {
			part += " " + name[id]
		}
		for _, id := range []string{x.va, x.vb} {
			owner, called := labels(id, providers.LabelID), nameOf(byID(d.Volumes, id))
			if owner == s.Labels[providers.LabelID] && labels(id, providers.LabelServer) == s.Name && called == stateName(s.Name, owner) {
				part += ", owns " + name[id]
			}
		}
		parts = append(parts, part)
	}
	for _, id := range []string{x.va, x.vb} {
		if labels(id, labelMove) != "" {
			parts = append(parts, name[id]+" is on its way")
		}
	}
	return strings.Join(parts, "; ")
}

// What the two servers can be like.
const (
	atFirst  = "claw-1 is RUNNING with first, owns first; claw-2 is RUNNING with second, owns second"
	moved    = "claw-1 is SHUTOFF with second, owns second; claw-2 is RUNNING with first, owns first"
	moveBack = "claw-1 is RUNNING with first, owns first; claw-2 is SHUTOFF with second, owns second"
)

// wants compares, and looks at how servers were switched on.
func (x *two) wants(t *testing.T, when, want string) {
	t.Helper()
	x.cloud.settle(false)
	if got := x.now(); got != want {
		t.Errorf("%s:\n%s, and not\n%s", when, got, want)
	}
	for _, b := range x.cloud.boots {
		if b.from != "disk" || b.state != x.va && b.state != x.vb || !b.active {
			t.Errorf("%s: %s was switched on as %+v", when, b.server, b)
		}
	}
}

func TestMoveVolume(t *testing.T) {
	t.Parallel()
	x := newTwo(t)
	x.wants(t, "at first", atFirst)
	for _, c := range []struct {
		what     string
		from, to providers.Server
		want     string
	}{
		{"moved", x.a, x.b, moved},
		{"moved back", x.b, x.a, moveBack},
		{"moved again", x.a, x.b, moved},
		{"the same once more", x.a, x.b, strings.NewReplacer("first", "second", "second", "first").Replace(moved)},
		{"moved back", x.b, x.a, strings.NewReplacer("first", "second", "second", "first").Replace(moveBack)},
		{"from the other side", x.b, x.a, moveBack},
		{"moved at last", x.a, x.b, moved},
	} {
		if err := x.MoveVolume(t.Context(), c.from, c.to); err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		x.wants(t, c.what, c.want)
	}
	if x.cloud.busy != 0 {
		t.Errorf("%d requests came while another was carried out", x.cloud.busy)
	}
	// The address follows.
	if err := x.MoveAddress(t.Context(), x.a, x.b); err != nil {
		t.Fatal(err)
	}
	list, err := x.Servers(t.Context())
	if err != nil || len(list) != 2 || !slices.Equal(list[1].Addresses, x.a.Addresses) {
		t.Errorf("the servers are %+v, %v", list, err)
	}
	if n, err := x.StateSize(t.Context(), x.b); n != 10 || err != nil {
		t.Errorf("the state has %d GiB, %v", n, err)
	}
	// The old server goes with what it has now, and the new one keeps its state.
	if _, err := x.ea.Collect(t.Context(), x.Provider); err != nil {
		t.Fatal(err)
	}
	d := x.cloud.state.Centers[0]
	if byID(d.Volumes, x.vb) != nil || byID(d.Volumes, x.va) == nil || len(d.Servers) != 1 || !slices.Contains(d.Servers[0].Volumes, x.va) {
		t.Errorf("left are the volumes %v", d.Volumes)
	}
	if _, err := x.eb.Collect(t.Context(), x.Provider); err != nil {
		t.Fatal(err)
	}
	x.empty(t, x.eb.ID)
}

// Servers start from their own disks, also where IONOS takes a volume that comes for
// the one to start from.
func TestMoveVolumeAndBoot(t *testing.T) {
	t.Parallel()
	x := newTwo(t)
	x.cloud.mistakesBoot = true
	if err := x.MoveVolume(t.Context(), x.a, x.b); err != nil {
		t.Fatal(err)
	}
	x.wants(t, "moved", moved)
	if err := x.MoveVolume(t.Context(), x.b, x.a); err != nil {
		t.Fatal(err)
	}
	x.wants(t, "moved back", moveBack)
}

// What cannot be moved is refused before anything is changed.
func TestMoveVolumeRefuses(t *testing.T) {
	t.Parallel()
	x := newTwo(t)
	for _, c := range []struct {
		name        string
		change      func(from, to *providers.Server)
		unsupported bool
		text        string
	}{
		{"no volume of the first", func(_, _ *providers.Server) { x.cloud.dropLabels(x.va) }, true, "claw-1 has 0 volumes for its state and claw-2 has 1"},
		{"no volume of the second", func(_, _ *providers.Server) { x.cloud.dropLabels(x.vb) }, true, "claw-2 has 0"},
		{"no reserved address", func(_, _ *providers.Server) { x.cloud.state.Blocks = nil }, true, "was not reserved"},
		{"no reserved address of the first", func(_, _ *providers.Server) { x.cloud.state.Blocks = x.cloud.state.Blocks[1:] }, true, "claw-1 (203.0.113."},
		{"two data centers", func(_, to *providers.Server) { to.ID = "other/" + strings.Split(to.ID, "/")[1] }, true, "in two data centers"},
		{"the same server", func(from, to *providers.Server) { *to = *from }, false, "take over from itself"},
		{"a server of others", func(_, to *providers.Server) { to.Labels = nil }, false, "no label ingot-id"},
		{"no id", func(_, to *providers.Server) { to.ID = "x" }, false, "DATACENTER/ID"},
		{"a server that is gone", func(_, _ *providers.Server) {
			d := x.cloud.state.Centers[0]
			d.Servers = d.Servers[:1]
		}, false, "404"},
		{"volumes at the wrong server", func(_, _ *providers.Server) {
			s := x.cloud.state.Centers[0].Servers
			s[0].Volumes, s[1].Volumes = s[1].Volumes, s[0].Volumes
		}, false, "see how it stands"},
		{"on its way elsewhere", func(_, _ *providers.Server) {
			x.cloud.state.Labels = append(x.cloud.state.Labels, object{"id": "m", "type": "label", "properties": object{"key": labelMove, "value": x.ea.ID + ".third", "resourceId": x.va, "resourceType": "volume"}})
		}, false, "on its way between other servers"},
	} {
		x.reset(t)
		from, to := x.a, x.b
		c.change(&from, &to)
		err := x.MoveVolume(t.Context(), from, to)
		if fault.Of(err) != fault.OfInput || errors.Is(err, providers.ErrUnsupported) != c.unsupported || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", c.name, err)
		}
		if n := x.writes(); n != 0 {
			t.Errorf("%s: %d requests changed something", c.name, n)
		}
	}
	// And a server without any says so.
	r := newRig(t)
	server, _ := r.deployed(t)
	if n, err := r.StateSize(t.Context(), server); n != 0 || err != nil {
		t.Errorf("a server without a volume for its state has one of %d GiB, %v", n, err)
	}
}
