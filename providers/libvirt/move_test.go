package libvirt

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"ingot/fault"
	"ingot/providers"
)

// pair are two servers of two entries of the journal.
type pair struct {
	p      *Provider
	a, b   providers.Server
	ea, eb *providers.Entry
}

func newPair(t *testing.T, change func(*Options)) pair {
	t.Helper()
	p, j := connect(t, change)
	p.o.Patience = 2 * time.Second
	pr := pair{p: p, ea: begin(t, p, j), eb: begin(t, p, j)}
	image := rawDisk(t, 4)
	i := uploaded(t, p, pr.ea, image)
	pr.a, pr.b = defined(t, p, pr.ea, i, "web-1"), defined(t, p, pr.eb, i, "web-2")
	return pr
}

// defined is a server that is not switched on: without a system it could not switch
// itself off.
func defined(t *testing.T, p *Provider, e *providers.Entry, i providers.Image, name string) providers.Server {
	t.Helper()
	m := machine(e, i, name)
	s, err := p.make(t.Context(), m, e.ID, m.Labels)
	if err != nil {
		t.Fatal(err)
	}
	shown, err := p.show(t.Context(), *s)
	if err != nil {
		t.Fatal(err)
	}
	return shown
}

func (pr pair) server(t *testing.T, name string) server {
	t.Helper()
	s, err := pr.p.named(t.Context(), name)
	if err != nil || s == nil {
		t.Fatalf("%s: %v", name, err)
	}
	return *s
}

// taken: what the second server has of the first one's.
func (pr pair) taken(t *testing.T, state, address bool) {
	t.Helper()
	if s, a, err := pr.p.Taken(t.Context(), pr.b); s != state || a != address || err != nil {
		t.Errorf("web-2 has taken the state %v, the address %v, %v; want %v, %v", s, a, err, state, address)
	}
}

func TestMove(t *testing.T) {
	pr := newPair(t, func(o *Options) { o.State = 512 << 20 })
	p := pr.p
	a, b := pr.server(t, "web-1"), pr.server(t, "web-2")
	if a.state() == "" || a.state() == b.state() || a.mac() == b.mac() {
		t.Fatalf("states %q %q, cards %s %s", a.state(), b.state(), a.mac(), b.mac())
	}
	if n, err := p.StateSize(t.Context(), pr.a); n != 1 || err != nil { // half a GiB, rounded up
		t.Errorf("%d GiB, %v", n, err)
	}
	pr.taken(t, false, false)
	if err := p.MoveVolume(t.Context(), pr.a, pr.b); err != nil {
		t.Fatal(err)
	}
	pr.taken(t, true, false)
	if err := p.MoveAddress(t.Context(), pr.a, pr.b); err != nil {
		t.Fatal(err)
	}
	pr.taken(t, true, true)
	a2, b2 := pr.server(t, "web-1"), pr.server(t, "web-2")
	if a2.state() != b.state() || b2.state() != a.state() || a2.mac() != b.mac() || b2.mac() != a.mac() {
		t.Errorf("states %q %q, cards %s %s", a2.state(), b2.state(), a2.mac(), b2.mac())
	}
	if a2.id() != pr.ea.ID || b2.id() != pr.eb.ID || a2.filter() != a.filter() {
		t.Error("the servers have changed more than that")
	}
	list, err := p.Servers(t.Context())
	if err != nil || len(list) != 2 || list[0].State != "shut off" || list[1].State != "running" {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, s := range list {
		want := pr.b.Addresses
		if s.Name == "web-2" {
			want = pr.a.Addresses
		}
		if !slices.Equal(s.Addresses, want) {
			t.Errorf("%s has %v, want %v", s.Name, s.Addresses, want)
		}
	}

	t.Run("destroy the old", func(t *testing.T) {
		found, err := p.Find(t.Context(), pr.ea.ID)
		if err != nil || slices.Contains(names(found), "volume "+a.state()) || !slices.Contains(names(found), "volume "+b.state()) {
			t.Errorf("found %q, %v", names(found), err)
		}
		if err := p.Delete(t.Context(), providers.Resource{Kind: kindVolume, Name: a.state()}); fault.Of(err) != fault.OfInput {
			t.Errorf("delete the state of another server: %v", err)
		}
		if _, err := pr.ea.Collect(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(home.lab.Images + "/" + a.state()); err != nil {
			t.Errorf("the state went with the old server: %v", err)
		}
		one, err := p.show(t.Context(), pr.server(t, "web-2"))
		if err != nil || !slices.Equal(one.Addresses, pr.a.Addresses) {
			t.Errorf("%+v, %v", one, err)
		}
		if _, err := pr.eb.Collect(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		nothingLeft(t, p, pr.ea.ID)
		nothingLeft(t, p, pr.eb.ID)
	})
}

// TestMoveCutShort ends a move between its two halves and repeats it.
func TestMoveCutShort(t *testing.T) {
	pr := newPair(t, func(o *Options) { o.State = 512 << 20 })
	p, a, b := pr.p, pr.server(t, "web-1"), pr.server(t, "web-2")
	half := func(mine, theirs string) {
		t.Helper()
		text := pr.server(t, "web-2").text
		if err := p.redefine(t.Context(), "web-2", strings.ReplaceAll(text, theirs, mine)); err != nil {
			t.Fatal(err)
		}
	}
	half(a.state(), b.state())
	pr.taken(t, true, false)
	if err := p.Delete(t.Context(), providers.Resource{Kind: kindVolume, Name: a.state()}); err == nil {
		t.Error("deleted a disk that two servers name")
	}
	if err := p.MoveVolume(t.Context(), pr.a, pr.b); err != nil {
		t.Fatal(err)
	}
	half(a.mac(), b.mac())
	pr.taken(t, true, true)
	if err := p.MoveAddress(t.Context(), pr.a, pr.b); err != nil {
		t.Fatal(err)
	}
	a2, b2 := pr.server(t, "web-1"), pr.server(t, "web-2")
	if a2.state() != b.state() || b2.state() != a.state() || a2.mac() != b.mac() || b2.mac() != a.mac() {
		t.Errorf("states %q %q, cards %s %s", a2.state(), b2.state(), a2.mac(), b2.mac())
	}
}

// TestMoveWhileRunning moves between servers that do not react to their button, as one
// that hangs: the new one runs afterwards, and the old one does not.
func TestMoveWhileRunning(t *testing.T) {
	pr := newPair(t, func(o *Options) { o.State = 512 << 20 })
	p, a, b := pr.p, pr.server(t, "web-1"), pr.server(t, "web-2")
	running := func(want string) {
		t.Helper()
		out, err := home.lab.Virsh(t.Context(), "list", "--name")
		if err != nil || out != want {
			t.Errorf("running: %q, want %q, %v", out, want, err)
		}
		if out, err = home.lab.Virsh(t.Context(), "list", "--all", "--autostart", "--name"); err != nil || out != want {
			t.Errorf("start with the host: %q, want %q, %v", out, want, err)
		}
	}
	if err := p.start(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	p.o.Patience = time.Hour
	time.AfterFunc(time.Second, cancel)
	if err := p.MoveVolume(ctx, pr.a, pr.b); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	running("web-1")
	p.o.Patience = time.Second
	if err := p.MoveVolume(t.Context(), pr.a, pr.b); err != nil {
		t.Fatal(err)
	}
	if got := pr.server(t, "web-2").state(); got != a.state() {
		t.Errorf("the new server has %q", got)
	}
	running("web-2")
	if err := p.MoveAddress(t.Context(), pr.b, pr.a); err != nil {
		t.Fatal(err)
	}
	running("")
	if got := pr.server(t, "web-1").mac(); got != b.mac() {
		t.Errorf("the card is %s", got)
	}
}

func TestMoveRefuses(t *testing.T) {
	pr := newPair(t, nil)
	if err := pr.p.MoveVolume(t.Context(), pr.a, pr.b); !errors.Is(err, providers.ErrUnsupported) || !strings.Contains(err.Error(), "the disk it boots from") {
		t.Errorf("servers without a state disk: %v", err)
	}
	if n, err := pr.p.StateSize(t.Context(), pr.a); n != 0 || err != nil {
		t.Errorf("a state disk that is not there has %d GiB, %v", n, err)
	}
	if err := pr.p.MoveAddress(t.Context(), pr.a, pr.a); fault.Of(err) != fault.OfInput {
		t.Errorf("to itself: %v", err)
	}
	if err := pr.p.MoveVolume(t.Context(), pr.a, providers.Server{ID: "none", Name: "none"}); fault.Of(err) != fault.OfInput {
		t.Errorf("to nobody: %v", err)
	}
}
