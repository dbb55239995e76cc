package openstack

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/rules"

	"ingot/providers"
)

const (
	// ruleMark ends the description of our rules.
	ruleMark = "[ingot]"
	// maxDescription is neutron's, in characters.
	maxDescription = 255
	// groupID begins the ID of an Installed that is a whole group.
	groupID = "group/"
	// maxPort stands in for "all ports" of TCP and UDP.
	maxPort = 65535
)

// rule is neutron's. The SDK's type has 0 both for "all" and for the ICMP type 0.
type rule struct {
	ID            string  `json:"id,omitempty"`
	Direction     string  `json:"direction"`
	Description   string  `json:"description"`
	EtherType     string  `json:"ethertype"`
	Group         string  `json:"security_group_id"`
	Protocol      *string `json:"protocol"`
	Min           *int    `json:"port_range_min"`
	Max           *int    `json:"port_range_max"`
	Prefix        *string `json:"remote_ip_prefix"`
	RemoteGroup   *string `json:"remote_group_id,omitempty"`
	RemoteAddress *string `json:"remote_address_group_id,omitempty"`
}

// ToSecGroupRuleCreateMap implements rules.CreateOptsBuilder.
func (r rule) ToSecGroupRuleCreateMap() (map[string]any, error) {
	return gophercloud.BuildRequestBody(r, "security_group_rule")
}

// ruleOf is how neutron writes a rule of ours.
func ruleOf(group string, r providers.Rule) rule {
	made := rule{Direction: "ingress", Description: ruleText(r.Why), EtherType: "IPv4", Group: group}
	source := r.Source.Masked()
	if source.Addr().Is6() {
		made.EtherType = "IPv6"
	}
	prefix, protocol := source.String(), r.Proto
	made.Prefix, made.Protocol = &prefix, &protocol
	switch {
	case r.Proto == "icmpv6":
		protocol = "ipv6-icmp"
		fallthrough
	case r.Proto == "icmp":
		if r.From >= 0 {
			made.Min = &r.From // the type; Max would be the code
		}
	default:
		made.Min, made.Max = &r.From, &r.To
	}
	return made
}

// ruleText is a description: the why, as far as it fits, and our mark.
func ruleText(why string) string {
	room := maxDescription - len(ruleMark) - 1
	if utf8.RuneCountInString(why) > room {
		why = string([]rune(why)[:room-1]) + "…"
	}
	return strings.TrimSpace(why + " " + ruleMark)
}

// installed reads a rule of our group.
func (p *Provider) installed(r rule) providers.Installed {
	why, ours := strings.CutSuffix(r.Description, ruleMark)
	i := providers.Installed{ID: r.ID, Owned: ours || p.isAdopted(r.ID)}
	atom, ok := r.atom()
	if !ok {
		i.Opaque = r.String()
		return i
	}
	i.Rule = atom
	i.Why = strings.TrimSpace(why)
	return i
}

// atom is a rule as Ingot writes rules, if it can be written so.
func (r rule) atom() (providers.Rule, bool) {
	source, ok := r.source()
	if !ok || r.Protocol == nil {
		return providers.Rule{}, false
	}
	proto := protocolName(*r.Protocol)
	a := providers.Rule{Proto: proto, Source: source}
	switch proto {
	case "tcp", "udp":
		a.From, a.To = 1, maxPort
		if r.Min != nil {
			a.From = *r.Min
		}
		if r.Max != nil {
			a.To = *r.Max
		}
		return a, true
	case "icmp", "icmpv6":
		a.From, a.To = -1, -1
		if r.Min != nil {
			a.From, a.To = *r.Min, *r.Min
		}
		// ICMP of the other family, and one code of a type, cannot be said.
		return a, r.Max == nil && (proto == "icmpv6") == source.Addr().Is6()
	}
	return providers.Rule{}, false
}

// source is whom a rule lets in. Nothing means everybody of its family.
func (r rule) source() (netip.Prefix, bool) {
	if r.RemoteGroup != nil || r.RemoteAddress != nil {
		return netip.Prefix{}, false
	}
	if r.Prefix == nil {
		if r.EtherType == "IPv6" {
			return netip.PrefixFrom(netip.IPv6Unspecified(), 0), true
		}
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0), true
	}
	prefix, err := netip.ParsePrefix(*r.Prefix)
	return prefix.Masked(), err == nil
}

// protocolName is Ingot's word; neutron takes numbers and several words (RFC 5237's
// registry).
func protocolName(word string) string {
	switch strings.ToLower(word) {
	case "6", "tcp":
		return "tcp"
	case "17", "udp":
		return "udp"
	case "1", "icmp":
		return "icmp"
	case "58", "icmpv6", "ipv6-icmp":
		return "icmpv6"
	}
	return word
}

// String is a rule in neutron's words.
func (r rule) String() string {
	words := []string{r.EtherType}
	if r.Protocol == nil {
		words = append(words, "any protocol")
	} else {
		words = append(words, *r.Protocol)
	}
	for _, number := range []*int{r.Min, r.Max} {
		if number != nil {
			words = append(words, fmt.Sprint(*number))
		}
	}
	words = append(words, "from")
	switch {
	case r.RemoteGroup != nil:
		words = append(words, "members of the group", *r.RemoteGroup)
	case r.RemoteAddress != nil:
		words = append(words, "the address group", *r.RemoteAddress)
	case r.Prefix != nil:
		words = append(words, *r.Prefix)
	default:
		words = append(words, "anywhere")
	}
	return strings.Join(words, " ")
}

// groupRules are those of a group for what comes in.
func (p *Provider) groupRules(ctx context.Context, group string) ([]rule, error) {
	pages, err := rules.List(p.network, rules.ListOpts{SecGroupID: group, Direction: "ingress", SortKey: "id", SortDir: "asc"}).AllPages(ctx)
	if err != nil {
		return nil, p.wrap("list the rules of the security group", err)
	}
	var body struct {
		Rules []rule `json:"security_group_rules"`
	}
	if page, ok := pages.(rules.SecGroupRulePage); ok {
		err = page.ExtractInto(&body)
	}
	return body.Rules, p.wrap("read the rules of the security group", err)
}

// foreignGroup shows a group that is not ours as one thing.
func (p *Provider) foreignGroup(ctx context.Context, id string) (providers.Installed, error) {
	name := id
	group, err := groups.Get(ctx, p.network, id).Extract()
	if err == nil {
		name = group.Name
	} else if !isNotFound(err) { // not found: another project's
		return providers.Installed{}, p.wrap("look at the security group "+id, err)
	}
	list, err := p.groupRules(ctx, id)
	if err != nil {
		return providers.Installed{}, err
	}
	var texts []string
	for _, r := range list {
		texts = append(texts, r.String())
	}
	if len(texts) == 0 {
		texts = []string{"nothing"}
	}
	return providers.Installed{ID: groupID + id, Opaque: "security group " + name + ": " + strings.Join(texts, ", ")}, nil
}

// addRule makes a rule. One that is there already is no error, whoever made it:
// neutron has each rule once a group. When it is not ours it counts as ours from now
// on, here: rules cannot be changed, and to replace it would close it for a moment.
func (p *Provider) addRule(ctx context.Context, group string, r providers.Rule) error {
	for n := 1; ; n++ {
		err := rules.Create(ctx, p.network, ruleOf(group, r)).Err
		var f *failure
		wrapped := p.wrap("open "+r.String(), err)
		switch {
		case err == nil:
			return nil
		case errors.As(wrapped, &f) && f.kind == "SecurityGroupRuleExists":
			return p.adopt(ctx, group, r)
		case !isUnsure(err) || n == createAttempts:
			return wrapped
		}
		// Without an answer it is asked for again: if it is there, that says so.
	}
}

// adopt remembers rules that stand in the way of ours and do what it would.
func (p *Provider) adopt(ctx context.Context, group string, r providers.Rule) error {
	list, err := p.groupRules(ctx, group)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range list {
		if atom, ok := x.atom(); ok && atom.Does(r) {
			p.adopted[x.ID] = true
		}
	}
	return err
}

func (p *Provider) isAdopted(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.adopted[id]
}
