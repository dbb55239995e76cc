package nftables

import (
	"fmt"
	"slices"
	"strings"

	"ingot/layers"
)

// forwardRules let through what layers asked for, and the answers. The allowlist
// for what the machine itself may reach holds for its containers, too.
func forwardRules(forwards []layers.Forward, egress *Egress) string {
	if len(forwards) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\t\tct state vmap { established : accept, related : accept, invalid : drop }\n")
	for _, f := range forwards {
		between := interfaces(f, inside(forwards)) + redirected(f)
		if egress == nil || f.Out != "" || !strings.HasPrefix(f.In, layers.BridgePrefix) {
			fmt.Fprintf(&b, "\t\t%s accept comment \"%s\"\n", between, comment(f.Why))
			continue
		}
		for _, e := range egress.entries() {
			if rule := egressRule(e); rule != "" {
				fmt.Fprintf(&b, "\t\t%s %s", between, strings.TrimLeft(rule, "\t"))
			}
		}
		fmt.Fprintf(&b, "\t\t%s reject with icmpx admin-prohibited comment \"%s\"\n", between, notAllowed)
	}
	return b.String()
}

// masquerade is the chain that gives forwarded packets the machine's own
// address, or nothing when no layer asked for that.
func masquerade(forwards []layers.Forward) string {
	var b strings.Builder
	for _, f := range forwards {
		if f.Masquerade {
			fmt.Fprintf(&b, "\t\t%s masquerade comment \"%s\"\n", interfaces(f, inside(forwards)), comment(f.Why))
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "\n\tchain masquerading {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n" + b.String() + "\t}\n"
}

// inside are the interfaces that do not lead to the internet.
func inside(forwards []layers.Forward) []string {
	list := []string{layers.TunnelInterface}
	for _, f := range forwards {
		if f.In != "" {
			list = append(list, f.In)
		}
		if f.Port != 0 {
			list = append(list, f.Out)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func interfaces(f layers.Forward, inside []string) string {
	in, out := fmt.Sprintf("iifname \"%s\"", comment(f.In)), fmt.Sprintf("oifname \"%s\"", comment(f.Out))
	if f.In == "" {
		in = fmt.Sprintf("iifname != \"%s\"", comment(f.Out))
	}
	if f.Out == "" {
		var names []string
		for _, name := range inside {
			names = append(names, fmt.Sprintf("\"%s\"", comment(name)))
		}
		out = "oifname != " + names[0]
		if len(names) > 1 {
			out = "oifname != { " + strings.Join(names, ", ") + " }"
		}
	}
	return in + " " + out
}

// redirected narrows a forward to connections to one port of the machine.
func redirected(f layers.Forward) string {
	if f.Port == 0 {
		return ""
	}
	return fmt.Sprintf(" meta l4proto %s ct status dnat ct original proto-dst %d", f.Proto, f.Port)
}
