package apparmor

import (
	"slices"
	"strings"
	"testing"

	"ingot/layers"
)

// service brings a profile of its own, and one that a package has.
type service struct{}

func (service) Name() string                          { return "service" }
func (service) Validate(layers.Site) []layers.Finding { return nil }
func (service) Contribute(layers.Site) layers.Contribution {
	return layers.Contribution{Profiles: []layers.Profile{
		{Name: "own", Path: "/etc/apparmor.d/own", Unit: "own.service", Contents: "profile own {}\n", Why: "w"},
		{Name: "/usr/sbin/foreign", Path: "/etc/apparmor.d/usr.sbin.foreign", Unit: "foreign.service", Why: "w"},
	}}
}

func TestLoadsWhatThePlanHas(t *testing.T) {
	t.Parallel()
	plan, conflicts := layers.Merge(layers.Site{}, []layers.Layer{service{}, Layer{}})
	if len(conflicts) > 0 {
		t.Fatal(conflicts)
	}
	for _, unit := range []string{"own.service", "foreign.service"} {
		if !slices.ContainsFunc(plan.Image.Units, func(u layers.Unit) bool {
			return u.Name == unit && strings.Contains(u.Dropins[0].Contents, "\nAppArmorProfile=")
		}) {
			t.Errorf("%s would start without its profile", unit)
		}
	}
	i := slices.IndexFunc(plan.Image.Units, func(u layers.Unit) bool { return u.Name == "apparmor.service" })
	if i < 0 || len(plan.Image.Units[i].Dropins) != 2 || !*plan.Image.Units[i].Enabled {
		t.Fatalf("units: %+v", plan.Image.Units)
	}
	const want = " --skip-cache /etc/apparmor.d/own /etc/apparmor.d/usr.sbin.foreign\n"
	if got := plan.Image.Units[i].Dropins[1].Contents; !strings.Contains(got, "ExecStart=\nExecStart=/") || strings.Count(got, want) != 2 {
		t.Errorf("the drop-in is\n%s", got)
	}
	if len(plan.Image.Files) != 1 || plan.Image.Files[0].Path != "/etc/apparmor.d/own" {
		t.Errorf("files: %+v", plan.Image.Files)
	}
	if len(plan.Validators) != 2 {
		t.Errorf("validators: %+v", plan.Validators)
	}
	var ids []string
	for _, c := range plan.Checks {
		ids = append(ids, c.ID)
		if c.Sabotage == "" {
			t.Errorf("%s has no sabotage", c.ID)
		}
	}
	for _, id := range []string{"apparmor.confined.own", "apparmor.confined.foreign"} {
		if !slices.Contains(ids, id) {
			t.Errorf("no check %s in %v", id, ids)
		}
	}
}

// Without profiles Debian's own start is left alone.
func TestNothingToLoad(t *testing.T) {
	t.Parallel()
	plan, _ := layers.Merge(layers.Site{}, []layers.Layer{Layer{}})
	for _, u := range plan.Image.Units {
		for _, d := range u.Dropins {
			if strings.Contains(d.Contents, "ExecStart") {
				t.Errorf("%+v", u)
			}
		}
	}
}

// A profile without the layer is loaded by nobody, and its file not there.
func TestOff(t *testing.T) {
	t.Parallel()
	plan, _ := layers.Merge(layers.Site{}, []layers.Layer{service{}})
	if len(plan.Image.Files) > 0 || len(plan.Profiles) != 2 || plan.Profiles[0].Layer != "service" {
		t.Errorf("files %+v, profiles %+v", plan.Image.Files, plan.Profiles)
	}
}

func TestTwoProfilesOfOneName(t *testing.T) {
	t.Parallel()
	_, conflicts := layers.Merge(layers.Site{}, []layers.Layer{service{}, other{}})
	if len(conflicts) != 1 || conflicts[0].What != "AppArmor profile own" {
		t.Errorf("conflicts %v", conflicts)
	}
}

type other struct{ service }

func (other) Name() string { return "other" }
func (other) Contribute(layers.Site) layers.Contribution {
	return layers.Contribution{Profiles: []layers.Profile{{Name: "own", Path: "/etc/apparmor.d/other", Unit: "o.service"}}}
}
