package internet

import (
	"net"
	"net/netip"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// leaseTime is long enough that no test sees a renewal it did not ask for.
const leaseTime = 24 * time.Hour

// isDHCPRequest reports whether a packet is for a DHCP server.
func isDHCPRequest(ip header.IPv4) bool {
	return ip.TransportProtocol() == header.UDPProtocolNumber &&
		len(ip.Payload()) >= header.UDPMinimumSize &&
		header.UDP(ip.Payload()).DestinationPort() == dhcpv4.ServerPort
}

// answerDHCP leases the machine its one address.
func (m *Machine) answerDHCP(message []byte) {
	req, err := dhcpv4.FromBytes(message)
	if err != nil || m.dhcp.silent.Load() || req.OpCode != dhcpv4.OpcodeBootRequest ||
		req.ClientHWAddr.String() != m.opts.MAC.String() {
		return
	}
	kind, ok := m.dhcpAnswer(req)
	if !ok {
		return
	}
	reply, err := dhcpv4.NewReplyFromRequest(req, m.dhcpOptions(req, kind)...)
	if err != nil {
		m.in.log.Error("cannot answer DHCP", "machine", m.Name(), "error", err)
		return
	}
	m.sendDHCP(req, reply)
}

// dhcpAnswer is the type of the answer to a request (RFC 2131, 4.3).
func (m *Machine) dhcpAnswer(req *dhcpv4.DHCPv4) (dhcpv4.MessageType, bool) {
	switch req.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		return dhcpv4.MessageTypeOffer, true
	case dhcpv4.MessageTypeInform:
		return dhcpv4.MessageTypeAck, true
	case dhcpv4.MessageTypeRequest:
		if server := req.ServerIdentifier(); server != nil && !server.Equal(m.opts.Gateway.AsSlice()) {
			return 0, false // the client chose another server
		}
		wanted := req.RequestedIPAddress()
		if wanted == nil {
			wanted = req.ClientIPAddr // it renews
		}
		if !wanted.Equal(m.IPv4().AsSlice()) {
			return dhcpv4.MessageTypeNak, true
		}
		return dhcpv4.MessageTypeAck, true
	}
	return 0, false
}

func (m *Machine) dhcpOptions(req *dhcpv4.DHCPv4, kind dhcpv4.MessageType) []dhcpv4.Modifier {
	options := []dhcpv4.Modifier{
		dhcpv4.WithMessageType(kind),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(m.opts.Gateway.AsSlice())),
	}
	if kind == dhcpv4.MessageTypeNak {
		return options
	}
	if req.MessageType() != dhcpv4.MessageTypeInform {
		options = append(options,
			dhcpv4.WithYourIP(m.IPv4().AsSlice()),
			dhcpv4.WithOption(dhcpv4.OptIPAddressLeaseTime(leaseTime)))
	}
	options = append(options,
		dhcpv4.WithNetmask(net.CIDRMask(m.opts.IPv4.Bits(), 32)),
		dhcpv4.WithOption(dhcpv4.OptRouter(m.opts.Gateway.AsSlice())),
		dhcpv4.WithGeneric(dhcpv4.OptionInterfaceMTU, []byte{byte(m.opts.MTU >> 8), byte(m.opts.MTU)}))
	if m.opts.IPv4.IsSingleIP() {
		options = append(options, dhcpv4.WithOption(dhcpv4.OptClasslessStaticRoute(offLinkRoutes(m.opts.Gateway)...)))
	}
	var resolvers []net.IP
	for _, dns := range m.in.opts.DNS {
		if dns.Is4() {
			resolvers = append(resolvers, dns.AsSlice())
		}
	}
	if resolvers != nil {
		options = append(options, dhcpv4.WithOption(dhcpv4.OptDNS(resolvers...)))
	}
	return options
}

// offLinkRoutes reach a gateway outside the subnet: first the gateway itself on
// the link, then everything through it (RFC 3442).
func offLinkRoutes(gateway netip.Addr) []*dhcpv4.Route {
	return []*dhcpv4.Route{
		{Dest: &net.IPNet{IP: gateway.AsSlice(), Mask: net.CIDRMask(32, 32)}, Router: net.IPv4zero.To4()},
		{Dest: &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}, Router: gateway.AsSlice()},
	}
}

// sendDHCP addresses a reply the way the client can receive it (RFC 2131, 4.1).
func (m *Machine) sendDHCP(req, reply *dhcpv4.DHCPv4) {
	to := net.IPv4bcast
	switch {
	case reply.MessageType() == dhcpv4.MessageTypeNak:
	case !req.ClientIPAddr.IsUnspecified():
		to = req.ClientIPAddr
	case !req.IsBroadcast():
		to = reply.YourIPAddr
	}
	eth := m.toMachine(layers.EthernetTypeIPv4)
	if to.Equal(net.IPv4bcast) {
		eth.DstMAC = layers.EthernetBroadcast
	}
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: m.opts.Gateway.AsSlice(), DstIP: to}
	udp := &layers.UDP{SrcPort: dhcpv4.ServerPort, DstPort: dhcpv4.ClientPort}
	_ = udp.SetNetworkLayerForChecksum(ip) // fails only for other layers
	m.replyUnless(m.dhcp.lose(reply.MessageType()), eth, ip, udp, gopacket.Payload(reply.ToBytes()))
}
