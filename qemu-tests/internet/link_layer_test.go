package internet

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// ask sends one DHCP message and returns the answer, as recorded on the wire.
func ask(t *testing.T, in *Internet, m *Machine, g *guest, req *dhcpv4.DHCPv4) (*dhcpv4.DHCPv4, Frame) {
	t.Helper()
	mark := in.Mark()
	g.sendDHCP(req)
	f, err := in.Await(deadline(t), mark, func(f Frame) bool {
		return f.Direction == ToMachine && f.Packet.Layer(layers.LayerTypeDHCPv4) != nil
	})
	if err != nil {
		t.Fatal(err)
	}
	reply, err := dhcpv4.FromBytes(f.Packet.Layer(layers.LayerTypeUDP).LayerPayload())
	if err != nil {
		t.Fatal(err)
	}
	return reply, f
}

func (g *guest) sendDHCP(req *dhcpv4.DHCPv4) {
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.IPv4zero, DstIP: net.IPv4bcast}
	udp := &layers.UDP{SrcPort: 68, DstPort: 67}
	_ = udp.SetNetworkLayerForChecksum(ip)
	frame, err := serialize(&layers.Ethernet{SrcMAC: []byte(g.link.LinkAddress()), DstMAC: layers.EthernetBroadcast, EthernetType: layers.EthernetTypeIPv4},
		ip, udp, gopacket.Payload(req.ToBytes()))
	if err != nil {
		g.t.Fatal(err)
	}
	g.send(frame)
}

func discover(t *testing.T, m *Machine, modifiers ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	d, err := dhcpv4.NewDiscovery(m.MAC(), modifiers...)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDHCPLease(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		machine MachineOptions
		mask    string
		routes  string
	}{
		"subnet": {MachineOptions{}, "ffffff00", ""},
		"single address": {MachineOptions{IPv4: netip.MustParsePrefix("198.51.100.7/32")}, "ffffffff",
			"route to 172.31.1.1/32 via 0.0.0.0,route to 0.0.0.0/0 via 172.31.1.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, m := newInternet(t, Options{MTU: 1400}, test.machine)
			g := boot(t, m, nil)
			offer, f := ask(t, in, m, g, discover(t, m))
			if offer.MessageType() != dhcpv4.MessageTypeOffer {
				t.Fatalf("answer to a discover is %v", offer.MessageType())
			}
			if eth := f.Packet.LinkLayer().(*layers.Ethernet); !bytes.Equal(eth.DstMAC, m.MAC()) {
				t.Errorf("the offer went to %v, but the client did not ask for a broadcast", eth.DstMAC)
			}
			req, err := dhcpv4.NewRequestFromOffer(offer)
			if err != nil {
				t.Fatal(err)
			}
			ack, _ := ask(t, in, m, g, req)
			if ack.MessageType() != dhcpv4.MessageTypeAck || !ack.YourIPAddr.Equal(m.IPv4().AsSlice()) {
				t.Errorf("lease is %v of %v, want %v", ack.MessageType(), ack.YourIPAddr, m.IPv4())
			}
			if got := ack.SubnetMask().String(); got != test.mask {
				t.Errorf("mask is %s, want %s", got, test.mask)
			}
			if r := ack.Router(); len(r) != 1 || !r[0].Equal(m.Gateway().AsSlice()) {
				t.Errorf("routers are %v, want %v", r, m.Gateway())
			}
			if d := ack.DNS(); len(d) != 1 || !d[0].Equal(in.DNSAddrs()[0].AsSlice()) {
				t.Errorf("resolvers are %v, want %v", d, in.DNSAddrs()[0])
			}
			if mtu := ack.Options.Get(dhcpv4.OptionInterfaceMTU); !bytes.Equal(mtu, []byte{0x05, 0x78}) {
				t.Errorf("MTU option is %x, want 1400", mtu)
			}
			if ack.IPAddressLeaseTime(0) != leaseTime {
				t.Errorf("lease time is %v", ack.IPAddressLeaseTime(0))
			}
			routes := ""
			for i, r := range ack.ClasslessStaticRoute() {
				if i > 0 {
					routes += ","
				}
				routes += r.String()
			}
			if routes != test.routes {
				t.Errorf("option 121 is %q, want %q", routes, test.routes)
			}
		})
	}
}

func TestDHCPAnswers(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{}, MachineOptions{})
	g := boot(t, m, nil)
	gateway := dhcpv4.OptServerIdentifier(m.Gateway().AsSlice())
	for name, test := range map[string]struct {
		modifiers []dhcpv4.Modifier
		want      dhcpv4.MessageType
		broadcast bool
	}{
		"broadcast discover": {[]dhcpv4.Modifier{dhcpv4.WithBroadcast(true)}, dhcpv4.MessageTypeOffer, true},
		"foreign address": {[]dhcpv4.Modifier{dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest), dhcpv4.WithOption(gateway),
			dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.IP{10, 0, 0, 1}))}, dhcpv4.MessageTypeNak, true},
		"renewal": {[]dhcpv4.Modifier{dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest), dhcpv4.WithClientIP(m.IPv4().AsSlice())},
			dhcpv4.MessageTypeAck, false},
		"inform": {[]dhcpv4.Modifier{dhcpv4.WithMessageType(dhcpv4.MessageTypeInform), dhcpv4.WithClientIP(m.IPv4().AsSlice())},
			dhcpv4.MessageTypeAck, false},
	} {
		reply, f := ask(t, in, m, g, discover(t, m, test.modifiers...))
		if reply.MessageType() != test.want {
			t.Errorf("%s: answer is %v, want %v", name, reply.MessageType(), test.want)
		}
		eth := f.Packet.LinkLayer().(*layers.Ethernet)
		if got := bytes.Equal(eth.DstMAC, layers.EthernetBroadcast); got != test.broadcast {
			t.Errorf("%s: answer went to %v", name, eth.DstMAC)
		}
	}
}

// pingGateway is a barrier: frames sent before it have been handled.
func (g *guest) pingGateway(in *Internet, m *Machine) {
	g.t.Helper()
	mark := in.Mark()
	g.send(g.echo(m, 0))
	_, err := in.Await(deadline(g.t), mark, func(f Frame) bool {
		icmp, ok := f.Packet.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		return ok && f.Direction == ToMachine && icmp.TypeCode.Type() == layers.ICMPv4TypeEchoReply && icmp.Id == 7
	})
	if err != nil {
		g.t.Fatal(err)
	}
}

// echo is a ping of the gateway.
func (g *guest) echo(m *Machine, sequence uint16) []byte {
	g.t.Helper()
	frame, err := serialize(&layers.Ethernet{SrcMAC: m.MAC(), DstMAC: []byte(gatewayMAC), EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: m.IPv4().AsSlice(), DstIP: m.Gateway().AsSlice()},
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0), Id: 7, Seq: sequence})
	if err != nil {
		g.t.Fatal(err)
	}
	return frame
}

func isDHCPReply(f Frame) bool {
	return f.Direction == ToMachine && f.Packet.Layer(layers.LayerTypeDHCPv4) != nil
}

func TestDHCPCanBeSilenced(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{}, MachineOptions{})
	g := boot(t, m, nil)
	stranger := discover(t, m)
	stranger.ClientHWAddr = net.HardwareAddr{2, 2, 2, 2, 2, 2}
	for name, test := range map[string]struct {
		answer bool
		req    *dhcpv4.DHCPv4
		want   int
	}{
		"silenced": {false, discover(t, m), 0},
		"stranger": {true, stranger, 0},
		"control":  {true, discover(t, m), 1},
	} {
		m.SetDHCP(test.answer)
		mark := in.Mark()
		g.sendDHCP(test.req)
		g.pingGateway(in, m)
		if n, err := in.Count(mark, isDHCPReply); err != nil || n != test.want {
			t.Errorf("%s: %d answers, %v, want %d", name, n, err, test.want)
		}
	}
}

func TestARPAnswersForOthersOnly(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{}, MachineOptions{})
	g := boot(t, m, nil)
	for name, test := range map[string]struct {
		sender, target string
		want           int
	}{
		"gateway":             {"203.0.113.10", "203.0.113.1", 1},
		"neighbour":           {"203.0.113.10", "203.0.113.99", 1},
		"metadata on link":    {"203.0.113.10", "169.254.169.254", 1},
		"announcement":        {"203.0.113.10", "203.0.113.10", 0},
		"own address":         {"203.0.113.99", "203.0.113.10", 0},
		"duplicate detection": {"0.0.0.0", "203.0.113.10", 0},
		"probe of another":    {"0.0.0.0", "203.0.113.99", 0},
	} {
		mark := in.Mark()
		g.sendARP(m, test.sender, test.target)
		g.pingGateway(in, m)
		n, err := in.Count(mark, func(f Frame) bool {
			arp, ok := f.Packet.Layer(layers.LayerTypeARP).(*layers.ARP)
			return ok && f.Direction == ToMachine && arp.Operation == layers.ARPReply && bytes.Equal(arp.SourceHwAddress, []byte(gatewayMAC)) &&
				bytes.Equal(arp.SourceProtAddress, netip.MustParseAddr(test.target).AsSlice())
		})
		if err != nil || n != test.want {
			t.Errorf("%s: %d answers, %v, want %d", name, n, err, test.want)
		}
	}
}

// sendARP asks who has the target.
func (g *guest) sendARP(m *Machine, sender, target string) {
	g.t.Helper()
	frame, err := serialize(&layers.Ethernet{SrcMAC: m.MAC(), DstMAC: layers.EthernetBroadcast, EthernetType: layers.EthernetTypeARP}, &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPRequest,
		SourceHwAddress: m.MAC(), SourceProtAddress: netip.MustParseAddr(sender).AsSlice(),
		DstHwAddress: make([]byte, 6), DstProtAddress: netip.MustParseAddr(target).AsSlice(),
	})
	if err != nil {
		g.t.Fatal(err)
	}
	g.send(frame)
}

func TestSLAAC(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{}, MachineOptions{
		MAC: net.HardwareAddr{0x52, 0x54, 0, 0xab, 0xcd, 0xef}, IPv6: netip.MustParsePrefix("2001:db8:7::/64"),
	})
	if got, want := m.IPv6(), netip.MustParseAddr("2001:db8:7::5054:ff:feab:cdef"); got != want {
		t.Errorf("the address will be %v, want %v", got, want)
	}
	g := boot(t, m, nil)
	g.awaitSLAAC(m.LinkLocal())
	g.awaitSLAAC(m.IPv6())
	// The guest resolves its router by NDP and the internet reaches it back.
	if a, err := in.Ping(deadline(t), m.IPv6()); err != nil || a.State != Open {
		t.Errorf("ping over the new address: %+v, %v", a, err)
	}
	// Duplicate address detection asked, and nobody claimed its addresses.
	asked := func(f Frame) bool {
		ns, ok := f.Packet.Layer(layers.LayerTypeICMPv6NeighborSolicitation).(*layers.ICMPv6NeighborSolicitation)
		return ok && m.IPv6() == netip.MustParseAddr(ns.TargetAddress.String())
	}
	claimed := func(f Frame) bool {
		na, ok := f.Packet.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
		return ok && f.Direction == ToMachine && netip.MustParseAddr(na.TargetAddress.String()) != gatewayLinkLocal()
	}
	if n, err := in.Count(0, asked); err != nil || n == 0 {
		t.Errorf("%d duplicate address probes, %v, want some", n, err)
	}
	if n, err := in.Count(0, claimed); err != nil || n != 0 {
		t.Errorf("the machine's own addresses were claimed %d times, %v", n, err)
	}
}

func TestNoAdvertisement(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]MachineOptions{"no IPv6": {NoIPv6: true}, "said elsewhere": {Unadvertised: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, m := newInternet(t, Options{}, options)
			g := boot(t, m, nil)
			if _, err := in.Await(deadline(t), 0, func(f Frame) bool {
				return f.Packet.Layer(layers.LayerTypeICMPv6RouterSolicitation) != nil
			}); err != nil {
				t.Fatal(err)
			}
			g.pingGateway(in, m)
			if n, err := in.Count(0, func(f Frame) bool { return f.Packet.Layer(layers.LayerTypeICMPv6RouterAdvertisement) != nil }); err != nil || n != 0 {
				t.Errorf("%d router advertisements, %v, want none", n, err)
			}
			if m.IPv6().IsValid() == options.NoIPv6 {
				t.Errorf("the machine's address is %v", m.IPv6())
			}
		})
	}
}

func TestMachinesReachEachOther(t *testing.T) {
	t.Parallel()
	in, a := newInternet(t, Options{}, MachineOptions{})
	b, err := in.AddMachine(MachineOptions{})
	if err != nil {
		t.Fatal(err)
	}
	client, server := boot(t, a, nil), boot(t, b, nil)
	server.serveTCP(80)
	client.awaitSLAAC(a.IPv6())
	server.awaitSLAAC(b.IPv6())
	for family, addr := range families(b) {
		mark := in.Mark()
		c, err := client.dial(deadline(t), netip.AddrPortFrom(addr, 80))
		if err != nil {
			t.Fatalf("%s: %v", family, err)
		}
		if got := readAll(t, c); got != "hello" {
			t.Errorf("%s: read %q", family, got)
		}
		_ = c.Close()
		hop := func(f Frame) bool { // the router takes one off the 64 the guest sends
			if f.Machine != b || f.Direction != ToMachine || f.Packet.Layer(layers.LayerTypeTCP) == nil {
				return false
			}
			ip4, is4 := f.Packet.NetworkLayer().(*layers.IPv4)
			ip6, is6 := f.Packet.NetworkLayer().(*layers.IPv6)
			return is4 && addr.Is4() && ip4.TTL == guestTTL-1 || is6 && addr.Is6() && ip6.HopLimit == guestTTL-1
		}
		if n, err := in.Count(mark, hop); err != nil || n == 0 {
			t.Errorf("%s: %d frames came through the router, %v", family, n, err)
		}
	}
}

const guestTTL = 64 // gVisor's default, for both families

func TestQEMUReconnects(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{ProbeWait: 100 * time.Millisecond}, MachineOptions{})
	for range 3 {
		g := boot(t, m, nil)
		if a, err := in.Ping(deadline(t), m.IPv4()); err != nil || a.State != Open {
			t.Errorf("ping: %+v, %v", a, err)
		}
		g.shutdown()
		await(t, "the machine to be gone", func() bool { return !isClosed(m.Connected()) })
	}
	// A new QEMU takes over from one that still hangs on.
	old := boot(t, m, func(*guest, []byte) bool { return false })
	boot(t, m, nil)
	await(t, "the old connection to be closed", func() bool {
		_, err := old.conn.Write([]byte{0, 0, 0, 0})
		return err != nil
	})
	if a, err := in.Ping(deadline(t), m.IPv4()); err != nil || a.State != Open {
		t.Errorf("ping after the takeover: %+v, %v", a, err)
	}
}
