package internet

import (
	"slices"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// answerPing answers an echo request in the name of whoever it is for, and
// reports whether the packet was one. Netstack does not: the addresses it
// impersonates are not its own.
func (m *Machine) answerPing(packet []byte) bool {
	if header.IPVersion(packet) == header.IPv6Version {
		return m.answerPing6(packet)
	}
	ip := header.IPv4(packet)
	if ip.TransportProtocol() != header.ICMPv4ProtocolNumber || ip.More() || ip.FragmentOffset() != 0 ||
		len(ip.Payload()) < header.ICMPv4MinimumSize || header.ICMPv4(ip.Payload()).Type() != header.ICMPv4Echo {
		return false
	}
	ip = slices.Clone(ip)
	src, dst := ip.SourceAddress(), ip.DestinationAddress()
	ip.SetSourceAddress(dst)
	ip.SetDestinationAddress(src) // a swap leaves the header's checksum right
	icmp := header.ICMPv4(ip.Payload())
	icmp.SetType(header.ICMPv4EchoReply)
	icmp.SetChecksum(header.ICMPv4Checksum(icmp, 0))
	m.send(m.frame(ip))
	return true
}

func (m *Machine) answerPing6(packet []byte) bool {
	ip := header.IPv6(packet)
	if ip.NextHeader() != uint8(header.ICMPv6ProtocolNumber) ||
		len(ip.Payload()) < header.ICMPv6MinimumSize || header.ICMPv6(ip.Payload()).Type() != header.ICMPv6EchoRequest {
		return false
	}
	ip = slices.Clone(ip)
	src, dst := ip.SourceAddress(), ip.DestinationAddress()
	ip.SetSourceAddress(dst)
	ip.SetDestinationAddress(src)
	icmp := header.ICMPv6(ip.Payload())
	icmp.SetType(header.ICMPv6EchoReply)
	icmp.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: icmp, Src: dst, Dst: src}))
	m.send(m.frame(ip))
	return true
}
