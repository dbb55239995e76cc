package system

import (
	"slices"
	"strings"
	"testing"

	"ingot/layers"
)

// other contributes what the system layer must carry into the image.
type other struct{}

func (other) Name() string                          { return "other" }
func (other) Validate(layers.Site) []layers.Finding { return nil }
func (other) Contribute(layers.Site) layers.Contribution {
	return layers.Contribution{
		Identity: []string{"/etc/other/*.conf"},
		State:    []layers.State{{Path: "/var/lib/other", User: "o", Group: "g", Mode: 0o2750, Why: "things"}},
	}
}

func TestFinish(t *testing.T) {
	plan, conflicts := layers.Merge(layers.Site{SlotBytes: 1 << 30}, []layers.Layer{Layer{}, other{}})
	if len(conflicts) > 0 {
		t.Fatal(conflicts)
	}
	files := map[string]string{}
	for _, f := range plan.Image.Files {
		files[f.Path] = f.Contents
	}
	for path, want := range map[string]string{
		"/usr/lib/ingot/identity.list":                   "/etc/hostname\n/etc/machine-id\n/etc/other/*.conf\n",
		"/usr/lib/tmpfiles.d/ingot-state.conf":           "# other: things\nd /var/lib/other 2750 o g -\n",
		"/usr/lib/ingot/repart.all.d/30-root-b.conf":     "Type=root-x86-64\nLabel=root-b\nSizeMinBytes=1073741824\nSizeMaxBytes=1073741824\n",
		"/usr/lib/ingot/repart.slots.d/40-verity-b.conf": "Type=root-x86-64-verity\nLabel=verity-b\nSizeMinBytes=16777216\n",
		"/usr/lib/ingot/repart.all.d/50-var.conf":        "Label=ingot-var\nFormat=ext4\n",
	} {
		if !strings.Contains(files[path], want) {
			t.Errorf("%s is\n%s\nwant in it\n%s", path, files[path], want)
		}
	}
	if _, ok := files["/usr/lib/ingot/repart.slots.d/50-var.conf"]; ok {
		t.Error("the definitions for a machine with a state volume of its own make a second one")
	}
}

// A folder of programs is the only one below /var from which they start.
func TestExecState(t *testing.T) {
	t.Parallel()
	units := execMounts([]layers.State{{Path: "/var/lib/data"}, {Path: "/var/lib/my-app", Exec: true, Why: "plugins"}})
	if len(units) != 1 || units[0].Name != `var-lib-my\x2dapp.mount` {
		t.Fatalf("got %+v", units)
	}
	if !strings.Contains(units[0].Contents, "\nWhere=/var/lib/my-app\n") || strings.Contains(units[0].Contents, "noexec") {
		t.Errorf("the unit is\n%s", units[0].Contents)
	}
}

// clock brings a time daemon of its own; Debian's exclude each other.
type clock struct{ other }

func (clock) Contribute(layers.Site) layers.Contribution {
	return layers.Contribution{Packages: []string{"chrony"}}
}

func TestOneTimeDaemon(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		with layers.Layer
		want bool
	}{"alone": {other{}, true}, "with chrony": {clock{}, false}} {
		plan, conflicts := layers.Merge(layers.Site{SlotBytes: 1 << 30}, []layers.Layer{Layer{}, test.with})
		if len(conflicts) > 0 {
			t.Fatal(conflicts)
		}
		unit := slices.ContainsFunc(plan.Image.Units, func(u layers.Unit) bool { return u.Name == "systemd-timesyncd.service" })
		if pkg := slices.Contains(plan.Packages, "systemd-timesyncd"); pkg != test.want || unit != test.want {
			t.Errorf("%s: package %t, unit %t, want %t", name, pkg, unit, test.want)
		}
	}
}
