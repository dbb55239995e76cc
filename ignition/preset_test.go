package ignition

import (
	"slices"
	"testing"

	"ingot/layers"
)

func TestPresetUnits(t *testing.T) {
	t.Parallel()
	enable, disable := PresetUnits(backwards(server(t)))
	if want := []string{"ssh.socket", "watch@wg0.service"}; !slices.Equal(enable, want) {
		t.Errorf("enable %q, want %q", enable, want)
	}
	if want := []string{"unwanted.service"}; !slices.Equal(disable, want) {
		t.Errorf("disable %q, want %q", disable, want)
	}
	if enable, disable := PresetUnits(layers.Plan{}); len(enable)+len(disable) > 0 {
		t.Errorf("an empty plan has presets %q and %q", enable, disable)
	}
}

func TestInstanceUnitsGetAPresetFile(t *testing.T) {
	t.Parallel()
	f := bakeable(layers.Fragment{Units: []layers.Unit{
		{Name: "b@1.service", Enabled: new(true)}, {Name: "a.service", Enabled: new(true)}, {Name: "b@2.service", Enabled: new(false)}, {Name: "c@.service"},
	}})
	if len(f.Files) != 1 || f.Files[0].Path != presetFile || f.Files[0].Contents != "disable b@2.service\nenable b@1.service\n" {
		t.Errorf("preset file %+v", f.Files)
	}
	for _, u := range f.Units {
		if (u.Enabled != nil) != (u.Name == "a.service") {
			t.Errorf("%s: enabled is %v", u.Name, u.Enabled)
		}
	}
}
