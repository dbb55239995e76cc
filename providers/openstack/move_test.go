package openstack

import (
	"context"
	"errors"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ingot/providers"
)

// pair is two servers, the second one after the first, as when one replaces the
// other.
func pair(t *testing.T, p *Provider) (first, second providers.Server) {
	t.Helper()
	first, _ = deployed(t, p, "claw", wireguard)
	second, _ = deployed(t, p, "claw-2", wireguard)
	return first, second
}

func TestMoveAddress(t *testing.T) {
	c := needCloud(t)
	p := c.open(t, Options{Network: "inside", ExternalNetwork: "outside"})
	first, second := pair(t, p)
	address := func(s providers.Server) string {
		t.Helper()
		f, _, err := p.addressOf(t.Context(), s)
		if err != nil || f == nil {
			t.Fatalf("%v, %v", f, err)
		}
		if m, _ := readMark(f.Description); m != markOf(s.Labels) {
			t.Errorf("the address of %s has the mark %+v", s.Name, m)
		}
		return f.FloatingIP
	}
	a, b := address(first), address(second)
	if err := p.MoveAddress(t.Context(), first, second); err != nil {
		t.Fatal(err)
	}
	if address(second) != a || address(first) != b {
		t.Errorf("%s and %s became %s and %s", a, b, address(first), address(second))
	}
	if state, took, err := p.Taken(t.Context(), second); state || !took || err != nil {
		t.Errorf("the second has taken over: the state %v, the address %v, %v", state, took, err)
	}
	for s, want := range map[*providers.Server]string{&first: "SHUTOFF", &second: "ACTIVE"} {
		if now, err := p.server(t.Context(), s.ID); err != nil || now.State != want {
			t.Errorf("%s is %s, %v", s.Name, now.State, err)
		}
	}
	if err := p.MoveAddress(t.Context(), second, first); err != nil {
		t.Fatal(err)
	}
	if address(first) != a || address(second) != b {
		t.Errorf("%s and %s came back as %s and %s", a, b, address(first), address(second))
	}
	if _, took, err := p.Taken(t.Context(), second); took || err != nil {
		t.Errorf("the second has taken the address over: %v, %v", took, err)
	}
	var shown []map[string]any
	c.client(t, "smith", &shown, "floating", "ip", "list")
	if len(shown) != 2 || !slices.ContainsFunc(shown, func(one map[string]any) bool { return one["Floating IP Address"] == a }) {
		t.Errorf("openstackclient sees %v", shown)
	}
}

func TestMoveRefuses(t *testing.T) {
	c := needCloud(t)
	p := c.open(t, Options{Network: "inside"})
	first, second := pair(t, p)
	if err := p.MoveAddress(t.Context(), first, second); !errors.Is(err, providers.ErrUnsupported) {
		t.Error(err)
	}
	if err := p.MoveVolume(t.Context(), first, second); !errors.Is(err, providers.ErrUnsupported) || !strings.Contains(err.Error(), "claw has 0 volumes") {
		t.Error(err)
	}
	if n, err := p.StateSize(t.Context(), first); n != 0 || err != nil {
		t.Errorf("its state has %d GiB, %v", n, err)
	}
}

func TestMoveVolume(t *testing.T) {
	c := needCloud(t)
	var interrupt func(*http.Request) error
	p := c.open(t, Options{Network: "inside", StateVolume: 1, Transport: watch{before: func(r *http.Request) error {
		if interrupt != nil {
			return interrupt(r)
		}
		return nil
	}}})
	first, second := pair(t, p)
	if n, err := p.StateSize(t.Context(), first); n != 1 || err != nil {
		t.Errorf("its state has %d GiB, %v", n, err)
	}
	if list, err := p.listImages(t.Context()); err != nil || slices.ContainsFunc(list, isStateImage) {
		t.Errorf("the image for the state is still there: %v, %v", list, err)
	}
	// where tells on which server each volume is, by both services.
	where := func() (of [2]string) {
		t.Helper()
		all, err := p.listVolumes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for n, s := range []providers.Server{first, second} {
			for _, v := range all {
				if markOf(v.Metadata) == markOf(s.Labels) && isOn(&v, s.ID) && v.Name == markOf(s.Labels).resourceName() {
					of[n] += v.ID
				}
			}
		}
		return of
	}
	before := where()
	if len(before[0]) != 36 || len(before[1]) != 36 {
		t.Fatalf("the volumes are %v", before)
	}
	for _, id := range before {
		out, err := exec.Command("blkid", "-o", "value", "-s", "LABEL", filepath.Join(c.dir, "volumes", "volume-"+id)).Output()
		if err != nil || string(out) != "ingot-var\n" {
			t.Errorf("the volume has the label %q, %v", out, err)
		}
	}
	taken := func(want bool) {
		t.Helper()
		for s, took := range map[*providers.Server]bool{&first: false, &second: want} {
			if state, address, err := p.Taken(t.Context(), *s); state != took || address || err != nil {
				t.Errorf("%s has taken over: the state %v, the address %v, %v", s.Name, state, address, err)
			}
		}
	}
	taken(false)
	if err := p.MoveVolume(t.Context(), first, second); err != nil {
		t.Fatal(err)
	}
	taken(true)
	if after := where(); after[0] != before[1] || after[1] != before[0] {
		t.Errorf("%v became %v", before, after)
	}
	for s, want := range map[*providers.Server]string{&first: "SHUTOFF", &second: "ACTIVE"} {
		if now, err := p.server(t.Context(), s.ID); err != nil || now.State != want {
			t.Errorf("%s is %s, %v", s.Name, now.State, err)
		}
	}
	var shown struct {
		Attachments []map[string]any
		Properties  map[string]string
		Size        int
	}
	c.client(t, "smith", &shown, "volume", "show", before[0])
	if len(shown.Attachments) != 1 || shown.Attachments[0]["server_id"] != second.ID || shown.Properties[providers.LabelServer] != "claw-2" || shown.Size != 1 {
		t.Errorf("openstackclient sees %+v", shown)
	}

	// On the way back it ends between the two labels: the same again brings it to its
	// end.
	interrupted := func(from, to providers.Server) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		labelled := 0
		interrupt = func(r *http.Request) error {
			if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/volumes/") {
				if labelled++; labelled == 2 {
					cancel()
				}
			}
			return ctx.Err()
		}
		defer func() { interrupt = nil }()
		if err := p.MoveVolume(ctx, from, to); !errors.Is(err, context.Canceled) {
			t.Errorf("the interrupted move: %v", err)
		}
	}
	move := func(from, to providers.Server) {
		t.Helper()
		if err := p.MoveVolume(t.Context(), from, to); err != nil {
			t.Fatal(err)
		}
		if after := where(); after != before {
			t.Errorf("%v came back as %v", before, after)
		}
	}
	interrupted(second, first)
	taken(true)
	move(second, first)
	taken(false)
	// And so does the way back from there.
	interrupted(first, second)
	taken(true)
	move(second, first)
	taken(false)
}
