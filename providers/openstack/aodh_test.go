package openstack

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"ingot/fault"
	"ingot/providers"
)

// The numbers that Gnocchi's values are compared with.
func TestThresholds(t *testing.T) {
	t.Parallel()
	s, m := size{cpus: 2, memory: 2048}, mark{"abc", "claw"}
	for _, test := range []struct {
		metric         providers.Metric
		above          float64
		lasts          time.Duration
		names          []string
		want           float64
		periods        int
		measure, about string
	}{
		// 80 % of 2 CPUs are 1.6 s a second, of 300 s, in ns.
		{providers.CPU, 80, 10 * time.Minute, []string{"cpu"}, 480e9, 2, "cpu", "instance"},
		{providers.CPU, 0, 0, []string{"cpu"}, 0, 1, "cpu", "instance"},
		{providers.CPU, 33.3, time.Second, []string{"cpu"}, 199.8e9, 1, "cpu", "instance"},
		// MiB
		{providers.Memory, 90, 5 * time.Minute, []string{"memory"}, 1843.2, 1, "memory.usage", "instance"},
		{providers.Memory, 12.345678, 5*time.Minute + 1, []string{"memory"}, 252.83948544, 2, "memory.usage", "instance"},
		// 1.5 MiB a second of 300 s, in bytes.
		{providers.Network, 1.5, 15 * time.Minute, []string{"network received", "network sent"}, 471859200, 3, "network.", "instance_network_interface"},
	} {
		alarm := providers.Alarm{Metric: test.metric, Above: test.above, For: test.lasts, Notify: []string{"https://b.example/", "https://a.example/", "https://b.example/"}}
		all := wantedAlarms([]providers.Alarm{alarm}, m, "uuid", s)
		var names []string
		for _, a := range all {
			names = append(names, strings.TrimPrefix(a.Name, "ingot-claw "))
			r := a.rule()
			if math.Abs(r.Threshold-test.want) > 1e-9*test.want || r.Periods != test.periods || r.Granularity != 300 || r.Comparison != "gt" {
				t.Errorf("%+v became %+v", alarm, r)
			}
			if !strings.HasPrefix(r.Metric, test.measure) || r.ResourceType != test.about || !slices.Equal(a.Actions, []string{"https://a.example/", "https://b.example/"}) {
				t.Errorf("%+v became %+v, %+v", alarm, a, r)
			}
		}
		if !slices.Equal(names, test.names) {
			t.Errorf("%+v became %v", alarm, names)
		}
		have := alarmsOf(test.metric, all, m, s)
		back := providers.Alarm{Metric: test.metric, Above: test.above, For: time.Duration(test.periods) * granularity, Notify: []string{"https://a.example/", "https://b.example/"}}
		if len(have) != 1 || !equal(have[0], back) || have[0].Metric != back.Metric {
			t.Errorf("%+v is read as %+v", back, have)
		}
	}
}

// Half of what watches the network is not taken for the whole.
func TestHalfAlarms(t *testing.T) {
	t.Parallel()
	s, m := size{1, 1024}, mark{"abc", "claw"}
	both := wantedAlarms([]providers.Alarm{{Metric: providers.Network, Above: 1}}, m, "uuid", s)
	other := wantedAlarms([]providers.Alarm{{Metric: providers.Network, Above: 2}}, m, "uuid", s)
	for _, test := range []struct {
		have []aodhAlarm
		want []providers.Metric
	}{
		{both, []providers.Metric{"network"}},
		{both[:1], []providers.Metric{"network received"}},
		{both[1:], []providers.Metric{"network sent"}},
		{[]aodhAlarm{both[0], other[1]}, []providers.Metric{"network received", "network sent"}},
		{append(slices.Clone(both), both[0]), []providers.Metric{"network received", "network received", "network sent"}},
		{nil, nil},
		{[]aodhAlarm{{Name: "ingot-claw network sent", Type: "event"}}, nil},
	} {
		var metrics []providers.Metric
		for _, a := range alarmsOf(providers.Network, test.have, m, s) {
			metrics = append(metrics, a.Metric)
		}
		if !slices.Equal(metrics, test.want) {
			t.Errorf("%d alarms are read as %v, not %v", len(test.have), metrics, test.want)
		}
	}
}

// What Aodh may change of an alarm does not count, and all else does.
func TestSameAlarms(t *testing.T) {
	t.Parallel()
	s, m := size{1, 1024}, mark{"abc", "claw"}
	want := wantedAlarms([]providers.Alarm{{Metric: providers.Network, Above: 1, Notify: []string{"https://a.example/", "https://b.example/"}}}, m, "uuid", s)[0]
	for name, test := range map[string]struct {
		touch func(*aodhAlarm)
		same  bool
	}{
		"nothing":            {func(*aodhAlarm) {}, true},
		"a number":           {func(a *aodhAlarm) { a.ID = "7" }, true},
		"order of addresses": {func(a *aodhAlarm) { slices.Reverse(a.Actions) }, true},
		"a limited query":    {func(a *aodhAlarm) { a.rule().Query = `{"and": [{"=": {"x": 1}}, ` + a.rule().Query + `]}` }, true},
		"spaces in it":       {func(a *aodhAlarm) { a.rule().Query = strings.ReplaceAll(a.rule().Query, ": ", " :") }, true},
		"a rounded number":   {func(a *aodhAlarm) { a.rule().Threshold *= 1 + 1e-13 }, true},
		"another number":     {func(a *aodhAlarm) { a.rule().Threshold *= 1.001 }, false},
		"another query":      {func(a *aodhAlarm) { a.rule().Query = `{"and": [{"=": {"x": 1}}, {"=": {"y": 1}}]}` }, false},
		"a wider query":      {func(a *aodhAlarm) { a.rule().Query = `{"or": [{"=": {"x": 1}}, ` + a.rule().Query + `]}` }, false},
		"no query":           {func(a *aodhAlarm) { a.rule().Query = "" }, false},
		"fewer addresses":    {func(a *aodhAlarm) { a.Actions = a.Actions[:1] }, false},
		"other addresses":    {func(a *aodhAlarm) { a.Actions[0] = "https://c.example/" }, false},
		"more periods":       {func(a *aodhAlarm) { a.rule().Periods++ }, false},
		"other values":       {func(a *aodhAlarm) { a.rule().Granularity = 60 }, false},
		"another comparison": {func(a *aodhAlarm) { a.rule().Comparison = "lt" }, false},
		"another measure":    {func(a *aodhAlarm) { a.rule().Metric = "cpu" }, false},
		"switched off":       {func(a *aodhAlarm) { a.Enabled = false }, false},
		"louder":             {func(a *aodhAlarm) { a.Severity = "critical" }, false},
		"repeated":           {func(a *aodhAlarm) { a.Repeat = true }, false},
		"another type":       {func(a *aodhAlarm) { a.Type = "composite" }, false},
		"no rule":            {func(a *aodhAlarm) { a.OfResources = nil }, false},
	} {
		have, rule := want, *want.OfResources
		have.Actions, have.OfResources = slices.Clone(want.Actions), &rule
		test.touch(&have)
		if have.same(want) != test.same {
			t.Errorf("%s: same is %v", name, !test.same)
		}
	}
}

// What cannot be is said, and an address is not: many have a secret in them.
func TestCheckAlarms(t *testing.T) {
	t.Parallel()
	p := &Provider{alarming: &gophercloud.ServiceClient{}}
	const token = "T0K3N"
	cpu := func(above float64, notify ...string) []providers.Alarm {
		return []providers.Alarm{{Metric: providers.CPU, Above: above, Notify: notify}}
	}
	for _, test := range []struct {
		want        []providers.Alarm
		words       string
		unsupported bool
	}{
		{cpu(99.9, "https://example.org/"+token, "http://10.8.0.2:9000/"), "", false},
		{[]providers.Alarm{{Metric: providers.Network, Above: 1000}}, "", false},
		{[]providers.Alarm{{Metric: providers.Disk, Above: 90}}, `does not see "disk" from outside, only [cpu memory network]`, true},
		{[]providers.Alarm{{Metric: "load", Above: 1}}, `"load"`, true},
		{append(cpu(80), cpu(90)...), "two alarms about cpu", false},
		{cpu(100), "cpu is never above 100", false},
		{cpu(-1), "never above -1", false},
		{cpu(math.NaN()), "never above NaN", false},
		{[]providers.Alarm{{Metric: providers.Network, Above: math.Inf(1)}}, "never above +Inf", false},
		{cpu(80, "https://example.org/", "mailto:"+token+"@example.org"), "cannot be sent by mail", false},
		{cpu(80, "trust+https://example.org/"+token), `"trust+https" addresses`, false},
		{cpu(80, "log://"+token), `"log" addresses`, false},
		{cpu(80, token), `"" addresses`, false},
		{cpu(80, "https:///"+token), `"https" addresses`, false},
		{cpu(80, "https://example.org/%zz"+token), "is no URL", false},
	} {
		err := p.checkAlarms(test.want)
		switch {
		case test.words == "" && err != nil:
			t.Errorf("%+v: %v", test.want, err)
		case test.words == "":
		case fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), test.words) || errors.Is(err, providers.ErrUnsupported) != test.unsupported:
			t.Errorf("%+v: %v", test.want, err)
		case strings.Contains(err.Error(), token):
			t.Errorf("the address is in %v", err)
		}
	}
}

// uncatalogued takes a service out of the catalog that a login is answered with.
type uncatalogued struct{ kind string }

func (u uncatalogued) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil || !strings.HasSuffix(request.URL.Path, "/auth/tokens") {
		return response, err
	}
	defer response.Body.Close()
	var body map[string]map[string]any
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil {
		return nil, err
	}
	catalog, _ := body["token"]["catalog"].([]any)
	body["token"]["catalog"] = slices.DeleteFunc(catalog, func(entry any) bool {
		fields, _ := entry.(map[string]any)
		return fields["type"] == u.kind
	})
	text, err := json.Marshal(body)
	response.Body, response.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	return response, err
}

// A cloud without the service says so, and everything else works.
func TestNoAlarming(t *testing.T) {
	c := needCloud(t)
	p := c.open(t, Options{Transport: uncatalogued{"alarming"}})
	if all := p.Metrics(); len(all) != 0 {
		t.Errorf("it watches %v", all)
	}
	server := providers.Server{ID: "x", Labels: map[string]string{providers.LabelServer: "claw", providers.LabelID: "abc"}}
	_, err := p.Alarms(t.Context(), server)
	for _, err := range []error{err, p.SetAlarms(t.Context(), server, nil, nil), p.Delete(t.Context(), providers.Resource{Kind: kindAlarm, ID: "x"})} {
		if fault.Of(err) != fault.OfInput || !errors.Is(err, providers.ErrUnsupported) || !strings.Contains(err.Error(), "this cloud has no alarming service") {
			t.Error(err)
		}
	}
	if found, err := p.Find(t.Context(), "abc"); err != nil || len(found) > 0 {
		t.Errorf("found %v, %v", found, err)
	}
}
