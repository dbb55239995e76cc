package openstack

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"ingot/providers"
)

const gnocchiTime = "2006-01-02T15:04:05"

// measured writes what Ceilometer would have measured: that something grows by so much
// in every interval, or stands at it.
func (c *cloud) measured(t *testing.T, kind, resource, measure string, value float64, grows bool) {
	t.Helper()
	path := fmt.Sprintf("resource/%s/%s/metric/%s/measures", kind, resource, measure)
	var list []map[string]any
	const many = 6
	first := time.Now().Truncate(granularity).Add(-(many - 1) * granularity)
	for n := range many {
		v := value
		if grows {
			v = 1e12 + float64(n)*value
		}
		list = append(list, map[string]any{"timestamp": first.Add(time.Duration(n) * granularity).UTC().Format(gnocchiTime), "value": v})
	}
	if err := c.measure(t.Context(), http.MethodPost, path, list, nil); err != nil {
		t.Fatal(err)
	}
	// What gnocchi-metricd does in the background is done now.
	if err := c.measure(t.Context(), http.MethodGet, path+"?refresh=true", nil, &[]any{}); err != nil {
		t.Fatal(err)
	}
}

// load is what a server does.
type load struct{ cpu, memory, received, sent float64 } // percent, percent, MiB/s, MiB/s

// works has a server with 2 CPUs and 2048 MiB do something, in Ceilometer's words.
func (c *cloud) works(t *testing.T, p *Provider, server providers.Server, l load) {
	t.Helper()
	policy := func(name string) map[string]string { return map[string]string{"archive_policy_name": name} }
	create := func(kind string, fields map[string]any) {
		t.Helper()
		fields["project_id"] = p.project
		if err := c.measure(t.Context(), http.MethodPost, "resource/"+kind, fields, nil); err != nil {
			t.Fatal(err)
		}
	}
	create(ofInstance, map[string]any{
		"id": server.ID, "flavor_id": "large", "host": "computer", "display_name": server.Name,
		"metrics": map[string]any{"cpu": policy("ceilometer-low-rate"), "memory.usage": policy("ceilometer-low")},
	})
	const seconds, mib = 300, 1 << 20
	c.measured(t, ofInstance, server.ID, "cpu", l.cpu/100*2*seconds*1e9, true)
	c.measured(t, ofInstance, server.ID, "memory.usage", l.memory/100*2048, false)
	// An interface that was taken away a moment ago had more to do.
	started, ended := time.Now().Add(-time.Hour), time.Now().Add(-time.Second)
	for tap, busy := range map[string]float64{"tap5b1f3b1c-00": 1, "tap00000000-00": 100} {
		fields := map[string]any{
			"id": "instance-00000001-" + server.ID + "-" + tap, "name": tap, "instance_id": server.ID, "started_at": started.UTC().Format(gnocchiTime),
			"metrics": map[string]any{"network.incoming.bytes": policy("ceilometer-low-rate"), "network.outgoing.bytes": policy("ceilometer-low-rate")},
		}
		if busy > 1 {
			fields["ended_at"] = ended.UTC().Format(gnocchiTime)
		}
		id := fields["id"].(string)
		create(ofInterfaces, fields)
		c.measured(t, ofInterfaces, id, "network.incoming.bytes", busy*l.received*seconds*mib, true)
		c.measured(t, ofInterfaces, id, "network.outgoing.bytes", busy*l.sent*seconds*mib, true)
	}
}

// Aodh itself looks at what Gnocchi itself has of two servers: alarms of the one that
// does a little more than it may go off, and no others, and whoever is to be told is.
func TestAlarmsGoOff(t *testing.T) {
	c := needAlarming(t)
	p := c.open(t, Options{Network: "inside", Flavor: "large"})
	var mu sync.Mutex
	told := map[string]bool{}
	listener := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var body struct {
			Name    string `json:"alarm_name"`
			Current string
		}
		err := json.NewDecoder(r.Body).Decode(&body)
		mu.Lock()
		defer mu.Unlock()
		told[fmt.Sprintf("%s %s is %s, %v", r.Method, body.Name, body.Current, err)] = true
	}))
	defer listener.Close()
	want := []providers.Alarm{
		alarm(providers.CPU, 80, listener.URL), alarm(providers.Memory, 90, listener.URL), alarm(providers.Network, 1.5, listener.URL),
	}
	for name, l := range map[string]load{"busy": {81, 91, 0.1, 1.51}, "idle": {79, 89, 1.49, 1.49}} {
		server, e := deployed(t, p, name)
		c.works(t, p, server, l)
		if err := p.SetAlarms(t.Context(), server, want, e); err != nil {
			t.Fatal(err)
		}
	}
	wanted := map[string]string{
		"ingot-busy cpu": "alarm", "ingot-busy memory": "alarm", "ingot-busy network received": "ok", "ingot-busy network sent": "alarm",
		"ingot-idle cpu": "ok", "ingot-idle memory": "ok", "ingot-idle network received": "ok", "ingot-idle network sent": "ok",
	}
	deadline := time.Now().Add(2 * time.Minute)
	for {
		states := c.alarmStates(t, p, wanted)
		if !slices.Contains(valuesOf(states), "insufficient data") {
			for name, state := range wanted {
				if states[name] != state {
					t.Errorf("%s is %s, not %s", name, states[name], state)
				}
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the states are %v\n%s", states, c.log("aodh"))
		}
		time.Sleep(200 * time.Millisecond)
	}
	heard := func() []string {
		mu.Lock()
		defer mu.Unlock()
		var all []string
		for line := range told {
			all = append(all, line)
		}
		slices.Sort(all)
		return all
	}
	expected := []string{"POST ingot-busy cpu is alarm, <nil>", "POST ingot-busy memory is alarm, <nil>", "POST ingot-busy network sent is alarm, <nil>"}
	for len(heard()) < len(expected) && time.Now().Before(deadline) {
		time.Sleep(100 * time.Millisecond)
	}
	if all := heard(); !slices.Equal(all, expected) {
		t.Errorf("was heard: %v, not %v", all, expected)
	}
}

// alarmStates are Aodh's words.
func (c *cloud) alarmStates(t *testing.T, p *Provider, of map[string]string) map[string]string {
	t.Helper()
	var all []struct{ Name, State string }
	if _, err := p.alarming.Get(t.Context(), p.alarming.ServiceURL("alarms"), &all, nil); err != nil {
		t.Fatal(err)
	}
	states := map[string]string{}
	for _, a := range all {
		if _, ok := of[a.Name]; ok {
			states[a.Name] = a.State
		}
	}
	return states
}

func valuesOf(states map[string]string) (all []string) {
	for _, state := range states {
		all = append(all, state)
	}
	return all
}
