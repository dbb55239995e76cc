package internet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// Scan is the result of a port scan.
type Scan struct {
	Target  netip.Addr
	Network string   // "tcp" or "udp"
	Ports   []uint16 // that were probed, sorted
	// Answers has the ports that answered; the others are filtered.
	Answers map[uint16]Answer
}

// State returns what is known of a port: Filtered when it gave no answer.
func (s Scan) State(port uint16) State { return s.Answers[port].State }

// In returns the probed ports in a state, sorted.
func (s Scan) In(state State) []uint16 {
	var ports []uint16
	for _, port := range s.Ports {
		if s.State(port) == state {
			ports = append(ports, port)
		}
	}
	return ports
}

// AllPorts returns 1 to 65535.
func AllPorts() []uint16 {
	ports := make([]uint16, 65535)
	for i := range ports {
		ports[i] = uint16(i + 1)
	}
	return ports
}

// ScanTCP sends a SYN to each port of a machine's public address, IPv4 or IPv6,
// from the scanners' addresses, and repeats it while there is no answer. It
// fails, rather than call ports filtered, when the machine is not connected or
// disconnects. A machine that is up but drops everything is all filtered: prove
// by a positive control that it is up. Linux sends at most 1000 ICMP errors a
// second (net.ipv4.icmp_msgs_per_sec), so of thousands of rejected ports some
// look filtered; resets are not limited.
func (in *Internet) ScanTCP(ctx context.Context, target netip.Addr, ports []uint16) (Scan, error) {
	ports = unique(ports)
	p := in.begin(header.TCPProtocolNumber, target)
	defer in.probes.end(p)
	err := in.probePorts(ctx, p, ports, syn(p.sequence))
	if err != nil {
		return Scan{}, fmt.Errorf("scan the TCP ports of %v: %w", target, err)
	}
	return p.scan("tcp", ports), nil
}

// ProbeUDP sends a datagram with this payload (nil is an empty one) to each
// port, in the same way, each try from another address. A port that does not
// like the payload looks filtered: WireGuard is proved open by a handshake.
func (in *Internet) ProbeUDP(ctx context.Context, target netip.Addr, ports []uint16, payload []byte) (Scan, error) {
	ports = unique(ports)
	p := in.begin(header.UDPProtocolNumber, target)
	defer in.probes.end(p)
	err := in.probePorts(ctx, p, ports, &layers.UDP{}, gopacket.Payload(payload))
	if err != nil {
		return Scan{}, fmt.Errorf("probe the UDP ports of %v: %w", target, err)
	}
	return p.scan("udp", ports), nil
}

// syn asks for a connection. The ports are filled in later.
func syn(sequence uint32) *layers.TCP {
	return &layers.TCP{
		Seq: sequence, SYN: true, Window: 64240,
		Options: []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{0x05, 0xb4}}}, // 1460 bytes
	}
}

// probePorts probes with one frame that differs from port to port in its
// addresses and ports only.
func (in *Internet) probePorts(ctx context.Context, p *probe, ports []uint16, transport ...gopacket.SerializableLayer) error {
	m := in.machineAt(p.target)
	if m == nil {
		return errNoMachine
	}
	mould, err := m.mould(in.scanner(p.target, 0), p.target, transport...)
	if err != nil {
		return err
	}
	return in.probe(ctx, p, ports, func(_ *Machine, from netip.Addr, port uint16, _ int) ([]byte, error) {
		return mould.cast(from, p.key.port, port), nil
	})
}

// Ping sends echo requests until one is answered: Open for an echo reply,
// Rejected for an ICMP error, Filtered for silence.
func (in *Internet) Ping(ctx context.Context, target netip.Addr) (Answer, error) {
	protocol, ipProtocol := header.ICMPv4ProtocolNumber, layers.IPProtocolICMPv4
	if target.Is6() {
		protocol, ipProtocol = header.ICMPv6ProtocolNumber, layers.IPProtocolICMPv6
	}
	p := in.begin(protocol, target)
	defer in.probes.end(p)
	err := in.probe(ctx, p, []uint16{0}, func(m *Machine, from netip.Addr, _ uint16, try int) ([]byte, error) {
		return m.probeFrame(from, target, ipProtocol, echoRequest(target, p.key.port, uint16(try))...)
	})
	if err != nil {
		return Answer{}, fmt.Errorf("ping %v: %w", target, err)
	}
	return p.results()[0], nil
}

func echoRequest(target netip.Addr, id, sequence uint16) []gopacket.SerializableLayer {
	if target.Is4() {
		return []gopacket.SerializableLayer{&layers.ICMPv4{
			TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0), Id: id, Seq: sequence,
		}}
	}
	return []gopacket.SerializableLayer{
		&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeEchoRequest, 0)},
		&layers.ICMPv6Echo{Identifier: id, SeqNumber: sequence},
	}
}

// errNoMachine is what a stranger reports who knocks where nobody is.
var errNoMachine = errors.New("no machine has this address: use a machine's IPv4 or IPv6")

// probe sends a frame to every port that has not answered, several times over,
// and waits for the answers.
func (in *Internet) probe(ctx context.Context, p *probe, ports []uint16, build func(m *Machine, from netip.Addr, port uint16, try int) ([]byte, error)) error {
	m := in.machineAt(p.target)
	if m == nil {
		return errNoMachine
	}
	l := m.currentLink()
	if l == nil {
		return errLinkDown
	}
	for try := range in.opts.ProbeTries {
		left := p.unanswered(ports)
		for _, port := range left {
			frame, err := build(m, in.scanner(p.target, int(port)+try), port, try)
			if err != nil {
				return err
			}
			if err := l.push(ctx, outbound{frame: frame, kind: probing}); err != nil {
				return err
			}
		}
		if err := l.flush(ctx); err != nil {
			return err
		}
		if err := p.settle(ctx, l, len(ports), in.opts.ProbeWait); err != nil {
			return err
		}
	}
	if isClosed(l.closed) {
		return errLinkDown
	}
	return nil
}

// unique returns the ports in order, each once.
func unique(ports []uint16) []uint16 {
	return slices.Compact(slices.Sorted(slices.Values(ports)))
}

func (p *probe) scan(network string, ports []uint16) Scan {
	return Scan{Target: p.target, Network: network, Ports: ports, Answers: p.results()}
}
