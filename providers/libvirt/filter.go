package libvirt

import (
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"ingot/providers"
)

// Comments of a filter's rules reach the kernel and come back; comments of the XML do
// not. They hold the label, what is ours, and why.
const (
	commentID   = "ingot id " // of the first rule; the label follows
	commentBase = "ingot base: "
	commentDrop = "ingot drop: what no rule lets in"
	commentRule = "ingot: "
)

// maxComment is how long a comment is made, in bytes. libvirt and the kernel take 255.
const maxComment = 200

// Of two rules the one with the lower priority is asked first. Those below zero are
// of the Ethernet frame.
const (
	priorityFrame     = -800
	priorityFrameDrop = -700
	priorityKnown     = 100
	priorityRule      = 500 // libvirt's default: rules made by hand are among ours
	priorityDrop      = 1000
)

func filterName(server string) string { return "ingot-" + server }

// newFilter is the wall of a server: its own rules, and what any server needs to have
// a network at all.
func newFilter(id, server string, rules []providers.Rule) (node, error) {
	f := element("filter", "name", filterName(server), "chain", "root").with(
		rule("accept", "in", priorityKnown, element("all", "state", "ESTABLISHED,RELATED", "comment", commentID+id)),
	).with(baseRules()...)
	for _, r := range rules {
		n, err := ruleNode(r)
		if err != nil {
			return node{}, err
		}
		f = f.with(n)
	}
	return f.with(dropRules()...), nil
}

// baseRules let the server speak first, and be answered.
//
// A rule "out" lets a packet out that begins something and its answers in. It does not
// let answers out: the rule that let the question in does. So what came by a way that
// a filter does not see (from the host itself) is not answered either.
func baseRules() []node {
	base := func(direction string, match node, more ...string) node {
		match = withAttrs(match, more...)
		return rule("accept", direction, priorityKnown, withAttrs(match, "comment", commentBase+"a server needs it"))
	}
	list := []node{
		base("in", element("all-ipv6", "state", "ESTABLISHED,RELATED")),
		base("out", element("all")),
		base("out", element("all-ipv6")),
		// Errors about what it was sent, and answers to pings that a rule let in:
		// for those libvirt makes no rule by itself.
		base("out", element("all", "state", "RELATED")),
		base("out", element("all-ipv6", "state", "RELATED")),
		base("out", element("icmp", "type", "0")),
		base("out", element("icmpv6", "type", "129")),
		base("in", element("udp", "srcportstart", "67", "dstportstart", "68")),
		base("in", element("udp-ipv6", "srcipaddr", "fe80::", "srcipmask", "10", "srcportstart", "547", "dstportstart", "546")),
	}
	// Neighbours and routers (RFC 4861) and who listens to which group (RFC 2710,
	// 3810). The kernel does not track these. The type is needed: without it,
	// libvirt's rule for a way out lets everything in.
	for _, of := range []struct {
		direction string
		types     []int
	}{{"in", []int{130, 134, 135, 136}}, {"out", []int{131, 132, 133, 135, 136, 143}}} {
		for _, t := range of.types {
			list = append(list, withAttrs(base(of.direction, element("icmpv6", "type", strconv.Itoa(t))), "statematch", "false"))
		}
	}
	// The rules above see IP. What is neither that nor ARP stays out, frames with a
	// VLAN's tag among it: the kernel would not look into them, and the server takes
	// those of VLAN 0 for untagged ones.
	for _, protocol := range []string{"ipv4", "ipv6", "arp"} {
		list = append(list, rule("accept", "in", priorityFrame, element("mac", "protocolid", protocol, "comment", commentBase+"IP and ARP")))
	}
	return append(list, rule("drop", "in", priorityFrameDrop, element("mac", "comment", commentBase+"other frames")))
}

// dropRules are what makes the wall active.
func dropRules() []node {
	return []node{
		rule("drop", "in", priorityDrop, element("all", "comment", commentDrop)),
		rule("drop", "in", priorityDrop, element("all-ipv6", "comment", commentDrop)),
	}
}

func rule(action, direction string, priority int, match node) node {
	return element("rule", "action", action, "direction", direction, "priority", strconv.Itoa(priority)).with(match)
}

func withAttrs(n node, pairs ...string) node {
	n.Attrs = append(n.Attrs, element("", pairs...).Attrs...)
	return n
}

// ruleNode is a rule in libvirt's words.
func ruleNode(r providers.Rule) (node, error) {
	source := r.Source.Masked()
	six := source.Addr().Is6()
	var n node
	switch r.Proto {
	case "tcp", "udp":
		name := r.Proto
		if six {
			name += "-ipv6"
		}
		n = element(name)
	case "icmp", "icmpv6":
		if six != (r.Proto == "icmpv6") {
			return node{}, fmt.Errorf("%s: the source is of another family", r)
		}
		n = element(r.Proto)
	default:
		return node{}, fmt.Errorf("%s: libvirt's firewall gets rules for tcp, udp, icmp and icmpv6 only", r)
	}
	if source.Bits() > 0 {
		n = withAttrs(n, "srcipaddr", source.Addr().String(), "srcipmask", strconv.Itoa(source.Bits()))
	}
	switch from, to := strconv.Itoa(r.From), strconv.Itoa(r.To); {
	case strings.HasPrefix(r.Proto, "icmp") && r.From >= 0:
		n = withAttrs(n, "type", from)
	case strings.HasPrefix(r.Proto, "icmp"):
	case from == to:
		n = withAttrs(n, "dstportstart", from)
	default:
		n = withAttrs(n, "dstportstart", from, "dstportend", to)
	}
	return rule("accept", "in", priorityRule, withAttrs(n, "comment", ruleComment(r.Why))), nil
}

// ruleComment is why there is a rule, on one line.
func ruleComment(why string) string {
	c := commentRule + strings.Join(strings.Fields(why), " ")
	for len(c) > maxComment {
		_, size := utf8.DecodeLastRuneInString(c)
		c = c[:len(c)-size]
	}
	return c
}

func comment(rule node) string {
	for _, match := range rule.Nodes {
		if c := match.attr("comment"); c != "" {
			return c
		}
	}
	return ""
}

// filterID is the label of a filter, empty for one that is not ours.
func filterID(f node) string {
	for _, r := range f.children("rule") {
		if id, ok := strings.CutPrefix(comment(r), commentID); ok && idForm.MatchString(id) {
			return id
		}
	}
	return ""
}

// readFilter is what a filter does.
func readFilter(f node) (providers.State, error) {
	var state providers.State
	drops := map[string]bool{}
	for _, n := range f.Nodes {
		if n.XMLName.Local != "rule" && n.XMLName.Local != "filterref" {
			continue // the uuid
		}
		if n.attr("action") == "drop" && len(n.Nodes) == 1 && comment(n) == commentDrop {
			drops[n.Nodes[0].XMLName.Local] = true
		}
		if c := comment(n); strings.HasPrefix(c, commentID) || strings.HasPrefix(c, commentBase) || c == commentDrop {
			continue
		}
		text, err := marshal(n)
		if err != nil {
			return state, err
		}
		i := providers.Installed{ID: text}
		var known bool
		if i.Rule, known = readRule(n); !known {
			i.Rule, i.Opaque = providers.Rule{}, text
		}
		i.Why, i.Owned = strings.CutPrefix(comment(n), commentRule)
		if !known {
			i.Why, i.Owned = "", false
		}
		state.Rules = append(state.Rules, i)
	}
	state.Active = drops["all"] && drops["all-ipv6"]
	return state, nil
}

// readRule understands a rule of the form that ruleNode makes, whoever wrote it.
func readRule(n node) (providers.Rule, bool) {
	if n.XMLName.Local != "rule" || n.attr("action") != "accept" || n.attr("direction") != "in" || n.attr("statematch") != "" || len(n.Nodes) != 1 {
		return providers.Rule{}, false
	}
	match := n.Nodes[0]
	for _, a := range match.Attrs {
		if !slices.Contains([]string{"srcipaddr", "srcipmask", "dstportstart", "dstportend", "type", "comment"}, a.Name.Local) {
			return providers.Rule{}, false
		}
	}
	name, six := strings.CutSuffix(match.XMLName.Local, "-ipv6")
	r := providers.Rule{Proto: name, From: -1, To: -1}
	var ok bool
	switch name {
	case "tcp", "udp":
		r.From, r.To, ok = ports(match)
	case "icmp", "icmpv6":
		six, ok = name == "icmpv6", true
		if t := match.attr("type"); t != "" {
			r.From, ok = number(t)
			r.To = r.From
		}
	}
	if !ok {
		return providers.Rule{}, false
	}
	r.Source, ok = prefix(match.attr("srcipaddr"), match.attr("srcipmask"), six)
	return r, ok
}

func ports(match node) (from, to int, ok bool) {
	start, end := match.attr("dstportstart"), match.attr("dstportend")
	if start == "" {
		return 0, 65535, end == ""
	}
	if from, ok = number(start); !ok || end == "" {
		return from, from, ok
	}
	to, ok = number(end)
	return from, to, ok
}

func number(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 0, 16)
	return int(n), err == nil
}

// prefix reads an address and a mask, which may be a length or in the old way.
func prefix(address, mask string, six bool) (netip.Prefix, bool) {
	if address == "" {
		if six {
			return netip.PrefixFrom(netip.IPv6Unspecified(), 0), mask == ""
		}
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0), mask == ""
	}
	a, err := netip.ParseAddr(address)
	if err != nil || a.Is6() != six {
		return netip.Prefix{}, false
	}
	length := a.BitLen()
	if mask != "" {
		n, err := strconv.Atoi(mask)
		if err != nil {
			if n, err = maskBits(mask); err != nil {
				return netip.Prefix{}, false
			}
		}
		length = n
	}
	p, err := a.Prefix(length)
	return p, err == nil
}

func maskBits(mask string) (int, error) {
	a, err := netip.ParseAddr(mask)
	if err != nil {
		return 0, err
	}
	n := 0
	for i, b := range a.AsSlice() {
		ones := bits.LeadingZeros8(^b)
		if b<<ones != 0 || ones > 0 && n < i*8 {
			return 0, fmt.Errorf("%s is no mask", mask)
		}
		n += ones
	}
	return n, nil
}
