package ionos

import (
	"fmt"
	"net/netip"
	"strings"

	sdk "github.com/ionos-cloud/sdk-go/v6"

	"ingot/providers"
)

// ours is how the names of Ingot's rules begin.
const ours = "ingot: "

// maxRuleName is how long the name of a rule gets, in bytes. IONOS publishes no limit.
const maxRuleName = 100

// The protocols, as IONOS spells them (sdk-go v6.3.11, FirewallRule).
var protocols = map[string]string{"tcp": "TCP", "udp": "UDP", "icmp": "ICMP", "icmpv6": "ICMPv6"}

// properties are a rule's in IONOS' words.
func properties(r providers.Rule) *sdk.FirewallruleProperties {
	name := ours + r.Why
	p := &sdk.FirewallruleProperties{
		Name:     ptr(strings.ToValidUTF8(name[:min(len(name), maxRuleName)], "")),
		Protocol: ptr(protocols[r.Proto]),
		Type:     ptr(ingress),
		// Without it and without addresses a rule is for IPv4 alone.
		IpVersion: ptr("IPv4"),
	}
	if r.Source.Addr().Is6() {
		p.IpVersion = ptr("IPv6")
	}
	switch {
	case r.Source.Bits() == 0:
	case r.Source.IsSingleIP():
		p.SourceIp = ptr(r.Source.Addr().String())
	default:
		p.SourceIp = ptr(r.Source.Masked().String())
	}
	if strings.HasPrefix(r.Proto, "icmp") {
		if r.From >= 0 {
			p.IcmpType = ptr(int32(r.From))
		}
		return p
	}
	p.PortRangeStart, p.PortRangeEnd = ptr(int32(r.From)), ptr(int32(r.To))
	return p
}

// installed is one of IONOS' rules in Ingot's words.
func installed(f sdk.FirewallRule) providers.Installed {
	p := f.Properties
	i := providers.Installed{ID: deref(f.Id), Owned: strings.HasPrefix(deref(p.Name), ours)}
	rule, ok := understood(p)
	if !ok {
		i.Opaque = opaque(p)
		return i
	}
	rule.Why = strings.TrimPrefix(deref(p.Name), ours)
	i.Rule = rule
	return i
}

// understood reads a rule that this program can express.
func understood(p *sdk.FirewallruleProperties) (providers.Rule, bool) {
	var r providers.Rule
	for ingots, theirs := range protocols {
		if strings.EqualFold(deref(p.Protocol), theirs) {
			r.Proto = ingots
		}
	}
	if r.Proto == "" || p.SourceMac != nil || p.TargetIp != nil || p.IcmpCode != nil || p.Type != nil && *p.Type != ingress {
		return r, false
	}
	var ok bool
	if r.Source, ok = source(p, r.Proto); !ok {
		return r, false
	}
	switch {
	case strings.HasPrefix(r.Proto, "icmp"):
		r.From, r.To = -1, -1
		if p.IcmpType != nil {
			r.From, r.To = int(*p.IcmpType), int(*p.IcmpType)
		}
	case p.PortRangeStart == nil && p.PortRangeEnd == nil:
		r.From, r.To = 1, 65535
	case p.PortRangeStart == nil || p.PortRangeEnd == nil:
		return r, false
	default:
		r.From, r.To = int(*p.PortRangeStart), int(*p.PortRangeEnd)
	}
	return r, true
}

// source is who a rule lets in.
func source(p *sdk.FirewallruleProperties, proto string) (netip.Prefix, bool) {
	version := deref(p.IpVersion)
	if p.SourceIp == nil {
		if strings.EqualFold(version, "IPv6") || version == "" && proto == "icmpv6" {
			return netip.MustParsePrefix("::/0"), true
		}
		return netip.MustParsePrefix("0.0.0.0/0"), true
	}
	prefix, err := netip.ParsePrefix(*p.SourceIp)
	if err != nil {
		addr, err := netip.ParseAddr(*p.SourceIp)
		if err != nil {
			return prefix, false
		}
		prefix = netip.PrefixFrom(addr, addr.BitLen())
	}
	return prefix.Masked(), true
}

// opaque shows a rule in IONOS' words.
func opaque(p *sdk.FirewallruleProperties) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", deref(p.Type), deref(p.Protocol))
	if p.PortRangeStart != nil || p.PortRangeEnd != nil {
		fmt.Fprintf(&b, " %d to %d", deref(p.PortRangeStart), deref(p.PortRangeEnd))
	}
	for _, part := range []struct {
		what  string
		value *string
	}{{"from", p.SourceIp}, {"MAC", p.SourceMac}, {"to", p.TargetIp}, {"named", p.Name}} {
		if part.value != nil {
			fmt.Fprintf(&b, " %s %s", part.what, *part.value)
		}
	}
	if p.IcmpType != nil || p.IcmpCode != nil {
		fmt.Fprintf(&b, " type %d code %d", deref(p.IcmpType), deref(p.IcmpCode))
	}
	return strings.TrimSpace(b.String())
}
