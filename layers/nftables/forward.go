package nftables

import (
	"fmt"
	"strings"

	"ingot/layers"
)

// forwardRules let through what layers asked for, and the answers.
func forwardRules(forwards []layers.Forward) string {
	if len(forwards) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\t\tct state vmap { established : accept, related : accept, invalid : drop }\n")
	for _, f := range forwards {
		fmt.Fprintf(&b, "\t\t%s accept comment \"%s\"\n", interfaces(f), comment(f.Why))
	}
	return b.String()
}

// masquerade is the chain that gives forwarded packets the machine's own
// address, or nothing when no layer asked for that.
func masquerade(forwards []layers.Forward) string {
	var b strings.Builder
	for _, f := range forwards {
		if f.Masquerade {
			fmt.Fprintf(&b, "\t\t%s masquerade comment \"%s\"\n", interfaces(f), comment(f.Why))
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "\n\tchain masquerading {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n" + b.String() + "\t}\n"
}

func interfaces(f layers.Forward) string {
	out := fmt.Sprintf("oifname \"%s\"", comment(f.Out))
	if f.Out == "" {
		out = fmt.Sprintf("oifname != \"%s\"", comment(f.In))
	}
	return fmt.Sprintf("iifname \"%s\" %s", comment(f.In), out)
}
