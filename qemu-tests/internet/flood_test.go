package internet

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// gates is a machine whose port 443 answers every SYN by a SYN-ACK, port 80 by
// a reset and port 666 by an ICMP error; other TCP is not heard.
func gates(g *guest, frame []byte) bool {
	packet := ipPacket(frame)
	protocol, body := transport(packet)
	if protocol != header.TCPProtocolNumber {
		return true
	}
	tcp := header.TCP(body)
	if !tcp.Flags().Contains(header.TCPFlagSyn) {
		return false
	}
	switch tcp.DestinationPort() {
	case 443:
		g.answerTCP(packet, header.TCPFlagSyn|header.TCPFlagAck)
	case 80:
		g.answerTCP(packet, header.TCPFlagRst|header.TCPFlagAck)
	case 666:
		g.reject(packet)
	}
	return false
}

// answerTCP answers a SYN.
func (g *guest) answerTCP(packet []byte, flags header.TCPFlags) {
	src, dst, _ := addresses(packet)
	_, body := transport(packet)
	syn := header.TCP(body)
	tcp := &layers.TCP{
		SrcPort: layers.TCPPort(syn.DestinationPort()), DstPort: layers.TCPPort(syn.SourcePort()), Seq: 99,
		Ack: syn.SequenceNumber() + 1, ACK: true, SYN: flags.Contains(header.TCPFlagSyn), RST: flags.Contains(header.TCPFlagRst),
	}
	eth := &layers.Ethernet{SrcMAC: []byte(g.link.LinkAddress()), DstMAC: []byte(gatewayMAC), EthernetType: layers.EthernetType(etherType(packet))}
	var frame []byte
	var err error
	if src.Is4() {
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: dst.AsSlice(), DstIP: src.AsSlice()}
		_ = tcp.SetNetworkLayerForChecksum(ip)
		frame, err = serialize(eth, ip, tcp)
	} else {
		ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: dst.AsSlice(), DstIP: src.AsSlice()}
		_ = tcp.SetNetworkLayerForChecksum(ip)
		frame, err = serialize(eth, ip, tcp)
	}
	if err != nil {
		g.t.Error(err)
	}
	g.send(frame)
}

func TestFlood(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{ProbeWait: 300 * time.Millisecond, Scanners4: netip.MustParsePrefix("45.79.0.0/24")}, MachineOptions{})
	boot(t, m, gates).awaitSLAAC(m.IPv6())
	const syns = 1000 // four for each address of the /24
	for family, addr := range families(m) {
		for port, want := range map[uint16]Flood{
			443: {Sent: syns, SYNACKs: syns},
			80:  {Sent: syns, RSTs: syns},
			666: {Sent: syns, Rejected: syns},
			999: {Sent: syns, Silent: syns},
		} {
			mark := in.Mark()
			got, err := in.Flood(deadline(t), netip.AddrPortFrom(addr, port), syns)
			if err != nil || got != want {
				t.Errorf("flood of %s port %d is %+v, %v, want %+v", family, port, got, err, want)
			}
			sources := map[string]bool{}
			for f, err := range in.Frames(mark) {
				if err != nil {
					t.Fatal(err)
				}
				if tcp, ok := f.Packet.Layer(layers.LayerTypeTCP).(*layers.TCP); ok && f.Direction == ToMachine {
					sources[f.Packet.NetworkLayer().NetworkFlow().Src().String()+" "+tcp.SrcPort.String()] = true
					if !tcp.SYN || tcp.ACK || tcp.RST {
						t.Fatalf("the flood sent %v", f.Packet)
					}
				}
			}
			if len(sources) != syns {
				t.Errorf("%d SYNs came from %d sources", syns, len(sources))
			}
		}
	}
}

// Totals is exact although most of a flood is not written, and the file says so.
func TestFloodIsCounted(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "net.pcapng")
	in, m := newInternet(t, Options{ProbeWait: time.Second, PCAP: path}, MachineOptions{NoIPv6: true})
	g := boot(t, m, gates)
	g.pingGateway(in, m)
	const syns = 4 * floodShown
	mark := in.Mark()
	ctx, stop := context.WithCancel(t.Context())
	middle := make(chan Mark, 1)
	go func() { // a mark in the middle, when frames are counted only
		for {
			if now, err := in.Totals(mark); err != nil || now.ToMachine > syns/2 {
				middle <- in.Mark()
				return
			}
		}
	}()
	got, err := in.Flood(ctx, netip.AddrPortFrom(m.IPv4(), 80), syns)
	stop()
	if err != nil || got.RSTs != syns {
		t.Fatalf("flood is %+v, %v", got, err)
	}
	sum, err := in.Totals(mark)
	if err != nil {
		t.Fatal(err)
	}
	solicitations, err := in.Count(mark, func(f Frame) bool { return f.Direction == FromMachine && IsHousekeeping(f) })
	if err != nil {
		t.Fatal(err)
	}
	want := Totals{FromMachine: syns + solicitations, ToMachine: syns, Probes: syns, Answered: syns}
	if sum != want {
		t.Errorf("totals are %+v, %v, want %+v", sum, err, want)
	}
	later, err := in.Totals(<-middle)
	if err != nil || later.ToMachine == 0 || later.ToMachine >= syns/2 {
		t.Errorf("totals since the middle are %+v, %v", later, err)
	}
	before, err := in.Totals(0)
	if written := int(in.Mark() - mark); written > floodShown+10 || written < floodShown {
		t.Errorf("%d frames are written, want %d and a few", written, floodShown)
	}
	g.pingGateway(in, m)
	all, err2 := in.Totals(0)
	if err := errors.Join(err, err2); err != nil || all.ToMachine != before.ToMachine+1 || all.Probes != before.Probes {
		t.Errorf("one ping made %+v of %+v, %v", all, before, err)
	}
	if got, err := in.Flood(t.Context(), netip.AddrPortFrom(m.IPv4(), 80), 2*floodShown); err != nil || got.RSTs != 2*floodShown {
		t.Fatalf("second flood is %+v, %v", got, err) // its end is told by statistics
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if all, err = in.Totals(0); err != nil {
		t.Fatal(err)
	}
	if written, dropped := countPCAP(t, path); written != int(in.Mark()) || written+dropped != all.FromMachine+all.ToMachine {
		t.Errorf("the file has %d frames and says that %d are missing, want %d and together %d", written, dropped, in.Mark(), all.FromMachine+all.ToMachine)
	}
}

// countPCAP returns how many frames a file has and how many it says were left
// out.
func countPCAP(t *testing.T, path string) (written, dropped int) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, err := pcapgo.NewNgReader(file, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	for {
		_, _, opts, err := r.ReadPacketDataWithOptions()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		written++
		if opts.DropCount != nil {
			dropped += int(*opts.DropCount)
			if !strings.Contains(strings.Join(opts.Comments, ""), "of a flood") {
				t.Errorf("comments are %q", opts.Comments)
			}
		}
	}
	for n := range r.NInterfaces() {
		i, err := r.Interface(n)
		if err != nil {
			t.Fatal(err)
		}
		if s := i.Statistics; s.PacketsDropped != pcapgo.NgNoValue64 {
			dropped += int(s.PacketsDropped)
		}
	}
	return written, dropped
}

// A machine remembers half-open connections for a minute. The next throng must
// not seem to come from the same strangers.
func TestThrongsHaveSourcesOfTheirOwn(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{}, MachineOptions{})
	seen := map[netip.AddrPort]bool{}
	for range in.probes.throngs.blocks {
		throng, err := in.beginThrong(netip.AddrPortFrom(m.IPv4(), 443), true)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{0, throng.hosts() - 1, throng.hosts(), throng.most() - 1} {
			a := throng.stranger(n)
			if seen[a] || !in.isScanner(a.Addr()) || throng.number(a) != n {
				t.Errorf("stranger %d is %v, which is taken: %v, and has number %d", n, a, seen[a], throng.number(a))
			}
			seen[a] = true
		}
		throng.end()
	}
}

func TestOrdinaryFramesGoFirst(t *testing.T) {
	t.Parallel()
	l := newLink(nil)
	for n := range byte(3) {
		if err := l.push(t.Context(), outbound{frame: []byte{n}, kind: flooding}); err != nil {
			t.Fatal(err)
		}
		l.offer([]byte{10 + n})
	}
	for _, want := range []byte{10, 11, 12, 0, 1, 2} {
		if o, ok := l.next(); !ok || o.frame[0] != want {
			t.Errorf("frame %v goes before %d", o.frame, want)
		}
	}
}

// A flood that lasts does not keep others from the machine.
func TestFloodLetsOthersThrough(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{ProbeWait: 300 * time.Millisecond}, MachineOptions{})
	g := boot(t, m, firewall(100))
	g.serveTCP(22)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan Flood, 1)
	mark := in.Mark()
	go func() {
		f, err := in.Flood(ctx, netip.AddrPortFrom(m.IPv4(), 443), 0)
		if err != nil {
			t.Error(err)
		}
		done <- f
	}()
	if _, err := in.Await(deadline(t), mark, func(f Frame) bool { return f.Packet.Layer(layers.LayerTypeTCP) != nil }); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		c, err := in.Dial(deadline(t), "tcp", netip.Addr{}, netip.AddrPortFrom(m.IPv4(), 22))
		if err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, c); got != "hello" {
			t.Errorf("read %q during the flood", got)
		}
		_ = c.Close()
	}
	stop()
	if f := <-done; f.Sent < 1000 || f.Silent != f.Sent {
		t.Errorf("flood is %+v", f)
	}
}

func TestCrowd(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{ProbeWait: time.Second, ProbeTries: 6}, MachineOptions{})
	g := boot(t, m, nil)
	g.awaitSLAAC(m.IPv6())
	strangers := 2000
	if testing.Short() {
		strangers = 200
	}
	for family, addr := range families(m) {
		accepted := g.hold(netip.AddrPortFrom(addr, 443), "220 welcome\r\n")
		crowd, err := in.OpenCrowd(deadline(t), netip.AddrPortFrom(addr, 443), strangers)
		if err != nil {
			t.Fatal(err)
		}
		if n := crowd.Established(); n != strangers || crowd.Refused() != 0 || crowd.Ended() != 0 {
			t.Errorf("%s: %d of %d are established, %d refused, %d ended", family, n, strangers, crowd.Refused(), crowd.Ended())
		}
		var conns []net.Conn
		sources := map[string]bool{}
		for range strangers {
			c := <-accepted
			conns = append(conns, c)
			sources[c.RemoteAddr().String()] = true
		}
		if len(sources) != strangers {
			t.Errorf("%s: %d strangers came from %d sources", family, strangers, len(sources))
		}
		for _, c := range conns[:10] {
			_ = c.Close()
		}
		await(t, "the machine to have closed ten", func() bool { return crowd.Ended() == 10 })
		if n := crowd.Established(); n != strangers-10 {
			t.Errorf("%s: %d are left", family, n)
		}
		if err := crowd.Close(); err != nil {
			t.Error(err)
		}
		_ = conns[11].SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := conns[11].Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: a connection of the crowd that left: %v, want a reset", family, err)
		}
		for _, c := range conns {
			_ = c.Close()
		}
	}
}

// hold accepts connections, greets and keeps them.
func (g *guest) hold(at netip.AddrPort, greeting string) <-chan net.Conn {
	g.t.Helper()
	l, err := listenTCP(g.stack, at)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(l.Shutdown)
	accepted := make(chan net.Conn, 10_000)
	g.done.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, greeting)
			accepted <- c
		}
	})
	return accepted
}

func TestCrowdIsTurnedAway(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{ProbeWait: 100 * time.Millisecond}, MachineOptions{})
	boot(t, m, gates).awaitSLAAC(m.IPv6())
	for family, addr := range families(m) {
		for port, refused := range map[uint16]int{80: 50, 666: 50, 999: 0} {
			crowd, err := in.OpenCrowd(deadline(t), netip.AddrPortFrom(addr, port), 50)
			if err != nil {
				t.Fatal(err)
			}
			if crowd.Established() != 0 || crowd.Refused() != refused {
				t.Errorf("%s port %d: %d established, %d refused, want %d", family, port, crowd.Established(), crowd.Refused(), refused)
			}
			if err := crowd.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// The machine acknowledges nothing twice: what it says is acknowledged at once.
func TestCrowdAcknowledges(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{ProbeWait: time.Second}, MachineOptions{NoIPv6: true})
	g := boot(t, m, nil)
	accepted := g.hold(netip.AddrPortFrom(m.IPv4(), 25), "220 welcome\r\n")
	mark := in.Mark()
	crowd, err := in.OpenCrowd(deadline(t), netip.AddrPortFrom(m.IPv4(), 25), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer crowd.Close()
	<-accepted
	said, err := in.Await(deadline(t), mark, func(f Frame) bool {
		tcp, ok := f.Packet.Layer(layers.LayerTypeTCP).(*layers.TCP)
		return ok && f.Direction == FromMachine && len(tcp.Payload) > 0
	})
	if err != nil {
		t.Fatal(err)
	}
	end := said.Packet.Layer(layers.LayerTypeTCP).(*layers.TCP)
	_, err = in.Await(deadline(t), mark, func(f Frame) bool {
		tcp, ok := f.Packet.Layer(layers.LayerTypeTCP).(*layers.TCP)
		return ok && f.Direction == ToMachine && tcp.ACK && tcp.Ack == end.Seq+uint32(len(end.Payload))
	})
	if err != nil {
		t.Error(err)
	}
}

func TestFloodsAndCrowdsNeedAMachine(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{ProbeWait: time.Hour}, MachineOptions{})
	target := netip.AddrPortFrom(m.IPv4(), 443)
	for name, test := range map[string]struct {
		target netip.AddrPort
		count  int
	}{
		"no QEMU": {target, 1}, "nobody": {netip.MustParseAddrPort("192.0.2.1:443"), 1}, "negative": {target, -1},
	} {
		if f, err := in.Flood(deadline(t), test.target, test.count); err == nil {
			t.Errorf("%s: flood is %+v", name, f)
		}
		if _, err := in.OpenCrowd(deadline(t), test.target, test.count); err == nil {
			t.Errorf("%s: there is a crowd", name)
		}
	}
	for name, try := range map[string]func() error{
		"endless flood": func() error { _, err := in.Flood(deadline(t), target, 0); return err },
		"one SYN":       func() error { _, err := in.Flood(deadline(t), target, 1); return err },
		"crowd of one":  func() error { _, err := in.OpenCrowd(deadline(t), target, 1); return err },
	} {
		boot(t, m, func(g *guest, frame []byte) bool {
			if protocol, _ := transport(ipPacket(frame)); protocol == header.TCPProtocolNumber {
				time.AfterFunc(20*time.Millisecond, func() { _ = g.conn.Close() }) // while the strangers wait
			}
			return false
		})
		if err := try(); !errors.Is(err, errLinkDown) {
			t.Errorf("%s at a machine that went away: %v, want %v", name, err, errLinkDown)
		}
		await(t, "the machine to be gone", func() bool { return !isClosed(m.Connected()) })
	}
	for range in.probes.throngs.blocks { // whatever failed has given its block back
		if _, err := in.beginThrong(target, true); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := in.beginThrong(target, true); err == nil {
		t.Error("there is always room for one more")
	}
}
