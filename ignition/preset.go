package ignition

import (
	"fmt"
	"slices"
	"strings"

	"ingot/layers"
)

// presetFile enables units that Ignition cannot enable in a tree. Next to its
// own 20-ignition.preset, before the image's last word.
const presetFile = "/etc/systemd/system-preset/20-ingot.preset"

// PresetUnits returns the image's units that layers want enabled and disabled,
// each sorted. Ignition only writes presets; "systemctl preset" for exactly
// these makes them take effect.
func PresetUnits(plan layers.Plan) (enable, disable []string) {
	for _, u := range plan.Image.Units {
		switch {
		case u.Enabled == nil:
		case *u.Enabled:
			enable = append(enable, u.Name)
		default:
			disable = append(disable, u.Name)
		}
	}
	slices.Sort(enable)
	slices.Sort(disable)
	return enable, disable
}

// bakeable moves the presets of instance units (name@instance.service) to a
// file of our own: for those Ignition asks the running systemd for its version
// and fails where none runs, as in an image build.
func bakeable(f layers.Fragment) layers.Fragment {
	var presets []string
	f.Units = slices.Clone(f.Units)
	for i, u := range f.Units {
		if u.Enabled == nil || !strings.Contains(u.Name, "@") {
			continue
		}
		verb := "disable"
		if *u.Enabled {
			verb = "enable"
		}
		presets = append(presets, fmt.Sprintf("%s %s\n", verb, u.Name))
		f.Units[i].Enabled = nil
	}
	if len(presets) == 0 {
		return f
	}
	slices.Sort(presets)
	f.Files = append(slices.Clone(f.Files), layers.File{Path: presetFile, Mode: 0o644, Contents: strings.Join(presets, "")})
	return f
}
