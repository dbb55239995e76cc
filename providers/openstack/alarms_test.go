package openstack

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"ingot/fault"
	"ingot/providers"
)

const hook = "https://example.org/hook"

func alarm(metric providers.Metric, above float64, notify ...string) providers.Alarm {
	return providers.Alarm{Metric: metric, Above: above, For: 10 * time.Minute, Notify: notify}
}

// set makes alarms, reads them back and returns what writes were sent.
func set(t *testing.T, p *Provider, seen *log, server providers.Server, e *providers.Entry, want ...providers.Alarm) []string {
	t.Helper()
	seen.take()
	if err := p.SetAlarms(t.Context(), server, want, e); err != nil {
		t.Fatal(err)
	}
	lines := seen.take()
	have, err := p.Alarms(t.Context(), server)
	if err != nil || !slices.EqualFunc(have, want, func(a, b providers.Alarm) bool { return a.Metric == b.Metric && equal(a, b) }) {
		t.Errorf("there are %v, not %v; %v", have, want, err)
	}
	return verbs(lines)
}

// verbs are the methods of requests about alarms; all others are shown whole.
func verbs(lines []string) (all []string) {
	for _, line := range lines {
		verb, path, _ := strings.Cut(line, " ")
		if !strings.HasPrefix(path, "/v2/alarms") {
			verb = line
		}
		all = append(all, verb)
	}
	return all
}

// byHand makes an alarm as somebody who does not use Ingot, with a description.
func byHand(t *testing.T, p *Provider, name, description string) string {
	t.Helper()
	var made aodhAlarm
	_, err := p.alarming.Post(t.Context(), p.alarming.ServiceURL("alarms"), aodhAlarm{
		Name: name, Description: description, Type: typeOfResource, Enabled: true, Severity: "low",
		OfResource: &aodhRule{Metric: "cpu", ResourceType: ofInstance, ResourceID: "any", Aggregation: "mean", Comparison: "lt", Threshold: 1, Granularity: 300, Periods: 1},
	}, &made, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.deleteAlarm(context.Background(), made.ID) })
	return made.ID
}

func TestAlarms(t *testing.T) {
	c := needAlarming(t)
	var seen log
	p := c.open(t, Options{Network: "inside", Flavor: "large", Transport: watch{before: seen.note}})
	server, e := deployed(t, p, "claw")
	if all := p.Metrics(); !slices.Equal(all, []providers.Metric{providers.CPU, providers.Memory, providers.Network}) {
		t.Errorf("it watches %v", all)
	}
	theirs := []string{
		byHand(t, p, "ingot-claw cpu", "mine"),
		byHand(t, p, "ingot-claw cpu", mark{"another", "claw"}.text()),
		byHand(t, p, "ingot-claw cpu", mark{e.ID, "another"}.text()),
	}
	known := len(e.Created)
	cpu, memory, network := alarm(providers.CPU, 80, hook, "http://10.8.0.2:9000/"), alarm(providers.Memory, 90, hook), alarm(providers.Network, 1.5)
	if lines := set(t, p, &seen, server, e, cpu, memory, network); !slices.Equal(lines, []string{"POST", "POST", "POST", "POST"}) {
		t.Errorf("was sent: %v", lines)
	}
	var names []string
	for _, r := range e.Created[known:] {
		names = append(names, r.Kind+" "+r.Name)
	}
	if want := []string{"alarm ingot-claw cpu", "alarm ingot-claw memory", "alarm ingot-claw network received", "alarm ingot-claw network sent"}; !slices.Equal(names, want) {
		t.Errorf("the journal has %v, not %v", names, want)
	}

	t.Run("again", func(t *testing.T) {
		if lines := set(t, p, &seen, server, e, cpu, memory, network); len(lines) != 0 {
			t.Errorf("was sent: %v", lines)
		}
	})
	t.Run("seen by another client", func(t *testing.T) { alarmsSeenByAnother(t, c, idsOf(t, p, server), server) })
	t.Run("another threshold", func(t *testing.T) {
		cpu.Above, cpu.Notify = 85.5, []string{hook}
		if lines := set(t, p, &seen, server, e, cpu, memory, network); !slices.Equal(lines, []string{"PUT"}) {
			t.Errorf("was sent: %v", lines)
		}
	})
	t.Run("changed by hand", func(t *testing.T) { changedByHand(t, c, p, &seen, server, e, cpu, memory, network) })
	t.Run("add before remove", func(t *testing.T) {
		set(t, p, &seen, server, e, cpu, memory)
		if lines := set(t, p, &seen, server, e, cpu, network); !slices.Equal(lines, []string{"POST", "POST", "DELETE"}) {
			t.Errorf("was sent: %v", lines)
		}
	})
	t.Run("refused", func(t *testing.T) {
		seen.take()
		for _, bad := range []providers.Alarm{alarm(providers.Disk, 90), alarm(providers.Memory, 90, "mailto:smith@example.org")} {
			if err := p.SetAlarms(t.Context(), server, []providers.Alarm{memory, bad}, e); fault.Of(err) != fault.OfInput {
				t.Error(err)
			}
		}
		if lines := seen.take(); len(lines) != 0 {
			t.Errorf("was sent: %v", lines)
		}
	})
	t.Run("none", func(t *testing.T) {
		if lines := set(t, p, &seen, server, e); !slices.Equal(lines, []string{"DELETE", "DELETE", "DELETE"}) {
			t.Errorf("was sent: %v", lines)
		}
	})
	for _, id := range theirs {
		if err := get(t.Context(), p.alarming, "alarms", id); err != nil {
			t.Errorf("an alarm of somebody else's: %v", err)
		}
	}
}

func alarmsSeenByAnother(t *testing.T, c *cloud, ids map[string]string, server providers.Server) {
	var list []struct {
		ID       string `json:"alarm_id"`
		Name     string
		Type     string
		Severity string
		Enabled  bool
	}
	c.client(t, "smith", &list, "alarm", "list")
	shown := map[string]string{}
	for _, a := range list {
		shown[a.ID] = fmt.Sprintln(a.Name, a.Type, a.Severity, a.Enabled)
	}
	for name, kind := range map[string]string{"cpu": typeOfResource, "memory": typeOfResource, "network received": typeOfResources, "network sent": typeOfResources} {
		name = "ingot-claw " + name
		if want := fmt.Sprintln(name, kind, "moderate", true); shown[ids[name]] != want {
			t.Errorf("openstackclient sees %q, not %q", shown[ids[name]], want)
		}
	}
	var cpu struct {
		Threshold   float64
		Granularity int
		Periods     int    `json:"evaluation_periods"`
		Method      string `json:"aggregation_method"`
		Resource    string `json:"resource_id"`
		Actions     any    `json:"alarm_actions"` // in Python's words
		Repeat      bool   `json:"repeat_actions"`
	}
	c.client(t, "smith", &cpu, "alarm", "show", ids["ingot-claw cpu"])
	if cpu.Threshold != 480e9 || cpu.Granularity != 300 || cpu.Periods != 2 || cpu.Method != rate || cpu.Resource != server.ID || cpu.Repeat || !strings.Contains(fmt.Sprint(cpu.Actions), hook) {
		t.Errorf("openstackclient sees %+v", cpu)
	}
}

// idsOf are those of a server's alarms, by name.
func idsOf(t *testing.T, p *Provider, server providers.Server) map[string]string {
	t.Helper()
	ours, err := p.ourAlarms(t.Context(), markOf(server.Labels))
	if err != nil || len(ours) != 4 {
		t.Fatalf("%v, %v", ours, err)
	}
	ids := map[string]string{}
	for _, a := range ours {
		ids[a.Name] = a.ID
	}
	return ids
}

// changedByHand has other hands change alarms of ours; they become what is wanted.
func changedByHand(t *testing.T, c *cloud, p *Provider, seen *log, server providers.Server, e *providers.Entry, want ...providers.Alarm) {
	ids := idsOf(t, p, server)
	var shown any
	c.client(t, "smith", &shown, "alarm", "update", "--enabled", "False", ids["ingot-claw cpu"])
	if lines := set(t, p, seen, server, e, want...); !slices.Equal(lines, []string{"PUT"}) {
		t.Errorf("one was switched off, and was sent: %v", lines)
	}
	if err := p.deleteAlarm(t.Context(), ids["ingot-claw network sent"]); err != nil {
		t.Fatal(err)
	}
	have, err := p.Alarms(t.Context(), server)
	if err != nil || len(have) != 3 || have[2].Metric != "network received" {
		t.Errorf("of the network only what is received is watched, and it reads %v, %v", have, err)
	}
	if lines := set(t, p, seen, server, e, want...); !slices.Equal(lines, []string{"POST"}) {
		t.Errorf("one was gone, and was sent: %v", lines)
	}
	byHand(t, p, "ingot-claw cpu", markOf(server.Labels).text())
	if lines := set(t, p, seen, server, e, want...); !slices.Contains(lines, "DELETE") {
		t.Errorf("one was there twice, and was sent: %v", lines)
	}
}

// Alarms go with what they watch, first of all.
func TestAlarmsAreFound(t *testing.T) {
	c := needAlarming(t)
	p := c.open(t, Options{Network: "inside"})
	server, e := deployed(t, p, "claw")
	theirs := byHand(t, p, "ingot-claw cpu", "made by Ingot; or so they say")
	// Another piece of work, some days later.
	_, later := journalFor(t, p)
	if err := p.SetAlarms(t.Context(), server, []providers.Alarm{alarm(providers.CPU, 80)}, later); err != nil {
		t.Fatal(err)
	}
	// Whoever has only its id.
	if have, err := p.Alarms(t.Context(), providers.Server{ID: server.ID}); err != nil || len(have) != 1 {
		t.Errorf("%v, %v", have, err)
	}
	found, err := p.Find(t.Context(), e.ID)
	if err != nil || len(found) == 0 || found[0].Kind != kindAlarm || found[0].Name != "ingot-claw cpu" {
		t.Fatalf("%v, %v", found, err)
	}
	for range 2 { // what is gone is no error
		if err := p.Delete(t.Context(), found[0]); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := p.Alarms(t.Context(), server); err != nil || len(have) != 0 {
		t.Errorf("%v, %v", have, err)
	}
	if err := get(t.Context(), p.alarming, "alarms", theirs); err != nil {
		t.Errorf("the alarm of somebody else's: %v", err)
	}
	if _, err := p.Alarms(t.Context(), providers.Server{ID: "00000000-0000-0000-0000-000000000000"}); fault.Of(err) != fault.OfInput || !isNotFound(err) {
		t.Errorf("of no server: %v", err)
	}
}
