package providers

import (
	"encoding/json"
	"testing"
	"time"
)

func TestCompareAlarms(t *testing.T) {
	t.Parallel()
	alarm := func(m Metric, above float64, to ...string) Alarm {
		return Alarm{Metric: m, Above: above, For: 10 * time.Minute, Notify: to}
	}
	longer := alarm(CPU, 90, "https://a.example")
	longer.For = 2 * time.Hour
	for name, test := range map[string]struct {
		want, have []Alarm
		can        []Metric
		text       string
	}{
		"nothing there":  {[]Alarm{alarm(CPU, 90, "https://u:p@a.example/secret")}, nil, Metrics(), "+ cpu      above 90 % for 10m, to a.example\n"},
		"all there":      {[]Alarm{alarm(CPU, 90, "a", "b")}, []Alarm{alarm(CPU, 90.0004, "a", "b")}, Metrics(), "= cpu      above 90 % for 10m, to a, b\n"},
		"another height": {[]Alarm{alarm(Network, 12.5, "a")}, []Alarm{alarm(Network, 13, "a")}, Metrics(), "+ network  above 12.5 MiB/s for 10m, to a\n- network  above 13 MiB/s for 10m, to a\n"},
		"another length": {[]Alarm{longer}, []Alarm{alarm(CPU, 90, "https://a.example")}, Metrics(), "+ cpu      above 90 % for 2h, to a.example\n- cpu      above 90 % for 10m, to a.example\n"},
		"another ear":    {[]Alarm{alarm(CPU, 90, "a")}, []Alarm{alarm(CPU, 90, "b")}, Metrics(), "+ cpu      above 90 % for 10m, to a\n- cpu      above 90 % for 10m, to b\n"},
		"not wanted":     {nil, []Alarm{alarm(Memory, 90, "a")}, Metrics(), "- memory   above 90 % for 10m, to a\n"},
		"unsupported":    {[]Alarm{alarm(CPU, 90, "a"), alarm(Disk, 85, "a")}, nil, []Metric{CPU}, "+ cpu      above 90 % for 10m, to a\n! disk     unsupported by somebody\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := CompareAlarms(test.want, test.have, test.can).Text("somebody"); got != test.text {
				t.Errorf("got\n%swant\n%s", got, test.text)
			}
		})
	}
}

func TestAlarmAsJSON(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(CompareAlarms([]Alarm{{CPU, 90, 10 * time.Minute, []string{"a"}}}, nil, Metrics()))
	const want = `{"add":[{"metric":"cpu","above":90,"for_seconds":600,"notify":["a"]}],"remove":[],"keep":[],"unsupported":[]}`
	if err != nil || string(b) != want {
		t.Errorf("%s, %v", b, err)
	}
}
