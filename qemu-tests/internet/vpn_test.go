package internet

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"testing"

	"golang.zx2c4.com/wireguard/device"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// customer is a VPN's client in a guest, as the machine has one.
func (g *guest) customer(t *testing.T, own, server wgKey, endpoint netip.AddrPort, addrs []netip.Addr) *hosts {
	t.Helper()
	inside, err := newHosts(1420)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if err := inside.addAddress(a); err != nil {
			t.Fatal(err)
		}
	}
	d := device.NewDevice(newTunnelDevice(inside, 1420), &guestBind{g: g}, wireguardLogger(newTestLog()))
	t.Cleanup(d.Close)
	config := fmt.Sprintf("private_key=%x\npublic_key=%x\nendpoint=%v\nallowed_ip=0.0.0.0/0\nallowed_ip=::/0\n", own.private, server.public, endpoint)
	if err := errors.Join(d.IpcSet(config), d.Up()); err != nil {
		t.Fatal(err)
	}
	return inside
}

// What comes out of the tunnel is seen with the exit's address, of both families;
// outside of it there is nothing but WireGuard; a server that is down carries
// nothing, and everything again when it is up.
func TestVPN(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{}, MachineOptions{})
	g := boot(t, m, nil)
	g.awaitSLAAC(m.IPv6())
	server, own := newKey(t), newKey(t)
	endpoint := netip.MustParseAddrPort("45.76.1.1:51820")
	addrs := []netip.Addr{netip.MustParseAddr("10.64.0.2"), netip.MustParseAddr("fd00:64::2")}
	exits := []netip.Addr{netip.MustParseAddr("45.76.1.77"), netip.MustParseAddr("2600:3c04::77")}
	vpn, err := in.NewVPN(VPNOptions{PrivateKey: b64(server.private), PeerPublicKey: b64(own.public), Endpoint: endpoint, Customer: addrs, Exits: exits})
	if err != nil {
		t.Fatal(err)
	}
	inside := g.customer(t, own, server, endpoint, addrs)
	for round := range 2 {
		for i, text := range []string{"45.77.90.1:80", "[2600:3c00:90::1]:80"} {
			to := netip.MustParseAddrPort(text)
			l, err := in.Listen(to)
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				if c, err := l.Accept(); err == nil {
					_, _ = io.WriteString(c, c.RemoteAddr().String())
					c.Close()
				}
			}()
			c, err := inside.dial(deadline(t), "tcp", addrs[i], to)
			if err != nil {
				t.Fatal(round, err)
			}
			from, err := netip.ParseAddrPort(readAll(t, c))
			if err != nil || from.Addr() != exits[i] {
				t.Errorf("%v sees %v, %v", to, from, err)
			}
			l.Close()
		}
		if round == 1 {
			break
		}
		if err := vpn.SetUp(false); err != nil {
			t.Fatal(err)
		}
		if err := vpn.SetUp(true); err != nil {
			t.Fatal(err)
		}
	}
	for f, err := range in.Frames(0) {
		if err != nil {
			t.Fatal(err)
		}
		if n := f.Packet.NetworkLayer(); n != nil && slices.Contains([]string{"45.77.90.1", "2600:3c00:90::1"}, n.NetworkFlow().Dst().String()) {
			t.Fatalf("a packet outside of the tunnel: %v", f.Packet)
		}
	}
}

// Checksums are right after the translation, which real hosts insist on.
func TestTranslate(t *testing.T) {
	t.Parallel()
	from, to := []netip.Addr{netip.MustParseAddr("10.64.0.2")}, []netip.Addr{netip.MustParseAddr("45.76.1.77")}
	packet := make([]byte, header.IPv4MinimumSize+header.UDPMinimumSize)
	ip := header.IPv4(packet)
	ip.Encode(&header.IPv4Fields{TotalLength: uint16(len(packet)), TTL: 64, Protocol: uint8(header.UDPProtocolNumber), SrcAddr: fullAddress(netip.AddrPortFrom(from[0], 1)).Addr, DstAddr: fullAddress(netip.AddrPortFrom(to[0], 1)).Addr})
	ip.SetChecksum(^ip.CalculateChecksum())
	udp := header.UDP(ip.Payload())
	udp.Encode(&header.UDPFields{SrcPort: 1, DstPort: 2, Length: header.UDPMinimumSize})
	udp.SetChecksum(^udp.CalculateChecksum(header.PseudoHeaderChecksum(header.UDPProtocolNumber, ip.SourceAddress(), ip.DestinationAddress(), header.UDPMinimumSize)))
	if !translate(packet, from, to, true) {
		t.Fatal("the address is not translated")
	}
	if ip.SourceAddress().String() != "45.76.1.77" || !ip.IsChecksumValid() || !udp.IsChecksumValid(ip.SourceAddress(), ip.DestinationAddress(), 0) {
		t.Errorf("after the translation: %v", ip)
	}
	if translate(packet, from, to, true) {
		t.Error("a stranger's address is translated")
	}
	if translate([]byte{1}, from, to, true) {
		t.Error("what is no packet is translated")
	}
}

func TestVPNOptions(t *testing.T) {
	t.Parallel()
	in, _ := newInternet(t, Options{}, MachineOptions{})
	good := VPNOptions{
		PrivateKey: b64(newKey(t).private), PeerPublicKey: b64(newKey(t).public), Endpoint: netip.MustParseAddrPort("45.76.1.1:51820"),
		Customer: []netip.Addr{netip.MustParseAddr("10.64.0.2")}, Exits: []netip.Addr{netip.MustParseAddr("45.76.1.77")},
	}
	for name, change := range map[string]func(*VPNOptions){
		"key":      func(o *VPNOptions) { o.PrivateKey = "x" },
		"endpoint": func(o *VPNOptions) { o.Endpoint = netip.AddrPort{} },
		"no exit":  func(o *VPNOptions) { o.Exits = nil },
		"family":   func(o *VPNOptions) { o.Exits = []netip.Addr{netip.MustParseAddr("2600::1")} },
	} {
		o := good
		change(&o)
		if _, err := in.NewVPN(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
