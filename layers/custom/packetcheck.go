package custom

import (
	"fmt"
	"net/netip"

	"ingot/layers"
)

type packetCheck struct {
	// After is a program and its arguments, run as root without a shell.
	After []string `yaml:"after" ingot:"required"`
	// Proto is tcp, the default, udp, or icmp for echo requests.
	Proto string `yaml:"proto"`
	// Port is where the packet goes, 1 to 65535; icmp has none.
	Port int `yaml:"port"`
	// To are networks, IPv4 and IPv6, such as 192.0.2.1/32: a packet goes to each
	// of them, or to none.
	To []string `yaml:"to" ingot:"required"`
	// Seen says whether the packet must be on the uplink, or must not.
	Seen bool `yaml:"seen" ingot:"required"`
	// Seconds is how long it is waited for, 1 to 60; 5 for a packet that must be
	// seen and 1 for one that must not, by default.
	Seconds int `yaml:"seconds"`
}

// maxSeconds is less than the assay gives to one check.
const maxSeconds = 60

func (l *loader) packetCheck(x packetCheck, at []any) *layers.PacketCheck {
	l.argv(x.After, join(at, "after")...)
	proto := x.Proto
	switch {
	case proto == "icmp" && x.Port != 0:
		l.report("an echo request has no port", "remove it", join(at, "port")...)
	case proto != "icmp":
		if proto != "" && proto != "tcp" && proto != "udp" {
			l.report(fmt.Sprintf("%q is not a protocol that is looked for", proto), "use tcp, udp or icmp", join(at, "proto")...)
		}
		if proto == "" {
			proto = "tcp"
		}
		l.portNumber(x.Port, join(at, "port"))
	}
	if len(x.To) == 0 {
		l.report("the check does not say where the packet goes", "add a network that nothing else sends to, such as 192.0.2.1/32", join(at, "to")...)
	}
	for i, text := range x.To {
		l.network(text, "", join(at, "to", i))
	}
	if x.Seconds < 0 || x.Seconds > maxSeconds {
		l.report(fmt.Sprintf("%d seconds is not a time to wait", x.Seconds), fmt.Sprintf("use 1 to %d, or leave it out", maxSeconds), join(at, "seconds")...)
	}
	return &layers.PacketCheck{After: x.After, Proto: proto, Port: x.Port, To: x.To, Seen: x.Seen, Seconds: x.Seconds}
}

// network checks a destination; otherwise is what may be done instead.
func (l *loader) network(text, otherwise string, at []any) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		l.report(fmt.Sprintf("%s has no length", a), fmt.Sprintf("write %s/%d for this one address", a, a.BitLen()), at...)
		return
	}
	prefix, err := netip.ParsePrefix(text)
	switch {
	case err != nil || prefix.Addr().Zone() != "" || prefix.Addr().Is4In6():
		l.report(fmt.Sprintf("%q is not a network", text), "write one such as 192.0.2.0/24"+otherwise, at...)
	case prefix != prefix.Masked():
		l.report(fmt.Sprintf("%s is an address in a network and not the network", text), fmt.Sprintf("write %s", prefix.Masked()), at...)
	}
}
