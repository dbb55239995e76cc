package openstack

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"

	"ingot/fault"
	"ingot/providers"
)

// granularity is what one value of Gnocchi's is of: Ceilometer asks the hypervisors
// every 5 minutes and keeps as much (its polling.yaml and gnocchi_resources.yaml). At
// a cloud that was set up otherwise alarms stay at "insufficient data".
const granularity = 300 * time.Second

// size is what a server has.
type size struct{ cpus, memory float64 } // MiB

// watched is one thing that Aodh watches for a metric, by Ceilometer's names
// (docs.openstack.org/ceilometer, "Measurements").
type watched struct {
	metric      providers.Metric
	name        string // of the alarm, after the server's
	measure     string
	aggregation string
	// of are the resources that have the measure: the instance itself, or its
	// network interfaces.
	of string
	// unit is one of the metric's units in one value of Gnocchi's.
	unit func(size) float64
}

const (
	ofInstance   = "instance"
	ofInterfaces = "instance_network_interface"
	// rate makes differences of what only grows: by how much since the last interval.
	rate = "rate:mean"
)

// watches are all, in the order of providers.Metrics. How full a file system is,
// nobody sees from outside.
func watches() []watched {
	// nanoseconds of all CPUs together
	cpu := func(s size) float64 { return s.cpus * float64(granularity.Nanoseconds()) / 100 }
	memory := func(s size) float64 { return s.memory / 100 }
	bytes := func(size) float64 { return 1 << 20 * granularity.Seconds() }
	return []watched{
		{providers.CPU, "cpu", "cpu", rate, ofInstance, cpu},
		{providers.Memory, "memory", "memory.usage", "mean", ofInstance, memory},
		{providers.Network, "network received", "network.incoming.bytes", rate, ofInterfaces, bytes},
		{providers.Network, "network sent", "network.outgoing.bytes", rate, ofInterfaces, bytes},
	}
}

// wantedAlarms are all that Aodh shall have for a server.
func wantedAlarms(want []providers.Alarm, m mark, server string, s size) (all []aodhAlarm) {
	for _, w := range watches() {
		for _, a := range want {
			if a.Metric == w.metric {
				all = append(all, w.write(a, m, server, s))
			}
		}
	}
	return all
}

// read is an alarm as Ingot writes alarms, about what it is called.
func (w watched) read(a aodhAlarm, s size) providers.Alarm {
	r := a.rule()
	const digits = 1e6 // what a division leaves behind is none of the user's
	return providers.Alarm{
		Metric: providers.Metric(w.name),
		Above:  math.Round(r.Threshold/w.unit(s)*digits) / digits,
		For:    time.Duration(r.Granularity) * time.Duration(r.Periods) * time.Second,
		Notify: slices.Sorted(slices.Values(a.Actions)),
	}
}

func (w watched) alarmName(m mark) string { return m.resourceName() + " " + w.name }

// write is an alarm as Aodh writes alarms.
func (w watched) write(a providers.Alarm, m mark, server string, s size) aodhAlarm {
	actions := slices.Sorted(slices.Values(a.Notify))
	made := aodhAlarm{
		Name: w.alarmName(m), Description: m.text(), Enabled: true, Severity: "moderate",
		Actions: append([]string{}, slices.Compact(actions)...),
	}
	rule := &aodhRule{
		Metric: w.measure, ResourceType: w.of, Aggregation: w.aggregation, Comparison: "gt",
		Threshold: a.Above * w.unit(s), Granularity: int(granularity.Seconds()),
		Periods: max(1, int((a.For+granularity-1)/granularity)),
	}
	if w.of == ofInstance {
		rule.ResourceID, made.Type, made.OfResource = server, typeOfResource, rule
		return made
	}
	// Only an administrator can tell the ids of interfaces. One that was taken away
	// has ended. Of several, which Ingot does not make, the mean counts.
	rule.Query = `{"and": [{"=": {"instance_id": "` + server + `"}}, {"=": {"ended_at": null}}]}`
	made.Type, made.OfResources = typeOfResources, rule
	return made
}

// sizeVersion is the first version of nova's API that says what a server has with the
// server itself (Pike, 2017): its flavor may be gone.
const sizeVersion = "2.47"

// sizeOf looks at what a server has.
func (p *Provider) sizeOf(ctx context.Context, server providers.Server) (size, error) {
	if err := p.needCompute(); err != nil {
		return size{}, err
	}
	compute := *p.compute
	compute.Microversion = sizeVersion
	var body struct {
		Flavor struct {
			CPUs   float64 `json:"vcpus"`
			Memory float64 `json:"ram"` // MiB
		} `json:"flavor"`
	}
	if err := servers.Get(ctx, &compute, server.ID).ExtractInto(&body); err != nil {
		return size{}, p.wrap("look at the server "+server.Name, err)
	}
	if body.Flavor.CPUs <= 0 || body.Flavor.Memory <= 0 {
		return size{}, fault.Provider(fmt.Errorf("the provider does not say what the server %s has; see how it stands there", server.Name))
	}
	return size{body.Flavor.CPUs, body.Flavor.Memory}, nil
}
