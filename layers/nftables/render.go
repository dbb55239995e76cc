package nftables

import (
	"slices"

	"ingot/layers"
)

// RulesetOf returns the ruleset that a plan's image loads at boot. It is false
// when the layer is off.
func RulesetOf(plan layers.Plan) (string, bool) {
	i := slices.IndexFunc(plan.Image.Files, func(f layers.File) bool { return f.Path == Path })
	if i < 0 {
		return "", false
	}
	return plan.Image.Files[i].Contents, true
}
