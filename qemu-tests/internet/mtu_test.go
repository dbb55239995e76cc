package internet

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

func TestMTUIsHandedOut(t *testing.T) {
	t.Parallel()
	in, wide := newInternet(t, Options{MTU: 1400}, MachineOptions{})
	narrow, err := in.AddMachine(MachineOptions{MTU: 1280})
	if err != nil {
		t.Fatal(err)
	}
	for m, want := range map[*Machine]int{wide: 1400, narrow: 1280} {
		g := boot(t, m, nil)
		offer, _ := ask(t, in, m, g, discover(t, m))
		if got := binary.BigEndian.Uint16(offer.Options.Get(dhcpv4.OptionInterfaceMTU)); int(got) != want {
			t.Errorf("DHCP gives %s an MTU of %d, want %d", m.Name(), got, want)
		}
		f, err := in.Await(deadline(t), 0, func(f Frame) bool {
			return f.Machine == m && f.Packet.Layer(layers.LayerTypeICMPv6RouterAdvertisement) != nil
		})
		if err != nil {
			t.Fatal(err)
		}
		advertised := 0
		for _, o := range f.Packet.Layer(layers.LayerTypeICMPv6RouterAdvertisement).(*layers.ICMPv6RouterAdvertisement).Options {
			if o.Type == layers.ICMPv6OptMTU {
				advertised = int(binary.BigEndian.Uint32(o.Data[2:]))
			}
		}
		if advertised != want {
			t.Errorf("the router advertises an MTU of %d to %s, want %d", advertised, narrow.Name(), want)
		}
	}
	for _, mtu := range []int{576, 1401} {
		if _, err := in.AddMachine(MachineOptions{MTU: mtu}); err == nil {
			t.Errorf("a link took an MTU of %d", mtu)
		}
	}
}

// isTooBig recognises a router's refusal, and returns the MTU it names.
func isTooBig(f Frame) (mtu int, ok bool) {
	if icmp, ok := f.Packet.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok {
		return int(icmp.Seq), icmp.TypeCode == layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodeFragmentationNeeded)
	}
	if icmp, ok := f.Packet.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6); ok && icmp.TypeCode.Type() == layers.ICMPv6TypePacketTooBig {
		return int(binary.BigEndian.Uint32(icmp.Payload)), true
	}
	return 0, false
}

// A transfer over a path that is narrower than the link finds the path's MTU,
// in both directions.
func TestPathMTUDiscovery(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{}, MachineOptions{})
	g := boot(t, m, nil)
	g.awaitSLAAC(m.IPv6())
	if err := m.SetPathMTU(1280); err != nil {
		t.Fatal(err)
	}
	for family, addr := range families(m) {
		t.Run(family, func(t *testing.T) {
			accepted := g.hold(netip.AddrPortFrom(addr, 9000), "")
			client, err := in.Dial(deadline(t), "tcp", netip.Addr{}, netip.AddrPortFrom(addr, 9000))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			server := <-accepted
			defer server.Close()
			mark := in.Mark()
			transfer(t, server, client)
			refusals := 0
			for f, err := range in.Frames(mark) {
				if err != nil {
					t.Fatal(err)
				}
				if mtu, ok := isTooBig(f); ok && f.Direction == ToMachine {
					if refusals++; mtu != 1280 {
						t.Errorf("a refusal names an MTU of %d", mtu)
					}
				}
			}
			if refusals == 0 {
				t.Error("the machine was never told that its packets are too big")
			}
			mark = in.Mark()
			transfer(t, server, client)
			n, err := in.Count(mark, func(f Frame) bool {
				return f.Direction == FromMachine && len(f.Packet.Data()) > 1280+etherHeader
			})
			if err != nil || n != 0 {
				t.Errorf("%d more packets were too big, %v", n, err)
			}
			mark = in.Mark()
			transfer(t, client, server)
			n, err = in.Count(mark, func(f Frame) bool {
				return f.Direction == ToMachine && len(f.Packet.Data()) > 1280+etherHeader
			})
			if err != nil || n != 0 {
				t.Errorf("%d packets to the machine were too big, %v", n, err)
			}
		})
	}
}

// transfer sends random bytes from one to the other.
func transfer(t *testing.T, from io.Writer, to io.Reader) {
	t.Helper()
	sent, got := make([]byte, 200_000), make([]byte, 200_000)
	_, _ = rand.Read(sent)
	done := make(chan error, 1)
	go func() {
		_, err := from.Write(sent)
		done <- err
	}()
	if _, err := io.ReadFull(to, got); err != nil || !bytes.Equal(sent, got) {
		t.Errorf("what arrived is different, %v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// bigPing is a ping of a host of the internet with that many bytes of IP.
func (g *guest) bigPing(m *Machine, to netip.Addr, size int, flags layers.IPv4Flag) []byte {
	g.t.Helper()
	eth := &layers.Ethernet{SrcMAC: m.MAC(), DstMAC: []byte(gatewayMAC), EthernetType: layers.EthernetTypeIPv4}
	var frame []byte
	var err error
	if to.Is4() {
		frame, err = serialize(eth, &layers.IPv4{Version: 4, TTL: 64, Id: 9, Flags: flags, Protocol: layers.IPProtocolICMPv4, SrcIP: m.IPv4().AsSlice(), DstIP: to.AsSlice()},
			&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0)}, gopacket.Payload(make([]byte, size-28)))
	} else {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolICMPv6, SrcIP: m.IPv6().AsSlice(), DstIP: to.AsSlice()}
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeEchoRequest, 0)}
		_ = icmp.SetNetworkLayerForChecksum(ip)
		frame, err = serialize(eth, ip, icmp, gopacket.Payload(make([]byte, size-44)))
	}
	if err != nil {
		g.t.Fatal(err)
	}
	return frame
}

// What is longer than the way is wide gets what routers do, and no byte less.
func TestNarrowHop(t *testing.T) {
	t.Parallel()
	in, link := newInternet(t, Options{}, MachineOptions{MTU: 1400})
	path, err := in.AddMachine(MachineOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := path.SetPathMTU(1400); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*Machine{link, path} {
		g := boot(t, m, nil)
		for name, test := range map[string]struct {
			to      string
			size    int
			flags   layers.IPv4Flag
			refused bool
		}{
			"fits":          {"8.8.8.8", 1400, layers.IPv4DontFragment, false},
			"too big":       {"8.8.8.8", 1401, layers.IPv4DontFragment, true},
			"may be cut":    {"8.8.8.8", 1401, 0, false},
			"IPv6 fits":     {"2a00::1", 1400, 0, false},
			"IPv6 too big":  {"2a00::1", 1401, 0, true},
			"more than all": {"8.8.8.8", 4000, layers.IPv4DontFragment, true},
		} {
			mark := in.Mark()
			g.send(g.bigPing(m, netip.MustParseAddr(test.to), test.size, test.flags))
			g.pingGateway(in, m)
			n, err := in.Count(mark, func(f Frame) bool {
				mtu, ok := isTooBig(f)
				return ok && mtu == 1400 && f.Direction == ToMachine && f.Machine == m
			})
			if err != nil || n == 1 != test.refused {
				t.Errorf("%s of %s: %d refusals, %v, want one: %v", name, m.Name(), n, err, test.refused)
			}
		}
	}
}

// Fragments that a hop makes are put together to what went in.
func TestFragment(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string]layers.IPv4Flag{"whole": 0, "a fragment itself": layers.IPv4MoreFragments} {
		for _, size := range []int{1281, 2537, 4000} {
			body := make([]byte, size-20)
			_, _ = rand.Read(body)
			packet, err := serialize(&layers.IPv4{Version: 4, TTL: 64, Id: 5, Flags: flags, Protocol: layers.IPProtocolUDP,
				SrcIP: net.IP{1, 2, 3, 4}, DstIP: net.IP{5, 6, 7, 8}}, gopacket.Payload(body))
			if err != nil {
				t.Fatal(err)
			}
			var got []byte
			parts := fragment(packet, 1280)
			for i, part := range parts {
				ip := header.IPv4(part)
				if len(part) > 1280 || !ip.IsValid(len(part)) || !ip.IsChecksumValid() || ip.ID() != 5 {
					t.Errorf("%s of %d: part %d is no packet: %x", name, size, i, part[:20])
				}
				if int(ip.FragmentOffset()) != len(got) {
					t.Errorf("%s of %d: part %d is at %d, want %d", name, size, i, ip.FragmentOffset(), len(got))
				}
				if more := i < len(parts)-1 || flags != 0; ip.More() != more {
					t.Errorf("%s of %d: part %d is followed by more: %v", name, size, i, ip.More())
				}
				got = append(got, ip.Payload()...)
			}
			if !bytes.Equal(got, body) {
				t.Errorf("%s of %d: the parts are something else", name, size)
			}
		}
	}
}
