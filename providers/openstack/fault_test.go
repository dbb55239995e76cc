package openstack

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"

	"ingot/providers"
)

// everything is an upload and a deployment with all that can be made.
func everything(ctx context.Context, p *Provider, e *providers.Entry) (providers.Server, error) {
	image, err := p.Upload(ctx, picture(e, 64<<10))
	if err != nil {
		return providers.Server{}, err
	}
	return p.Deploy(ctx, machine("claw", image, e, wireguard))
}

// counter gives its function the number of each request whose answer has come, from
// when it is armed.
type counter struct {
	mu    sync.Mutex
	armed bool
	n     int
	do    func(n int, r *http.Request) error
}

func (c *counter) watch() watch {
	return watch{after: func(r *http.Request) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.armed {
			return nil
		}
		c.n++
		return c.do(c.n, r)
	}}
}

// arm starts at 1 again, or stops.
func (c *counter) arm(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed, c.n = on, 0
}

var everyRequest = flag.Bool("every-request", false, "interrupt work also at requests that change nothing")

// Work that is interrupted at any request, after it was carried out and before the
// answer was seen, leaves nothing that its journal does not find, and of others
// everything.
func TestInterrupted(t *testing.T) {
	c := needCloud(t)
	var at int
	var cancel context.CancelFunc
	requests := &counter{do: func(n int, r *http.Request) error {
		if n < at || r.Method == http.MethodGet && !*everyRequest {
			return nil
		}
		at = n
		cancel()
		return context.Canceled
	}}
	p := c.open(t, Options{Network: "inside", ExternalNetwork: "outside", Transport: requests.watch()})
	before := foreign(t, p)
	kinds := map[string]bool{}
	for done := false; !done; {
		at++
		var ctx context.Context
		ctx, cancel = context.WithCancel(t.Context())
		_, e := journalFor(t, p)
		requests.arm(true)
		_, err := everything(ctx, p, e)
		requests.arm(false)
		cancel()
		done = err == nil
		if !done && !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted at request %d: %v", at, err)
		}
		removeLeft(t, p, e, kinds)
	}
	if len(kinds) != 5 {
		t.Errorf("only %v were ever left", kinds)
	}
	if after := foreign(t, p); !slices.Equal(before, after) {
		t.Errorf("others had %v and have %v", before, after)
	}
}

// removeLeft does what "ingot gc" does, and remembers the kinds of what was there.
func removeLeft(t *testing.T, p *Provider, e *providers.Entry, kinds map[string]bool) {
	t.Helper()
	left, err := p.Find(t.Context(), e.ID)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) == 0 {
		return // Collect would wait for what may yet appear
	}
	for _, r := range left {
		kinds[r.Kind] = true
	}
	if _, err := e.Collect(t.Context(), p); err != nil {
		t.Error(err)
	}
	if still, err := p.Find(t.Context(), e.ID); err != nil || len(still) > 0 {
		t.Errorf("%v, %v are left", still, err)
	}
}

// The answer to each request that makes something is lost once: everything is there
// once.
func TestLostAnswers(t *testing.T) {
	c := needCloud(t)
	lost := map[string]bool{}
	requests := &counter{do: func(_ int, r *http.Request) error {
		kind := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		if r.Method == http.MethodGet || lost[kind] {
			return nil
		}
		lost[kind] = true
		return fmt.Errorf("the answer to %s was lost", kind)
	}}
	p := c.open(t, Options{Network: "inside", ExternalNetwork: "outside", Transport: requests.watch()})
	requests.arm(true)
	_, e := journalFor(t, p)
	collect(t, p, e)
	server, err := everything(t.Context(), p, e)
	if err != nil || server.State != "ACTIVE" {
		t.Fatalf("%+v, %v", server, err)
	}
	for _, kind := range []string{"images", "file", "security-groups", "security-group-rules", "ports", "floatingips", "servers"} {
		if !lost[kind] {
			t.Errorf("no answer about %s was lost", kind)
		}
	}
	found, err := p.Find(t.Context(), e.ID)
	var kinds []string
	for _, r := range found {
		kinds = append(kinds, r.Kind)
	}
	if err != nil || !slices.Equal(kinds, []string{kindServer, kindPort, kindAddress, kindGroup, kindImage}) {
		t.Errorf("there are %v, %v", kinds, err)
	}
	w, err := p.Wall(t.Context(), server)
	if err != nil {
		t.Fatal(err)
	}
	if have := owned(t, w); !slices.Equal(have, []providers.Rule{wireguard}) {
		t.Errorf("the wall has %v", have)
	}
}

// A half image of other work may be on its way and is left alone; our own is not.
func TestHalfOfOthers(t *testing.T) {
	c := needCloud(t)
	p := c.open(t, Options{})
	_, other := journalFor(t, p)
	_, e := journalFor(t, p)
	collect(t, p, e)
	collect(t, p, other)
	u := picture(e, 64<<10)
	labels := labelsOf(u.Labels, other)
	half, err := images.Create(t.Context(), p.image, images.CreateOpts{Name: u.Name, Tags: []string{imageTag}, Properties: labels}).Extract()
	if err != nil {
		t.Fatal(err)
	}
	image, err := p.Upload(t.Context(), u)
	if err != nil || image.ID == half.ID {
		t.Errorf("%+v, %v", image, err)
	}
	if left, err := p.Find(t.Context(), other.ID); err != nil || len(left) != 1 || left[0].ID != half.ID {
		t.Errorf("of the other work there are %v, %v", left, err)
	}
}
