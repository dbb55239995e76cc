package internet

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sync/errgroup"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// firewall lets frames through but drops TCP and UDP to ports above the limit,
// and rejects TCP port 666 and UDP port 666 with "administratively prohibited".
func firewall(limit uint16) func(*guest, []byte) bool {
	return func(g *guest, frame []byte) bool {
		packet := ipPacket(frame)
		protocol, body := transport(packet)
		if packet == nil || len(body) < 4 || protocol != header.TCPProtocolNumber && protocol != header.UDPProtocolNumber {
			return true
		}
		port := header.UDP(body[:8]).DestinationPort() // where TCP has it too
		if port == 666 {
			g.reject(packet)
			return false
		}
		return port <= limit || port >= 16000 // answers to the guest's own connections
	}
}

// reject sends the ICMP error of a firewall.
func (g *guest) reject(packet []byte) {
	src, dst, _ := addresses(packet)
	eth := &layers.Ethernet{SrcMAC: []byte(g.link.LinkAddress()), DstMAC: []byte(gatewayMAC)}
	quote := gopacket.Payload(packet)
	var frame []byte
	var err error
	if src.Is4() {
		eth.EthernetType = layers.EthernetTypeIPv4
		frame, err = serialize(eth, &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: dst.AsSlice(), DstIP: src.AsSlice()},
			&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 13)}, quote)
	} else {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolICMPv6, SrcIP: dst.AsSlice(), DstIP: src.AsSlice()}
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(1, 1)}
		_ = icmp.SetNetworkLayerForChecksum(ip)
		frame, err = serialize(eth, ip, icmp, gopacket.Payload([]byte{0, 0, 0, 0}), quote)
	}
	if err != nil {
		g.t.Error(err)
	}
	g.send(frame)
}

func families(m *Machine) map[string]netip.Addr {
	return map[string]netip.Addr{"IPv4": m.IPv4(), "IPv6": m.IPv6()}
}

func TestScanTCPFindsExactlyWhatAnswers(t *testing.T) {
	t.Parallel()
	ports := AllPorts()
	if testing.Short() {
		ports = ports[:3000]
	}
	// The limit leaves 14,999 filtered ports and thousands that are closed.
	in, m := newInternet(t, Options{ProbeWait: 300 * time.Millisecond}, MachineOptions{})
	g := boot(t, m, firewall(1000))
	for _, port := range []uint16{22, 443, 999, 40000} {
		g.serveTCP(port)
	}
	g.awaitSLAAC(m.IPv6())
	for family, addr := range families(m) {
		t.Run(family, func(t *testing.T) {
			scan, err := in.ScanTCP(deadline(t), addr, ports)
			if err != nil {
				t.Fatal(err)
			}
			for _, port := range ports {
				want := Filtered
				switch {
				case slices.Contains([]uint16{22, 443, 999, 40000}, port):
					want = Open
				case port == 666:
					want = Rejected
				case port <= 1000 || port >= 16000:
					want = Closed
				}
				if got := scan.State(port); got != want {
					t.Errorf("port %d is %v, want %v", port, got, want)
				}
			}
			if open := scan.In(Open); !slices.Equal(open, []uint16{22, 443, 999, 40000}[:len(open)]) || len(open) < 3 {
				t.Errorf("open ports are %v", open)
			}
			if a := scan.Answers[666]; a.From != addr || a.ICMPType == 0 || a.ICMPCode == 0 {
				t.Errorf("the rejection is %+v, want its ICMP type and code and the sender %v", a, addr)
			}
		})
	}
}

func TestScanTakesHalfOpenConnectionsBack(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{}, MachineOptions{})
	boot(t, m, nil).serveTCP(22)
	mark := in.Mark()
	if _, err := in.ScanTCP(deadline(t), m.IPv4(), []uint16{22}); err != nil {
		t.Fatal(err)
	}
	_, err := in.Await(deadline(t), mark, func(f Frame) bool {
		tcp, ok := f.Packet.Layer(layers.LayerTypeTCP).(*layers.TCP)
		return ok && f.Direction == ToMachine && tcp.RST && tcp.DstPort == 22
	})
	if err != nil {
		t.Error(err)
	}
}

func TestProbeUDP(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{ProbeWait: 200 * time.Millisecond}, MachineOptions{})
	g := boot(t, m, firewall(1000))
	g.echoUDP(53)
	g.awaitSLAAC(m.IPv6())
	want := map[uint16]State{53: Open, 123: Closed, 666: Rejected, 5355: Filtered}
	for family, addr := range families(m) {
		t.Run(family, func(t *testing.T) {
			scan, err := in.ProbeUDP(deadline(t), addr, []uint16{5355, 53, 123, 666, 53}, []byte("who are you?"))
			if err != nil {
				t.Fatal(err)
			}
			for port, state := range want {
				if scan.State(port) != state {
					t.Errorf("port %d is %v, want %v", port, scan.State(port), state)
				}
			}
			if !slices.Equal(scan.Ports, []uint16{53, 123, 666, 5355}) {
				t.Errorf("probed ports are %v", scan.Ports)
			}
		})
	}
}

func TestProbesComeFromManyAddresses(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{ProbeWait: 20 * time.Millisecond}, MachineOptions{})
	boot(t, m, firewall(0))
	mark := in.Mark()
	if _, err := in.ProbeUDP(deadline(t), m.IPv4(), []uint16{7000, 7001}, nil); err != nil {
		t.Fatal(err)
	}
	sources := map[string]bool{}
	for f, err := range in.Frames(mark) {
		if err != nil {
			t.Fatal(err)
		}
		if f.Packet.Layer(layers.LayerTypeUDP) != nil && f.Direction == ToMachine {
			sources[f.Packet.NetworkLayer().NetworkFlow().Src().String()] = true
		}
	}
	if len(sources) < 4 {
		t.Errorf("probes came from %v, want a new address for each port and try", sources)
	}
}

func TestPing(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{ProbeWait: 50 * time.Millisecond}, MachineOptions{})
	g := boot(t, m, nil)
	g.awaitSLAAC(m.IPv6())
	for family, addr := range families(m) {
		if a, err := in.Ping(deadline(t), addr); err != nil || a.State != Open || a.From != addr {
			t.Errorf("%s: ping is %+v, %v, want an answer from %v", family, a, err, addr)
		}
	}
}

func TestPingHearsNothing(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{ProbeWait: 50 * time.Millisecond}, MachineOptions{})
	boot(t, m, func(*guest, []byte) bool { return false })
	if a, err := in.Ping(deadline(t), m.IPv4()); err != nil || a != (Answer{}) {
		t.Errorf("ping is %+v, %v, want filtered", a, err)
	}
}

func TestProbesNeedAMachine(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{ProbeWait: 300 * time.Millisecond}, MachineOptions{})
	if _, err := in.ScanTCP(deadline(t), m.IPv4(), []uint16{22}); !errors.Is(err, errLinkDown) {
		t.Errorf("scan of a machine without QEMU: %v, want %v", err, errLinkDown)
	}
	if _, err := in.Ping(deadline(t), netip.MustParseAddr("192.0.2.1")); err == nil {
		t.Error("ping of an address that no machine has succeeded")
	}
	for try := 1; try <= 3; try++ { // of three
		syns := 0
		boot(t, m, func(g *guest, frame []byte) bool {
			if protocol, _ := transport(ipPacket(frame)); protocol == header.TCPProtocolNumber {
				if syns++; syns == try { // while the scan waits for the answer
					time.AfterFunc(20*time.Millisecond, func() { _ = g.conn.Close() })
				}
			}
			return false
		})
		if scan, err := in.ScanTCP(deadline(t), m.IPv4(), []uint16{22}); !errors.Is(err, errLinkDown) {
			t.Errorf("scan of a machine that went away at try %d: %d answers, %v, want %v", try, len(scan.Answers), err, errLinkDown)
		}
		await(t, "the machine to be gone", func() bool { return !isClosed(m.Connected()) })
	}
}

func TestProbeEndsWithItsContext(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{ProbeWait: time.Hour}, MachineOptions{})
	boot(t, m, firewall(0))
	ctx, cancel := context.WithCancel(t.Context())
	mark := in.Mark()
	go func() {
		defer cancel()
		_, _ = in.Await(t.Context(), mark, func(f Frame) bool { return f.Packet.Layer(layers.LayerTypeTCP) != nil })
	}()
	if _, err := in.ScanTCP(ctx, m.IPv4(), []uint16{22}); !errors.Is(err, context.Canceled) {
		t.Errorf("scan ended with %v, want %v", err, context.Canceled)
	}
}

// Scans and pings of both families at once find what they find alone.
func TestProbesAtTheSameTime(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{ProbeWait: 300 * time.Millisecond}, MachineOptions{})
	g := boot(t, m, firewall(1000))
	g.serveTCP(443)
	g.echoUDP(53)
	g.awaitSLAAC(m.IPv6())
	ports := AllPorts()[:2000]
	mark := in.Mark()
	var all errgroup.Group
	for family, addr := range families(m) {
		all.Go(func() error {
			scan, err := in.ScanTCP(deadline(t), addr, ports)
			if got := []int{len(scan.In(Open)), len(scan.In(Closed)), len(scan.In(Rejected)), len(scan.In(Filtered))}; !slices.Equal(got, []int{1, 998, 1, 1000}) {
				t.Errorf("TCP over %s: %v are open, closed, rejected and filtered", family, got)
			}
			return err
		})
		all.Go(func() error {
			scan, err := in.ProbeUDP(deadline(t), addr, []uint16{53, 666, 5355}, nil)
			if scan.State(53) != Open || scan.State(666) != Rejected || scan.State(5355) != Filtered {
				t.Errorf("UDP over %s: %v", family, scan.Answers)
			}
			return err
		})
		for range 2 {
			all.Go(func() error {
				a, err := in.Ping(deadline(t), addr)
				if a.State != Open {
					t.Errorf("ping over %s is %v", family, a.State)
				}
				return err
			})
		}
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	// Each unanswered port is probed three times, each of the others once.
	sum, err := in.Totals(mark)
	if err != nil {
		t.Fatal(err)
	}
	if answered := 2 * (1000 + 2 + 2); sum.Answered != answered {
		t.Errorf("%d probes were answered, want %d", sum.Answered, answered)
	}
	if least := 2 * (1000 + 3*1000 + 2 + 3 + 2); sum.Probes < least || sum.Probes > least+2*2000 {
		t.Errorf("there were %d probes, want %d and those that were answered late", sum.Probes, least)
	}
	counted, err := in.Count(mark, func(f Frame) bool { return f.Direction == ToMachine })
	if err != nil || counted != sum.ToMachine {
		t.Errorf("%d frames went to the machine, %v, and %d were counted", sum.ToMachine, err, counted)
	}
	if counted, err = in.Count(0, func(f Frame) bool { return f.Direction == FromMachine }); err != nil {
		t.Fatal(err)
	}
	if all, err := in.Totals(0); err != nil || all.FromMachine < counted || all.Answered != sum.Answered {
		t.Errorf("totals of everything are %+v, %v, want %d from the machine at least", all, err, counted)
	}
	if none, err := in.Totals(in.Mark()); err != nil || none.Probes+none.Answered+none.ToMachine != 0 {
		t.Errorf("totals of nothing are %+v, %v", none, err)
	}
}
