package hetzner

import (
	"cmp"
	"net"
	"slices"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"ingot/providers"
)

// changed are a firewall's rules with some added and some removed. Those of others
// stay as they are, and where they are, unless they are among the removed. Ours are
// put together anew.
func changed(rules []hcloud.FirewallRule, add []providers.Rule, remove []providers.Installed) ([]hcloud.FirewallRule, error) {
	var ours []providers.Rule
	out := []hcloud.FirewallRule{} // the SDK sends none as null, and the API wants a list
	remove = slices.Clone(remove)
	// From the last: of two equal ones the second goes.
	for _, r := range slices.Backward(rules) {
		atoms := installed(r)
		kept := slices.Clone(atoms)
		for i, atom := range slices.Backward(atoms) {
			if at := slices.IndexFunc(remove, func(x providers.Installed) bool { return same(x, atom) }); at >= 0 {
				remove = slices.Delete(remove, at, at+1)
				kept = slices.Delete(kept, i, i+1)
			}
		}
		switch {
		case len(kept) > 0 && kept[0].Owned:
			for _, k := range kept {
				ours = append(ours, k.Rule)
			}
		case len(kept) == len(atoms):
			out = append(out, r)
		case len(kept) > 0: // somebody else's, with fewer sources
			r.SourceIPs = nil
			for _, k := range kept {
				r.SourceIPs = append(r.SourceIPs, toNet(k.Source))
			}
			out = append(out, r)
		}
	}
	slices.Reverse(out)
	for _, r := range add {
		if !slices.ContainsFunc(ours, r.Does) {
			ours = append(ours, r)
		}
	}
	grouped, err := group(ours)
	return append(out, grouped...), err
}

// same reports whether an installed rule is one that shall go.
func same(a, b providers.Installed) bool {
	if a.Opaque != "" || b.Opaque != "" {
		return a.Opaque == b.Opaque
	}
	return a.Owned == b.Owned && a.Does(b.Rule)
}

// equal reports whether two lists of rules do the same with the same words, in any
// order.
func equal(a, b []hcloud.FirewallRule) bool {
	text := func(rules []hcloud.FirewallRule) []string {
		var list []string
		for _, r := range rules {
			r.SourceIPs = slices.SortedFunc(slices.Values(r.SourceIPs), func(a, b net.IPNet) int { return cmp.Compare(a.String(), b.String()) })
			description := ""
			if r.Description != nil {
				description = *r.Description
			}
			list = append(list, describe(r)+description)
		}
		slices.Sort(list)
		return list
	}
	return slices.Equal(text(a), text(b))
}
