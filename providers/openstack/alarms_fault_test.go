package openstack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"

	"ingot/fault"
	"ingot/providers"
)

// The answer to every request that makes something is lost once: each alarm is there
// once.
func TestAlarmsLostAnswers(t *testing.T) {
	c := needAlarming(t)
	lost := 0
	requests := &counter{do: func(n int, r *http.Request) error {
		if r.Method != http.MethodPost || lost > 0 && n == 1 {
			return nil
		}
		lost++
		return errors.New("the answer was lost")
	}}
	p := c.open(t, Options{Network: "inside", Transport: requests.watch()})
	server, e := deployed(t, p, "claw")
	requests.arm(true)
	err := p.SetAlarms(t.Context(), server, []providers.Alarm{alarm(providers.CPU, 80), alarm(providers.Memory, 90), alarm(providers.Network, 1)}, e)
	requests.arm(false)
	ours, listed := p.ourAlarms(t.Context(), markOf(server.Labels))
	if err != nil || listed != nil || len(ours) != 4 || lost != 4 {
		t.Errorf("%d answers were lost, and there are %v; %v, %v", lost, ours, err, listed)
	}
}

// Work that is interrupted at any change goes on from there, and there is nothing that
// would not be found.
func TestAlarmsInterrupted(t *testing.T) {
	c := needAlarming(t)
	var at int
	var cancel context.CancelFunc
	requests := &counter{do: func(_ int, r *http.Request) error {
		if r.Method == http.MethodGet {
			return nil
		}
		if at--; at == 0 {
			cancel()
			return context.Canceled
		}
		return nil
	}}
	p := c.open(t, Options{Network: "inside", Transport: requests.watch()})
	server, e := deployed(t, p, "claw")
	before := []providers.Alarm{alarm(providers.CPU, 80, hook), alarm(providers.Memory, 90)}
	want := []providers.Alarm{alarm(providers.CPU, 70, hook), alarm(providers.Network, 2)}
	const changes = 4 // one is another, two are new, one goes
	for n := 1; n <= changes+1; n++ {
		if err := p.SetAlarms(t.Context(), server, before, e); err != nil {
			t.Fatal(err)
		}
		var ctx context.Context
		ctx, cancel = context.WithCancel(t.Context())
		at = n
		requests.arm(true)
		err := p.SetAlarms(ctx, server, want, e)
		requests.arm(false)
		cancel()
		if n <= changes && !errors.Is(err, context.Canceled) || n > changes && err != nil {
			t.Errorf("interrupted at change %d: %v", n, err)
		}
		if err := p.SetAlarms(t.Context(), server, want, e); err != nil {
			t.Fatal(err)
		}
		have, err := p.Alarms(t.Context(), server)
		if err != nil || !slices.EqualFunc(have, want, equal) {
			t.Errorf("after an interruption at change %d there are %v, %v", n, have, err)
		}
	}
}

// A quota that is used up is the account's.
func TestAlarmQuota(t *testing.T) {
	c := needAlarming(t)
	p := c.open(t, Options{Network: "inside"})
	server, e := deployed(t, p, "claw")
	aodh := &gophercloud.ServiceClient{ProviderClient: c.alarming.metrics.ProviderClient, Endpoint: p.alarming.Endpoint}
	none := map[string]any{"project_id": p.project, "quotas": []map[string]any{{"resource": "alarms", "limit": 0}}}
	if _, err := aodh.Post(t.Context(), aodh.ServiceURL("v2", "quotas"), none, nil, nil); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if _, err := aodh.Delete(context.Background(), aodh.ServiceURL("v2", "quotas", p.project), nil); err != nil {
			t.Error(err)
		}
	}()
	err := p.SetAlarms(t.Context(), server, []providers.Alarm{alarm(providers.CPU, 80)}, e)
	if fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), "ask for a larger quota") {
		t.Error(err)
	}
	hides(t, fmt.Sprintf("%v %+v %#v", err, err, err), p.alarming.Token())
}
