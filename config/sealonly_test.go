package config_test

import (
	"slices"
	"strings"
	"testing"

	"ingot/layers"
)

// What is left out on a stock system exists: a renamed file would otherwise
// come back unnoticed.
func TestSealOnlyExists(t *testing.T) {
	t.Parallel()
	loaded, findings := load(t, example)
	if len(findings) > 0 {
		t.Fatal(rendered(t, findings))
	}
	for _, s := range loaded.Plan.SealOnly {
		pattern, removal := strings.CutPrefix(s.What, "removal ")
		known := loaded.Plan.Owner[s.What] == s.Layer
		if removal {
			known = slices.ContainsFunc(loaded.Plan.Removed, func(r layers.Removal) bool { return r.Pattern == pattern })
		}
		if !known || s.Why == "" {
			t.Errorf("layer %s leaves out %q (%s), which it does not have", s.Layer, s.What, s.Why)
		}
	}
}
