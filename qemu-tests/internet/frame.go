package internet

import (
	"net"
	"net/netip"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// etherHeader is the length of an Ethernet header in bytes.
const etherHeader = header.EthernetMinimumSize

// receive takes one frame from the machine.
func (m *Machine) receive(frame []byte) {
	if !m.pass(frame, FromMachine, m.in.probes.kind(frame)) || len(frame) < etherHeader {
		return
	}
	if due, late := m.wire.due(); late {
		m.delay(lateFrame{slices.Clone(frame), due})
		return
	}
	m.handle(frame)
}

// handle answers a frame or takes it to where it belongs.
func (m *Machine) handle(frame []byte) {
	eth := header.Ethernet(frame)
	dst := eth.DestinationAddress()
	if dst[0]&1 == 0 && dst != gatewayMAC {
		return // for another card
	}
	switch eth.Type() {
	case header.ARPProtocolNumber:
		m.answerARP(frame[etherHeader:])
	case header.IPv4ProtocolNumber:
		m.receiveIPv4(frame[etherHeader:])
	case header.IPv6ProtocolNumber:
		m.receiveIPv6(frame[etherHeader:])
	}
}

func (m *Machine) receiveIPv4(packet []byte) {
	ip := header.IPv4(packet)
	if !ip.IsValid(len(packet)) {
		return
	}
	ip = ip[:ip.TotalLength()] // Ethernet pads short frames
	whole := !ip.More() && ip.FragmentOffset() == 0
	switch {
	case whole && isDHCPRequest(ip):
		m.answerDHCP(ip.Payload()[header.UDPMinimumSize:])
	case m.isGroup(address(ip.DestinationAddress())):
		// Multicast and broadcast do not leave the link.
	default:
		m.route(ip)
	}
}

// isGroup reports whether an IPv4 address is multicast or a broadcast.
func (m *Machine) isGroup(addr netip.Addr) bool {
	return addr.IsMulticast() || addr == broadcast(m.opts.IPv4) || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

func broadcast(p netip.Prefix) netip.Addr {
	if p.Bits() > 30 { // RFC 3021: none
		return netip.Addr{}
	}
	a := p.Addr().As4()
	for i, b := range net.CIDRMask(p.Bits(), 32) {
		a[i] |= ^b
	}
	return netip.AddrFrom4(a)
}

func (m *Machine) receiveIPv6(packet []byte) {
	ip := header.IPv6(packet)
	if !ip.IsValid(len(packet)) {
		return
	}
	ip = ip[:header.IPv6MinimumSize+int(ip.PayloadLength())]
	dst := address(ip.DestinationAddress())
	switch {
	case isNDP(ip):
		m.answerNDP(ip)
	case dst.IsMulticast():
	case dst.IsLinkLocalUnicast():
		if dst == gatewayLinkLocal() {
			m.answerPing(ip)
		}
	default:
		m.route(ip)
	}
}

// route takes a unicast packet over the hops behind the gateway.
func (m *Machine) route(packet []byte) {
	for _, p := range m.throughHop(packet) {
		m.deliver(p)
	}
}

// deliver takes a unicast packet to where it belongs.
func (m *Machine) deliver(packet []byte) {
	_, dst, _ := addresses(packet)
	switch {
	case m.in.isScanner(dst):
		m.in.probes.deliver(m, packet)
	case m.owns(dst):
		// A packet to itself has no business on the wire.
	default:
		if other := m.in.machineAt(dst); other != nil {
			other.forward(packet)
		} else if a := m.in.attachedAt(dst); a != nil {
			a.deliver(packet)
		} else if !m.answerPing(packet) {
			m.in.hosts.inject(packet)
		}
	}
}

// forward sends on a packet that another machine sent, as a router does.
func (m *Machine) forward(packet []byte) {
	packet = slices.Clone(packet)
	if header.IPVersion(packet) == header.IPv6Version {
		ip := header.IPv6(packet)
		if ip.HopLimit() < 2 {
			return
		}
		ip.SetHopLimit(ip.HopLimit() - 1)
	} else {
		ip := header.IPv4(packet)
		if ip.TTL() < 2 {
			return
		}
		ip.SetTTL(ip.TTL() - 1)
		ip.SetChecksum(0)
		ip.SetChecksum(^ip.CalculateChecksum())
	}
	m.sendPacket(packet)
}

// serialize builds a frame with lengths and checksums filled in.
func serialize(parts ...gopacket.SerializableLayer) ([]byte, error) {
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	err := gopacket.SerializeLayers(buf, opts, parts...)
	return buf.Bytes(), err
}

// reply builds a frame and sends it to the machine.
func (m *Machine) reply(parts ...gopacket.SerializableLayer) { m.replyUnless(false, parts...) }

// replyUnless builds a frame and sends it, or when it is to be lost records it
// only.
func (m *Machine) replyUnless(lost bool, parts ...gopacket.SerializableLayer) {
	frame, err := serialize(parts...)
	switch {
	case err != nil:
		m.in.log.Error("cannot build a frame", "machine", m.Name(), "error", err)
	case lost:
		m.in.record.add(m, ToMachine, ordinary, true, frame)
	default:
		m.send(frame)
	}
}

// toMachine is the Ethernet header of a frame from the gateway.
func (m *Machine) toMachine(t layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: []byte(gatewayMAC), DstMAC: m.opts.MAC, EthernetType: t}
}

// ipPacket returns the IP packet in a frame, or nil.
func ipPacket(frame []byte) []byte {
	if len(frame) < etherHeader {
		return nil
	}
	switch header.Ethernet(frame).Type() {
	case header.IPv4ProtocolNumber, header.IPv6ProtocolNumber:
		return frame[etherHeader:]
	}
	return nil
}

// addresses returns the source and destination of an IP packet.
func addresses(packet []byte) (src, dst netip.Addr, ok bool) {
	switch header.IPVersion(packet) {
	case header.IPv4Version:
		if len(packet) >= header.IPv4MinimumSize {
			ip := header.IPv4(packet)
			return address(ip.SourceAddress()), address(ip.DestinationAddress()), true
		}
	case header.IPv6Version:
		if len(packet) >= header.IPv6MinimumSize {
			ip := header.IPv6(packet)
			return address(ip.SourceAddress()), address(ip.DestinationAddress()), true
		}
	}
	return netip.Addr{}, netip.Addr{}, false
}

func address(a tcpip.Address) netip.Addr {
	addr, _ := netip.AddrFromSlice(a.AsSlice())
	return addr
}

// etherType is the EtherType of an IP packet.
func etherType(packet []byte) uint16 {
	if header.IPVersion(packet) == header.IPv6Version {
		return uint16(header.IPv6ProtocolNumber)
	}
	return uint16(header.IPv4ProtocolNumber)
}
