package internet

import (
	"encoding/binary"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// gatewayLinkLocal is the IPv6 router on every link.
func gatewayLinkLocal() netip.Addr { return netip.AddrFrom16([16]byte{0xfe, 0x80, 15: 1}) }

// answerARP says that every address but the machine's own is at the gateway.
// Netstack would answer for the machine's own too. Probes for a duplicate
// address (RFC 5227: sender 0.0.0.0, or asking for oneself) get silence.
func (m *Machine) answerARP(packet []byte) {
	arp := header.ARP(packet)
	if !arp.IsValid() || arp.Op() != header.ARPRequest {
		return
	}
	sender, _ := netip.AddrFromSlice(arp.ProtocolAddressSender())
	target, _ := netip.AddrFromSlice(arp.ProtocolAddressTarget())
	if sender.IsUnspecified() || target == sender || target == m.IPv4() {
		return
	}
	m.reply(m.toMachine(layers.EthernetTypeARP), &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4,
		HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPReply,
		SourceHwAddress: []byte(gatewayMAC), SourceProtAddress: target.AsSlice(),
		DstHwAddress: arp.HardwareAddressSender(), DstProtAddress: sender.AsSlice(),
	})
}

// isNDP reports whether a packet is a router or neighbour solicitation. The
// hop limit proves that it comes from this link (RFC 4861, 6.1.1 and 7.1.1).
func isNDP(ip header.IPv6) bool {
	if ip.NextHeader() != uint8(header.ICMPv6ProtocolNumber) || ip.HopLimit() != header.NDPHopLimit ||
		len(ip.Payload()) < header.ICMPv6MinimumSize {
		return false
	}
	t := header.ICMPv6(ip.Payload()).Type()
	return t == header.ICMPv6RouterSolicit || t == header.ICMPv6NeighborSolicit
}

func (m *Machine) answerNDP(ip header.IPv6) {
	icmp := header.ICMPv6(ip.Payload())
	switch {
	case icmp.Type() == header.ICMPv6RouterSolicit:
		m.advertiseRouter()
	case len(icmp) >= header.ICMPv6NeighborSolicitMinimumSize:
		target := address(header.NDPNeighborSolicit(icmp.MessageBody()).TargetAddress())
		m.advertiseNeighbour(address(ip.SourceAddress()), target)
	}
}

// advertiseNeighbour says that target is at the gateway, under the same rules
// as ARP. Duplicate address detection asks from the unspecified address.
func (m *Machine) advertiseNeighbour(asker, target netip.Addr) {
	if asker.IsUnspecified() || asker == target || target == m.IPv6() ||
		target.IsLinkLocalUnicast() && target != gatewayLinkLocal() {
		return
	}
	m.sendICMPv6(target, asker, layers.ICMPv6TypeNeighborAdvertisement, &layers.ICMPv6NeighborAdvertisement{
		Flags:         0xe0, // router, solicited, override (RFC 4861, 4.4)
		TargetAddress: target.AsSlice(),
		Options:       layers.ICMPv6Options{{Type: layers.ICMPv6OptTargetAddress, Data: []byte(gatewayMAC)}},
	})
}

// advertiseRouter offers the machine its prefix, to form an address from.
// Nothing is repeated unasked, so the lifetimes are long: the prefix never
// expires, and a router may live 9000 s at most (RFC 4861, 6.2.1).
func (m *Machine) advertiseRouter() {
	if !m.opts.IPv6.IsValid() || m.opts.Unadvertised {
		return
	}
	const forever = 0xffffffff                       // seconds (RFC 4861, 4.6.2)
	prefix := []byte{byte(m.opts.IPv6.Bits()), 0xc0} // on-link, autonomous
	prefix = binary.BigEndian.AppendUint32(prefix, forever)
	prefix = binary.BigEndian.AppendUint32(prefix, forever)
	prefix = append(prefix, 0, 0, 0, 0) // reserved
	prefix = append(prefix, m.opts.IPv6.Addr().AsSlice()...)

	options := layers.ICMPv6Options{
		{Type: layers.ICMPv6OptSourceAddress, Data: []byte(gatewayMAC)},
		{Type: layers.ICMPv6OptMTU, Data: binary.BigEndian.AppendUint32([]byte{0, 0}, uint32(m.opts.MTU))},
		{Type: layers.ICMPv6OptPrefixInfo, Data: prefix},
	}
	for _, dns := range m.in.opts.DNS {
		if dns.Is6() { // one option each (RFC 8106, 5.1)
			data := binary.BigEndian.AppendUint32([]byte{0, 0}, forever)
			data = append(data, dns.AsSlice()...)
			options = append(options, layers.ICMPv6Option{Type: layers.ICMPv6OptRecursiveDNSServer, Data: data})
		}
	}
	allNodes := netip.AddrFrom16([16]byte{0xff, 0x02, 15: 1})
	m.sendICMPv6(gatewayLinkLocal(), allNodes, layers.ICMPv6TypeRouterAdvertisement,
		&layers.ICMPv6RouterAdvertisement{HopLimit: 64, RouterLifetime: 9000, Options: options})
}

// sendICMPv6 sends a neighbour discovery message. IPv6 multicast has its own
// MAC addresses (RFC 2464, 7).
func (m *Machine) sendICMPv6(src, dst netip.Addr, kind uint8, body gopacket.SerializableLayer) {
	eth := m.toMachine(layers.EthernetTypeIPv6)
	if dst.IsMulticast() {
		eth.DstMAC = append([]byte{0x33, 0x33}, dst.AsSlice()[12:]...)
	}
	ip := &layers.IPv6{
		Version: 6, HopLimit: header.NDPHopLimit, NextHeader: layers.IPProtocolICMPv6,
		SrcIP: src.AsSlice(), DstIP: dst.AsSlice(),
	}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}
	_ = icmp.SetNetworkLayerForChecksum(ip) // fails only for other layers
	m.reply(eth, ip, icmp, body)
}
