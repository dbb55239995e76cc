package assay

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	plan "ingot/layers"
	"ingot/qemu-tests/internet"
)

// card is the network card of a machine that is not there.
type card struct {
	t    *testing.T
	in   *internet.Internet
	m    *internet.Machine
	wire net.Conn
}

func newCard(t *testing.T) card {
	t.Helper()
	in, err := internet.New(internet.Options{ProbeWait: quick})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	m, err := in.AddMachine(internet.MachineOptions{})
	if err != nil {
		t.Fatal(err)
	}
	wire, err := net.Dial("unix", m.Socket())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { wire.Close() })
	<-m.Connected()
	return card{t, in, m, wire}
}

// send puts a packet on the wire as QEMU would, and returns when it is recorded.
func (c card) send(to string, transport gopacket.SerializableLayer) {
	c.t.Helper()
	addr := netip.MustParseAddr(to)
	eth := &layers.Ethernet{SrcMAC: c.m.MAC(), DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, EthernetType: layers.EthernetTypeIPv4}
	var ip gopacket.SerializableLayer
	if addr.Is4() {
		ip = &layers.IPv4{Version: 4, TTL: 64, Protocol: protocolOf(transport), SrcIP: c.m.IPv4().AsSlice(), DstIP: addr.AsSlice()}
	} else {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: protocolOf(transport), SrcIP: c.m.IPv6().AsSlice(), DstIP: addr.AsSlice()}
	}
	buffer := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true}, eth, ip, transport); err != nil {
		c.t.Error(err)
		return
	}
	mark := c.in.Mark()
	frame := binary.BigEndian.AppendUint32(nil, uint32(len(buffer.Bytes())))
	if _, err := c.wire.Write(append(frame, buffer.Bytes()...)); err != nil {
		c.t.Error(err)
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer cancel()
	if _, err := c.in.Await(ctx, mark, func(f internet.Frame) bool { return f.Direction == internet.FromMachine }); err != nil {
		c.t.Error(err)
	}
}

func protocolOf(transport gopacket.SerializableLayer) layers.IPProtocol {
	switch transport.LayerType() {
	case layers.LayerTypeTCP:
		return layers.IPProtocolTCP
	case layers.LayerTypeUDP:
		return layers.IPProtocolUDP
	case layers.LayerTypeICMPv4:
		return layers.IPProtocolICMPv4
	}
	return layers.IPProtocolICMPv6
}

func tcp(port uint16) gopacket.SerializableLayer {
	return &layers.TCP{SrcPort: 40000, DstPort: layers.TCPPort(port), SYN: true, Window: 1024, DataOffset: 5}
}

func udp(port uint16) gopacket.SerializableLayer {
	return &layers.UDP{SrcPort: 40000, DstPort: layers.UDPPort(port)}
}

func icmp4(kind uint8) gopacket.SerializableLayer {
	return &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, 0)}
}

func icmp6(kind uint8) gopacket.SerializableLayer {
	return &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}
}

// quick is the patience with packets that do not come: those of these tests are
// in the record when the command ends.
const quick = 20 * time.Millisecond

func TestPacket(t *testing.T) {
	t.Parallel()
	both := []string{"192.0.2.0/24", "2001:db8:7::/48"}
	check := func(proto string, port int, seen bool, to ...string) plan.PacketCheck {
		return plan.PacketCheck{After: []string{"x"}, Proto: proto, Port: port, To: to, Seen: seen}
	}
	for name, c := range map[string]struct {
		check plan.PacketCheck
		sent  func(card)
		want  string
	}{
		"tcp4":             {check("tcp", 443, true, both[0]), func(c card) { c.send("192.0.2.7", tcp(443)) }, ""},
		"tcp6":             {check("tcp", 443, true, both[1]), func(c card) { c.send("2001:db8:7::7", tcp(443)) }, ""},
		"udp4":             {check("udp", 53, true, both[0]), func(c card) { c.send("192.0.2.7", udp(53)) }, ""},
		"udp6":             {check("udp", 53, true, both[1]), func(c card) { c.send("2001:db8:7::7", udp(53)) }, ""},
		"ping4":            {check("icmp", 0, true, both[0]), func(c card) { c.send("192.0.2.7", icmp4(layers.ICMPv4TypeEchoRequest)) }, ""},
		"ping6":            {check("icmp", 0, true, both[1]), func(c card) { c.send("2001:db8:7::7", icmp6(layers.ICMPv6TypeEchoRequest)) }, ""},
		"both":             {check("tcp", 443, true, both...), func(c card) { c.send("2001:db8:7::7", tcp(443)); c.send("192.0.2.7", tcp(443)) }, ""},
		"one of both":      {check("tcp", 443, true, both...), func(c card) { c.send("192.0.2.7", tcp(443)) }, "no packet of tcp/443 to 2001:db8:7::/48 left the machine"},
		"nothing":          {check("tcp", 443, true, both[0]), func(card) {}, "no packet of tcp/443 to 192.0.2.0/24"},
		"another port":     {check("tcp", 443, true, both[0]), func(c card) { c.send("192.0.2.7", tcp(444)) }, "no packet of tcp/443"},
		"another protocol": {check("tcp", 443, true, both[0]), func(c card) { c.send("192.0.2.7", udp(443)) }, "no packet of tcp/443"},
		"another network":  {check("tcp", 443, true, both[0]), func(c card) { c.send("192.0.3.7", tcp(443)) }, "no packet of tcp/443"},
		"an echo reply":    {check("icmp", 0, true, both[0]), func(c card) { c.send("192.0.2.7", icmp4(layers.ICMPv4TypeEchoReply)) }, "no packet of icmp"},
		"a reply over 6":   {check("icmp", 0, true, both[1]), func(c card) { c.send("2001:db8:7::7", icmp6(layers.ICMPv6TypeEchoReply)) }, "no packet of icmp"},
		"unseen":           {check("tcp", 443, false, both...), func(card) {}, ""},
		"unseen, others":   {check("tcp", 443, false, both...), func(c card) { c.send("192.0.2.7", udp(443)); c.send("192.0.3.7", tcp(443)) }, ""},
		"seen after all":   {check("tcp", 443, false, both...), func(c card) { c.send("2001:db8:7::7", tcp(443)) }, "tcp/443 to 2001:db8:7::/48 left the machine: "},
		"and over 4":       {check("tcp", 443, false, both...), func(c card) { c.send("192.0.2.7", tcp(443)) }, "->192.0.2.7"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wire := newCard(t)
			since := wire.in.Mark()
			wire.send("192.0.2.9", udp(9)) // what it sent when it booted
			wire.send("2001:db8:7::9", udp(9))
			wire.send("192.0.2.7", tcp(443)) // before the command: somebody else's
			wire.send("2001:db8:7::7", tcp(443))
			run := func(_ context.Context, argv ...string) (Output, error) {
				if len(argv) != 1 || argv[0] != "x" {
					t.Errorf("ran %q", argv)
				}
				c.sent(wire)
				wire.send("45.77.0.10", udp(51820)) // the answer, in the tunnel
				return Output{Exit: 7}, nil
			}
			_, err := watch(t.Context(), wire.in, since, run, quick, c.check)
			holds(t, err, c.want)
		})
	}
}

// What comes to the machine has not left it.
func TestPacketToTheMachine(t *testing.T) {
	t.Parallel()
	wire := newCard(t)
	mark := wire.in.Mark()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if a, err := wire.in.Ping(ctx, wire.m.IPv4()); err != nil || a.State != internet.Filtered {
		t.Fatalf("a card without a machine answers a ping: %v, %v", a.State, err)
	}
	toIt := func(f internet.Frame) bool {
		return f.Direction == internet.ToMachine && destination(f) == wire.m.IPv4()
	}
	c := plan.PacketCheck{Proto: "icmp", To: []string{wire.m.IPv4().String() + "/32"}}
	f, err := wire.in.Await(ctx, mark, toIt)
	if err != nil || !isOf(c, f.Packet) {
		t.Fatalf("no ping to the machine is in the record: %v", err)
	}
	if goesTo(c, netip.MustParsePrefix(c.To[0]))(f) {
		t.Error("a ping to the machine is one of the machine's")
	}
}

// A packet that comes when the command is over is waited for.
func TestPacketComesLate(t *testing.T) {
	t.Parallel()
	wire := newCard(t)
	sent := make(chan struct{})
	run := func(context.Context, ...string) (Output, error) {
		go func() { defer close(sent); wire.send("192.0.2.7", tcp(443)) }()
		return Output{}, nil
	}
	_, err := watch(t.Context(), wire.in, wire.in.Mark(), run, time.Minute,
		plan.PacketCheck{After: []string{"x"}, Proto: "tcp", Port: 443, To: []string{"192.0.2.7/32"}, Seen: true})
	holds(t, err, "")
	<-sent
}

// That nothing was seen counts only when something would have been.
func TestPacketControls(t *testing.T) {
	t.Parallel()
	answer := func(c card) { c.send("45.77.0.10", udp(51820)) }
	boot4 := func(c card) { c.send("192.0.2.9", udp(9)) }
	boot6 := func(c card) { c.send("2001:db8:7::9", udp(9)) }
	nothing := func(card) {}
	for name, c := range map[string]struct {
		boot, during func(card)
		out          Output
		err          error
		to           string
		want         string
	}{
		"all is well":         {boot4, answer, Output{}, nil, "192.0.2.0/24", ""},
		"well over 6":         {boot6, answer, Output{}, nil, "2001:db8:7::/48", ""},
		"nothing recorded":    {boot4, nothing, Output{}, nil, "192.0.2.0/24", "proves nothing"},
		"never spoke IPv6":    {boot4, answer, Output{}, nil, "2001:db8:7::/48", "[IPv6]: that it lacks this one proves nothing"},
		"no such program":     {boot4, answer, Output{Exit: 127, Stderr: "sh: x: not found"}, nil, "192.0.2.0/24", "x did not run: sh: x: not found"},
		"unknown to sudo":     {boot4, answer, Output{Exit: 1, Stderr: "sudo: x: command not found"}, nil, "192.0.2.0/24", "x did not run: sudo"},
		"it fails by itself":  {boot4, answer, Output{Exit: 1, Stderr: "x: Operation not permitted"}, nil, "192.0.2.0/24", ""},
		"the machine is lost": {boot4, answer, Output{}, errors.New("connection lost"), "192.0.2.0/24", "connection lost"},
		"no network":          {boot4, answer, Output{}, nil, "192.0.2.7", "ParsePrefix"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wire := newCard(t)
			since := wire.in.Mark()
			c.boot(wire)
			run := func(context.Context, ...string) (Output, error) { c.during(wire); return c.out, c.err }
			_, err := watch(t.Context(), wire.in, since, run, quick, plan.PacketCheck{After: []string{"x"}, Proto: "tcp", Port: 443, To: []string{c.to}})
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || errors.Is(err, errUnmet) || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v, want %q: the check was not made", err, c.want)
			}
		})
	}
	if _, err := watch(t.Context(), nil, 0, nil, quick, plan.PacketCheck{}); err == nil {
		t.Error("a check of no network holds")
	}
}
