package layers

import (
	"reflect"
	"testing"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	on := true
	a := fake{name: "a", c: Contribution{
		Packages: []string{"curl"},
		Image: Fragment{
			Files: []File{{Path: "/etc/a", Why: "a's", Option: []any{"x"}}},
			Units: []Unit{{Name: "a.service", Enabled: &on, Why: "runs a"}},
		},
		Ports: []Port{{Proto: "tcp", Port: 80, From: FromInternet, Why: "web"}, {Proto: "udp", Port: 80, From: FromInternet}},
		State: []State{{Path: "/var/a", Why: "keeps a"}},
	}}
	b := fake{name: "b", c: Contribution{
		Packages: []string{"curl"},
		Image:    Fragment{Units: []Unit{{Name: "a.service", Why: "guards a", Dropins: []Dropin{{Name: "b.conf"}}}}},
	}}
	plan, conflicts := Merge(Site{}, []Layer{a, b})
	if len(conflicts) > 0 {
		t.Fatal(conflicts)
	}
	unit := []Explanation{{"enabled unit a.service", "a", nil, "runs a"}, {"drop-in a.service.d/b.conf", "b", nil, "guards a"}}
	for name, want := range map[string][]Explanation{
		"80/tcp":       {{"port tcp/80 from internet", "a", nil, "web"}},
		"udp/80":       {{"port udp/80 from internet", "a", nil, ""}},
		"80":           {{"port tcp/80 from internet", "a", nil, "web"}, {"port udp/80 from internet", "a", nil, ""}},
		"/etc/a":       {{"file /etc/a", "a", []any{"x"}, "a's"}},
		"/etc//a/":     {{"file /etc/a", "a", []any{"x"}, "a's"}},
		"/var/a/b":     {{"state /var/a", "a", nil, "keeps a"}},
		"/var/ab":      nil,
		"a":            unit,
		"a.service":    unit,
		"curl":         {{"package curl", "a", nil, ""}},
		"8/tcp":        nil,
		"":             nil,
		"wg-quick@wg0": nil,
	} {
		if got := Explain(plan, name); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
}
