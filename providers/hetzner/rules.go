package hetzner

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"ingot/fault"
	"ingot/providers"
)

// The limits of a firewall, from the document.
const (
	maxRules       = 50
	maxSources     = 100 // of a rule
	maxDescription = 255 // characters
)

var (
	anywhere4 = netip.MustParsePrefix("0.0.0.0/0")
	anywhere6 = netip.MustParsePrefix("::/0")
)

// A rule here has one protocol, one range of ports and many sources; providers.Rule
// has one. Ours end their description with a mark.
//
// ICMP has no types here, and there is no protocol ICMPv6: the document has "icmp"
// and takes sources of both families. So a rule for one type lets all types of its
// family through, and the machine's own firewall decides. The mark says which type
// was meant, or what is read back would never be what was asked for.
const (
	markBegin = "[ingot"
	markEnd   = "]"
)

// markOf is "[ingot]", and "[ingot 8]" for one type of ICMP.
func markOf(r providers.Rule) string {
	if isICMP(r.Proto) && r.From >= 0 {
		return fmt.Sprintf("%s %d%s", markBegin, r.From, markEnd)
	}
	return markBegin + markEnd
}

func isICMP(proto string) bool { return proto == "icmp" || proto == "icmpv6" }

// parseMark splits a description. The type is -1 when the mark has none.
func parseMark(description string) (why string, kind int, owned bool) {
	at := strings.LastIndex(description, markBegin)
	if at < 0 || !strings.HasSuffix(description, markEnd) {
		return description, -1, false
	}
	kind = -1
	if rest := description[at+len(markBegin) : len(description)-len(markEnd)]; rest != "" {
		n, err := strconv.ParseUint(strings.TrimPrefix(rest, " "), 10, 8)
		if err != nil || rest[0] != ' ' {
			return description, -1, false
		}
		kind = int(n)
	}
	return strings.TrimSpace(description[:at]), kind, true
}

// installed are the rules that one of the API does.
func installed(r hcloud.FirewallRule) []providers.Installed {
	description := ""
	if r.Description != nil {
		description = *r.Description
	}
	why, kind, owned := parseMark(description)
	opaque := []providers.Installed{{Opaque: describe(r)}}
	if r.Direction != hcloud.FirewallRuleDirectionIn {
		return opaque
	}
	var from, to int
	switch r.Protocol {
	case hcloud.FirewallRuleProtocolTCP, hcloud.FirewallRuleProtocolUDP:
		var ok bool
		if from, to, ok = parsePorts(r.Port); !ok {
			return opaque
		}
	case hcloud.FirewallRuleProtocolICMP:
		from, to = kind, kind
	default:
		return opaque
	}
	var list []providers.Installed
	for _, source := range r.SourceIPs {
		prefix, ok := toPrefix(source)
		if !ok {
			return opaque
		}
		proto := string(r.Protocol)
		if proto == "icmp" && prefix.Addr().Is6() {
			proto = "icmpv6"
		}
		list = append(list, providers.Installed{Rule: providers.Rule{Proto: proto, From: from, To: to, Source: prefix, Why: why}, Owned: owned})
	}
	return list
}

// parsePorts reads "80" and "1024-5000".
func parsePorts(text *string) (from, to int, ok bool) {
	if text == nil {
		return 0, 0, false
	}
	first, last, isRange := strings.Cut(*text, "-")
	if !isRange {
		last = first
	}
	a, err := strconv.ParseUint(first, 10, 16)
	b, failed := strconv.ParseUint(last, 10, 16)
	return int(a), int(b), err == nil && failed == nil && a <= b
}

func toPrefix(n net.IPNet) (netip.Prefix, bool) {
	addr, ok := netip.AddrFromSlice(n.IP)
	bits, size := n.Mask.Size()
	if !ok || size == 0 {
		return netip.Prefix{}, false
	}
	if size == 32 {
		addr = addr.Unmap()
	}
	return netip.PrefixFrom(addr, bits).Masked(), true
}

func toNet(p netip.Prefix) net.IPNet {
	p = p.Masked()
	return net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// describe shows a rule in the API's words.
func describe(r hcloud.FirewallRule) string {
	var b strings.Builder
	b.WriteString(string(r.Protocol))
	if r.Port != nil {
		b.WriteString(" " + *r.Port)
	}
	nets, word := r.SourceIPs, " from "
	if r.Direction == hcloud.FirewallRuleDirectionOut {
		nets, word = r.DestinationIPs, " out to "
	}
	for _, n := range nets {
		b.WriteString(word + n.String())
		word = ", "
	}
	if r.Description != nil && *r.Description != "" {
		fmt.Fprintf(&b, " (%s)", shortened(*r.Description, 60))
	}
	return b.String()
}

// group are the rules of the API that do what a list does: sources of the same
// protocol, ports and reason go into one.
func group(list []providers.Rule) ([]hcloud.FirewallRule, error) {
	type key struct {
		proto, ports, description string
	}
	var order []key
	sources := map[key][]netip.Prefix{}
	for _, r := range list {
		k := key{proto: r.Proto}
		switch {
		case isICMP(r.Proto):
			k.proto = "icmp"
		case r.Proto != "tcp" && r.Proto != "udp" || r.From < 1 || r.To > 65535 || r.From > r.To:
			return nil, fault.Input(fmt.Errorf("hetzner has no rule for %s", r))
		case r.From == r.To:
			k.ports = strconv.Itoa(r.From)
		default:
			k.ports = fmt.Sprintf("%d-%d", r.From, r.To)
		}
		if !r.Source.IsValid() || isICMP(r.Proto) && r.Source.Addr().Is6() != (r.Proto == "icmpv6") {
			return nil, fault.Input(fmt.Errorf("hetzner has no rule for %s: the source is of another family", r))
		}
		mark := markOf(r)
		k.description = strings.TrimSpace(shortened(r.Why, maxDescription-len(mark)-1) + " " + mark)
		if sources[k] == nil {
			order = append(order, k)
		}
		if source := r.Source.Masked(); !slices.Contains(sources[k], source) {
			sources[k] = append(sources[k], source)
		}
	}
	slices.SortFunc(order, func(a, b key) int {
		return cmp.Or(cmp.Compare(a.proto, b.proto), cmp.Compare(a.ports, b.ports), cmp.Compare(a.description, b.description))
	})
	var rules []hcloud.FirewallRule
	for _, k := range order {
		slices.SortFunc(sources[k], netip.Prefix.Compare)
		for some := range slices.Chunk(sources[k], maxSources) {
			r := hcloud.FirewallRule{Direction: hcloud.FirewallRuleDirectionIn, Protocol: hcloud.FirewallRuleProtocol(k.proto), Description: &k.description}
			if k.ports != "" {
				r.Port = &k.ports
			}
			for _, s := range some {
				r.SourceIPs = append(r.SourceIPs, toNet(s))
			}
			rules = append(rules, r)
		}
	}
	return rules, nil
}

// checkCount is before anything is sent: the API's own error names no number.
func checkCount(name string, rules []hcloud.FirewallRule) error {
	if len(rules) > maxRules {
		return fault.Input(fmt.Errorf("the firewall %s would have %d rules, and Hetzner takes %d: let fewer ports through, or ranges", name, len(rules), maxRules))
	}
	return nil
}
