package internet

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// minMTU is the least that IPv6 allows, in bytes (RFC 8200, 5).
const minMTU = 1280

// SetPathMTU narrows the way between the machine's gateway and the internet,
// in both directions, without telling the machine; 0 ends it. A packet of more
// bytes gets what routers do: it is cut when it may be (IPv4 without "don't
// fragment"), else dropped, and the ICMP error goes to its sender, from which
// path MTU discovery learns (RFC 1191, RFC 8201). What is longer than the
// link's own MTU is always treated so.
func (m *Machine) SetPathMTU(bytes int) error {
	if bytes != 0 && (bytes < minMTU || bytes > m.opts.MTU) {
		return fmt.Errorf("a path MTU of %d bytes does not work for %s: use %d to the link's, %d, or 0", bytes, m.Name(), minMTU, m.opts.MTU)
	}
	m.path.Store(int32(bytes))
	return nil
}

func (m *Machine) pathMTU() int {
	if narrow := int(m.path.Load()); narrow != 0 {
		return narrow
	}
	return m.opts.MTU
}

// narrowHop is the router in front of the narrow part: some host of the
// internet, as in life, not the gateway that a firewall may trust.
func narrowHop(v6 bool) netip.Addr {
	if v6 {
		return netip.AddrFrom16([16]byte{0x26, 0, 0x3c, 0, 15: 1})
	}
	return netip.AddrFrom4([4]byte{45, 77, 0, 1})
}

// throughHop returns what comes out of the narrowest hop of the machine's path:
// the packet, its fragments, or nothing. Its sender is told then.
func (m *Machine) throughHop(packet []byte) [][]byte {
	mtu := m.pathMTU()
	if len(packet) <= mtu {
		return [][]byte{packet}
	}
	if ip := header.IPv4(packet); ip.IsValid(len(packet)) && ip.Flags()&header.IPv4FlagDontFragment == 0 {
		return fragment(packet, mtu)
	}
	refusal, err := tooBig(packet, mtu)
	if err != nil {
		m.in.log.Error("cannot refuse a packet that is too big", "machine", m.Name(), "error", err)
		return nil
	}
	m.in.carry(refusal)
	return nil
}

// carry takes a packet of the internet's own to whoever has its destination.
func (in *Internet) carry(packet []byte) {
	_, dst, _ := addresses(packet)
	if m := in.machineAt(dst); m != nil {
		m.send(m.frame(packet))
	} else if a := in.attachedAt(dst); a != nil {
		a.deliver(packet)
	} else {
		in.hosts.inject(packet)
	}
}

// sendPacket sends the machine an IP packet from the internet.
func (m *Machine) sendPacket(packet []byte) {
	for _, p := range m.throughHop(packet) {
		m.send(m.frame(p))
	}
}

// tooBig is the ICMP error for a packet: "fragmentation needed", or "packet too
// big". It quotes as much as a router may.
func tooBig(packet []byte, mtu int) ([]byte, error) {
	src, _, _ := addresses(packet)
	hop := narrowHop(src.Is6())
	if src.Is4() {
		const quote = 576 - header.IPv4MinimumSize - header.ICMPv4MinimumSize // RFC 1812, 4.3.2.3
		return serialize(
			&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: hop.AsSlice(), DstIP: src.AsSlice()},
			&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodeFragmentationNeeded), Seq: uint16(mtu)},
			gopacket.Payload(packet[:min(len(packet), quote)]))
	}
	const quote = minMTU - header.IPv6MinimumSize - header.ICMPv6MinimumSize // RFC 4443, 3.2
	ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolICMPv6, SrcIP: hop.AsSlice(), DstIP: src.AsSlice()}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypePacketTooBig, 0)}
	_ = icmp.SetNetworkLayerForChecksum(ip) // fails only for other layers
	body := binary.BigEndian.AppendUint32(nil, uint32(mtu))
	return serialize(ip, icmp, gopacket.Payload(append(body, packet[:min(len(packet), quote)]...)))
}

// fragment cuts an IPv4 packet, which may be a fragment itself (RFC 791, 2.3).
// Each part keeps all options, where strictly some belong in the first only.
func fragment(packet []byte, mtu int) [][]byte {
	whole := header.IPv4(packet)
	head, body := packet[:whole.HeaderLength()], packet[whole.HeaderLength():]
	size := (mtu - len(head)) / 8 * 8 // offsets count eights
	var parts [][]byte
	for at := 0; at < len(body); at += size {
		end := min(at+size, len(body))
		part := header.IPv4(append(slices.Clone(head), body[at:end]...))
		part.SetTotalLength(uint16(len(part)))
		flags := whole.Flags()
		if end < len(body) {
			flags |= header.IPv4FlagMoreFragments
		}
		part.SetFlagsFragmentOffset(flags, whole.FragmentOffset()+uint16(at))
		part.SetChecksum(0)
		part.SetChecksum(^part.CalculateChecksum())
		parts = append(parts, part)
	}
	return parts
}
