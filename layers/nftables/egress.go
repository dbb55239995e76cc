package nftables

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"ingot/layers"
)

// Egress turns the outbound policy around: what is not listed, here or by a
// layer that needs it, is rejected.
type Egress struct {
	// Allow is what the machine may reach besides what its layers need.
	Allow []Destination `yaml:"allow"`
}

// Destination is one thing that the machine may reach.
type Destination struct {
	// Port is 1 to 65535.
	Port int `yaml:"port" ingot:"required"`
	// Proto is tcp, the default, or udp.
	Proto string `yaml:"proto"`
	// To is where: an address with a length, IPv4 or IPv6. Empty is anywhere.
	To string `yaml:"to"`
	// Why says what the machine wants there; it becomes the rule's comment.
	Why string `yaml:"why" ingot:"required"`
}

// KeyAdvice implements the decoder's interface of that name.
func (Destination) KeyAdvice(key string) (message, advice string) {
	switch key {
	case "cidr", "address", "host", "destination":
		return fmt.Sprintf("unknown key %q", key), "the destination is called to: an address with a length, such as 192.0.2.0/24; the firewall knows no names"
	}
	return Allow{}.KeyAdvice(key)
}

func (d Destination) proto() string { return cmp.Or(d.Proto, "tcp") }

func (e *Egress) validate() []layers.Finding {
	var findings []layers.Finding
	seen := map[string]int{}
	for i, d := range e.Allow {
		at := []any{"egress", "allow", i}
		findings = append(findings, d.validate(at)...)
		key := fmt.Sprintf("%s/%d %s", d.proto(), d.Port, d.To)
		if first, twice := seen[key]; twice {
			findings = append(findings, layers.Finding{
				Path: under(at, "port"), Message: fmt.Sprintf("this is the same as egress.allow[%d]", first), Advice: "keep one of the two",
			})
			continue
		}
		seen[key] = i
	}
	return findings
}

func (d Destination) validate(at []any) []layers.Finding {
	findings := portProblems(at, d.Port, d.proto())
	if message, advice := cidrProblem(d.To); d.To != "" && message != "" {
		findings = append(findings, layers.Finding{Path: under(at, "to"), Message: message, Advice: advice})
	}
	if message := whyProblem(d.Why); message != "" {
		findings = append(findings, layers.Finding{
			Path: under(at, "why"), Message: message, Advice: "say in a few words what the machine wants there, such as the model's API",
		})
	}
	return findings
}

// cidrProblem says why a text is no destination.
func cidrProblem(text string) (message, advice string) {
	const example = "write an address with a length, such as 192.0.2.0/24 or 2001:db8::/32"
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return fmt.Sprintf("%s has no length", a), fmt.Sprintf("write %s/%d for this one address", a, a.BitLen())
	}
	prefix, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return fmt.Sprintf("%q is not an address with a length", text), example + "; the firewall knows no names"
	case prefix.Addr().Is4In6():
		return fmt.Sprintf("%s is an IPv4 address written as IPv6", prefix), "write it as IPv4: " + prefix.Addr().Unmap().String()
	case prefix != prefix.Masked():
		return fmt.Sprintf("%s has bits beyond its length", prefix), fmt.Sprintf("write %s for the network or %s/%d for the address", prefix.Masked(), prefix.Addr(), prefix.Addr().BitLen())
	}
	return "", ""
}

// entries is the list as the plan has it.
func (e *Egress) entries() []layers.Egress {
	if e == nil {
		return nil
	}
	var list []layers.Egress
	for _, d := range e.Allow {
		list = append(list, layers.Egress{Proto: d.proto(), Port: d.Port, CIDR: d.To, Why: d.Why})
	}
	return list
}

// egressRules are those of the outbound chain behind the metadata's.
func (l Layer) egressRules(plan layers.Plan) string {
	if l.Options.Egress == nil {
		return ""
	}
	var b strings.Builder
	b.WriteString(egressEssentials)
	for _, p := range plan.Ports {
		// A silent service speaks first, too: WireGuard to a peer it knows.
		if p.Silent && p.Proto == "udp" && p.From == layers.FromInternet {
			fmt.Fprintf(&b, "\t\tudp sport %d accept comment \"%s\"\n", p.Port, comment(p.Why))
		}
		// Answers that nothing knows as such.
		if p.Untracked && p.From == layers.FromWireGuard {
			fmt.Fprintf(&b, "\t\toifname %q %s sport %d accept comment \"%s\"\n", layers.TunnelInterface, p.Proto, p.Port, comment(p.Why))
		}
	}
	b.WriteByte('\n')
	for _, e := range plan.Egress {
		b.WriteString(egressRule(e))
	}
	b.WriteString(egressEnd)
	return b.String()
}

// egressRule is empty for an entry that makes no sense: it stays shut.
func egressRule(e layers.Egress) string {
	if e.Mark != 0 && (e.Proto == "tcp" || e.Proto == "udp") {
		return fmt.Sprintf("\t\tmeta mark %#x meta l4proto %s accept comment \"%s\"\n", e.Mark, e.Proto, comment(e.Why))
	}
	to := ""
	if e.CIDR != "" {
		prefix, err := netip.ParsePrefix(e.CIDR)
		if err != nil {
			return ""
		}
		to = "ip daddr " + prefix.String() + " "
		if prefix.Addr().Is6() {
			to = "ip6 daddr " + prefix.String() + " "
		}
	}
	if len(portProblems(nil, e.Port, e.Proto)) > 0 {
		return ""
	}
	return fmt.Sprintf("\t\t%s%s dport %d accept comment \"%s\"\n", to, e.Proto, e.Port, comment(e.Why))
}

// egressEssentials is what a machine must send to have a network at all:
//   - DHCP: RFC 2131 §4.1, RFC 8415 §7.2; only root may send from these ports
//   - router and neighbour discovery: RFC 4861 §6.1, §7.1, hop limit 255
//   - multicast listener reports: RFC 3810 §5, hop limit 1
//
// ICMP errors, packet-too-big among them, are "related".
const egressEssentials = `
		oifname "lo" accept comment "the machine itself"
		ct state vmap { established : accept, related : accept }
		meta nfproto ipv4 udp sport 68 udp dport 67 accept comment "DHCP"
		meta nfproto ipv6 udp sport 546 udp dport 547 accept comment "DHCPv6"
		ip6 hoplimit 255 icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept
		ip6 hoplimit 1 icmpv6 type { mld-listener-report, mld-listener-done, mld2-listener-report } accept
		` + metadata4 + ` accept comment "instance metadata, of root by the rule above"
		` + metadata6 + ` accept comment "instance metadata, of root by the rule above"
`

// notAllowed is the comment of the rules that reject.
const notAllowed = "not in the allowlist"

// egressEnd rejects rather than drops: a program learns at once that it may
// not. TCP gets a reset, because the kernel ignores an ICMP error that arrives
// while connect has not returned, and tries again for a second.
const egressEnd = `
		# debug: in the journal, not on the console
		limit rate 10/minute burst 20 packets log prefix "ingot egress: " level debug
		meta l4proto tcp counter reject with tcp reset comment "` + notAllowed + `"
		counter reject with icmpx type admin-prohibited comment "` + notAllowed + `"
`
