package nftables

import (
	"fmt"
	"strings"

	"ingot/layers"
)

// family is one of the two protocols, treated alike.
type family struct {
	name    string // in the names of sets, and what nft calls the protocol
	kind    string // nft's type of its addresses
	address string // the expression for the sender
}

// families: one IPv6 customer has a /64 at least (RFC 6177), so that counting
// single IPv6 addresses would limit nobody.
var families = []family{
	{"ipv4", "ipv4_addr", "ip saddr"},
	{"ipv6", "ipv6_addr", "ip6 saddr and ffff:ffff:ffff:ffff::"},
}

// limitSize is how many senders a set remembers, at some 200 bytes each.
const limitSize = 65535

func limitSet(p layers.Port, f family) string {
	return fmt.Sprintf("limit_%s_%s_%d_%s", p.From, p.Proto, p.Port, f.name)
}

// limitSets declares the sets of the ports that have a limit. A sender that is
// silent for a minute has its whole allowance again, so that may be forgotten.
func limitSets(ports []layers.Port) string {
	var b strings.Builder
	for _, p := range ports {
		if p.NewPerMinute <= 0 {
			continue
		}
		for _, f := range families {
			fmt.Fprintf(&b, "\tset %s {\n\t\ttype %s\n\t\tsize %d\n\t\tflags dynamic,timeout\n\t\ttimeout 1m\n\t}\n\n", limitSet(p, f), f.kind, limitSize)
		}
	}
	return b.String()
}

// limitRules drop what is too much. They see new connections only: packets of
// established ones were accepted before. A sender may use a minute's allowance
// at once. When a set is full the rule does not match and the port stays
// reachable: forged senders fill a set easily, and must not lock anybody out.
func limitRules(p layers.Port) string {
	if p.NewPerMinute <= 0 {
		return ""
	}
	var b strings.Builder
	for _, f := range families {
		fmt.Fprintf(&b, "\t\t%s dport %d update @%s { %s limit rate over %d/minute burst %d packets } counter drop comment \"too many new connections\"\n",
			p.Proto, p.Port, limitSet(p, f), f.address, p.NewPerMinute, p.NewPerMinute)
	}
	return b.String()
}
