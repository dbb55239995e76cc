package internet

import (
	"net/netip"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// mould is the frame of a TCP or UDP probe, from which thousands are cast that
// differ in their source and ports. Building each anew takes most of a scan.
type mould []byte

func (m *Machine) mould(from, to netip.Addr, transport ...gopacket.SerializableLayer) (mould, error) {
	protocol := layers.IPProtocolTCP
	if _, udp := transport[0].(*layers.UDP); udp {
		protocol = layers.IPProtocolUDP
	}
	return m.probeFrame(from, to, protocol, transport...)
}

// cast returns a frame from that source to that port, checksums right.
func (f mould) cast(from netip.Addr, fromPort, toPort uint16) []byte {
	frame := slices.Clone(f)
	packet := frame[etherHeader:]
	protocol, body := transport(packet)
	old, source := setSource(packet, from)
	switch protocol {
	case header.TCPProtocolNumber:
		patch(header.TCP(body), old, source, fromPort, toPort)
	case header.UDPProtocolNumber:
		patch(header.UDP(body), old, source, fromPort, toPort)
	}
	return frame
}

func setSource(packet []byte, from netip.Addr) (old, source tcpip.Address) {
	if from.Is4() {
		ip := header.IPv4(packet)
		old, source = ip.SourceAddress(), tcpip.AddrFrom4(from.As4())
		ip.SetSourceAddressWithChecksumUpdate(source)
		return old, source
	}
	ip := header.IPv6(packet)
	old, source = ip.SourceAddress(), tcpip.AddrFrom16(from.As16())
	ip.SetSourceAddress(source)
	return old, source
}

func patch(t header.ChecksummableTransport, old, source tcpip.Address, fromPort, toPort uint16) {
	t.UpdateChecksumPseudoHeaderAddress(old, source, true)
	t.SetSourcePortWithChecksumUpdate(fromPort)
	t.SetDestinationPortWithChecksumUpdate(toPort)
}
