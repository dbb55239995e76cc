package providers

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Monitor is a provider that watches its servers from outside and tells somebody when
// one has been above a threshold.
type Monitor interface {
	// Metrics are those that it can watch, of [Metrics].
	Metrics() []Metric
	// Alarms are those that Ingot made for a server, by metric. What others have made
	// is not among them.
	Alarms(ctx context.Context, server Server) ([]Alarm, error)
	// SetAlarms makes them equal to these: what is missing is made before anything is
	// removed, and what is equal stays untouched. One that the provider cannot have is
	// an error of [fault.Input] that says why, before anything is changed. They belong to
	// the server and go with it; journal may be nil.
	SetAlarms(ctx context.Context, server Server, want []Alarm, journal *Entry) error
}

// Metric is what an alarm is about.
type Metric string

// The metrics, of which most providers know some.
const (
	CPU     Metric = "cpu"     // percent of all CPUs
	Memory  Metric = "memory"  // percent of the memory
	Disk    Metric = "disk"    // percent of the file system of /var that is full
	Network Metric = "network" // MiB a second, received or sent, whichever is more
)

// Metrics are all of them, in the order in which they are shown.
func Metrics() []Metric { return []Metric{CPU, Memory, Disk, Network} }

// Alarm is a threshold.
type Alarm struct {
	Metric Metric
	Above  float64       // in the metric's unit
	For    time.Duration // how long it must be above
	Notify []string      // who is told: URLs that get a POST, or mailto:
}

// MarshalJSON gives {metric, above, for_seconds, notify}, of URLs the host only: what
// comes after it is often a secret.
func (a Alarm) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Metric  Metric   `json:"metric"`
		Above   float64  `json:"above"`
		Seconds float64  `json:"for_seconds"`
		Notify  []string `json:"notify"`
	}{a.Metric, a.Above, a.For.Seconds(), heard(a.Notify)})
}

// AlarmPlan is the difference of what is wanted and what is there.
type AlarmPlan struct {
	Add         []Alarm  `json:"add"`
	Remove      []Alarm  `json:"remove"`
	Keep        []Alarm  `json:"keep"`
	Unsupported []Metric `json:"unsupported"` // wanted, and the provider cannot
}

// CompareAlarms plans how what a provider has becomes what is wanted.
func CompareAlarms(want, have []Alarm, can []Metric) AlarmPlan {
	p := AlarmPlan{Add: []Alarm{}, Remove: []Alarm{}, Keep: []Alarm{}, Unsupported: []Metric{}}
	for _, a := range want {
		switch {
		case !slices.Contains(can, a.Metric):
			p.Unsupported = append(p.Unsupported, a.Metric)
		case slices.ContainsFunc(have, a.equal):
			p.Keep = append(p.Keep, a)
		default:
			p.Add = append(p.Add, a)
		}
	}
	for _, a := range have {
		if !slices.ContainsFunc(want, a.equal) {
			p.Remove = append(p.Remove, a)
		}
	}
	return p
}

// equal reports whether two alarms are about the same. Providers keep thresholds in
// units of their own, so that the last digits may differ.
func (a Alarm) equal(b Alarm) bool {
	return a.Metric == b.Metric && math.Abs(a.Above-b.Above) < 0.01 && a.For == b.For && slices.Equal(a.Notify, b.Notify)
}

// Text is a line for each, with a sign in front as in [Plan.Text]; "!" is what the
// provider cannot do.
func (p AlarmPlan) Text(provider string) string {
	var s strings.Builder
	for _, part := range []struct {
		sign   string
		alarms []Alarm
	}{{"+", p.Add}, {"-", p.Remove}, {"=", p.Keep}} {
		for _, a := range part.alarms {
			fmt.Fprintf(&s, "%s %-8s above %g %s for %s, to %s\n", part.sign, a.Metric, math.Round(a.Above*100)/100, a.Metric.unit(), shortly(a.For), strings.Join(heard(a.Notify), ", "))
		}
	}
	for _, m := range p.Unsupported {
		fmt.Fprintf(&s, "! %-8s unsupported by %s\n", m, provider)
	}
	return s.String()
}

// heard are the addresses without what is a secret in many: all after a URL's host.
func heard(addresses []string) []string {
	var list []string
	for _, a := range addresses {
		if u, err := url.Parse(a); err == nil && u.Host != "" {
			a = u.Host
		}
		list = append(list, a)
	}
	return list
}

func (m Metric) unit() string {
	if m == Network {
		return "MiB/s"
	}
	return "%"
}

// shortly leaves the zeros of "10m0s" out.
func shortly(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
