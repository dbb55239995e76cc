package providers

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ingot/layers"
)

// Rule lets packets from the internet reach a server. Rules are atoms: one protocol,
// one range of ports, one source, so that those of two providers can be compared.
type Rule struct {
	Proto string `json:"proto"` // "tcp", "udp", "icmp" or "icmpv6"
	// From and To are the first and the last port; of ICMP the type, twice, or -1
	// for all.
	From   int          `json:"from"`
	To     int          `json:"to"`
	Source netip.Prefix `json:"source"` // masked; its family is the rule's
	Why    string       `json:"why"`
}

var (
	anywhere4 = netip.MustParsePrefix("0.0.0.0/0")
	anywhere6 = netip.MustParsePrefix("::/0")
)

// echoRequest are the types of a ping (RFC 792, RFC 4443 §4.1).
const (
	echoRequest4 = 8
	echoRequest6 = 128
)

// Rules are what a plan's table of ports asks of the firewall before the machine.
// With ping, the machine may be pinged.
func Rules(ports []layers.Port, ping bool) []Rule {
	var list []Rule
	for _, p := range ports {
		if p.From != layers.FromInternet {
			continue
		}
		for _, source := range []netip.Prefix{anywhere4, anywhere6} {
			list = append(list, Rule{p.Proto, p.Port, p.Port, source, p.Why})
		}
	}
	if ping {
		list = append(list, Rule{"icmp", echoRequest4, echoRequest4, anywhere4, "ping"}, Rule{"icmpv6", echoRequest6, echoRequest6, anywhere6, "ping"})
	}
	Sort(list)
	return list
}

// key is what makes a rule do the same as another: all but why.
func (r Rule) key() Rule {
	r.Why = ""
	r.Source = r.Source.Masked()
	return r
}

// Does reports whether two rules let the same through.
func (r Rule) Does(other Rule) bool { return r.key() == other.key() }

// String is "tcp 443 from ::/0".
func (r Rule) String() string {
	what := r.Proto
	switch {
	case r.From < 0:
	case strings.HasPrefix(r.Proto, "icmp"):
		what += fmt.Sprintf(" type %d", r.From)
	case r.From == r.To:
		what += fmt.Sprintf(" %d", r.From)
	default:
		what += fmt.Sprintf(" %d to %d", r.From, r.To)
	}
	return what + " from " + r.Source.String()
}

// Sort puts rules into the order in which they are shown.
func Sort(list []Rule) {
	slices.SortStableFunc(list, func(a, b Rule) int {
		return cmp.Or(cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To),
			cmp.Compare(a.Source.Addr().BitLen(), b.Source.Addr().BitLen()), cmp.Compare(a.Source.String(), b.Source.String()))
	})
}
