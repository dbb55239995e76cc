package internet

import (
	"context"
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// State is what a probe found out. Each means one kind of packet came back.
type State int

// The states of a port, or of a pinged address.
const (
	// Filtered: no answer at all.
	Filtered State = iota
	// Open: a SYN-ACK, a UDP datagram, or an echo reply.
	Open
	// Closed: a TCP reset, or for UDP the ICMP error "port unreachable",
	// which is also what a firewall's plain reject sends.
	Closed
	// Rejected: any other ICMP error, and for TCP every ICMP error.
	Rejected
)

// String returns the state in lower case.
func (s State) String() string {
	return [...]string{"filtered", "open", "closed", "rejected"}[s]
}

// Answer is what came back to a probe.
type Answer struct {
	State State
	// From sent the answer; the zero Addr when there was none.
	From netip.Addr
	// ICMPType and ICMPCode are of the ICMP message, when it was one. The
	// numbers differ between IPv4 and IPv6.
	ICMPType, ICMPCode uint8
}

// firstProbePort is the first port that scans and pings come from. Those before
// are for throngs.
const firstProbePort = 20000

// probeKey tells the answers to one probe from those to another. The port is
// the scanner's, or the identifier of a ping.
type probeKey struct {
	protocol tcpip.TransportProtocolNumber
	port     uint16
}

// probe collects answers by the target's port; a ping has port 0 only.
type probe struct {
	key      probeKey
	target   netip.Addr
	sequence uint32 // of every SYN; an answer must acknowledge it

	mu      sync.Mutex
	answers map[uint16]Answer
	news    chan struct{} // holds one token when answers grew
	record  *recorder
}

// note keeps the first answer for a port.
func (p *probe) note(port uint16, a Answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.answers[port]; known {
		return
	}
	p.answers[port] = a
	p.record.answered()
	select {
	case p.news <- struct{}{}:
	default:
	}
}

// unanswered returns the ports of which nothing is known.
func (p *probe) unanswered(ports []uint16) []uint16 {
	p.mu.Lock()
	defer p.mu.Unlock()
	var left []uint16
	for _, port := range ports {
		if _, known := p.answers[port]; !known {
			left = append(left, port)
		}
	}
	return left
}

// results returns the answers so far.
func (p *probe) results() map[uint16]Answer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.answers)
}

func (p *probe) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.answers)
}

// settle waits until there are enough answers or none came for a while.
func (p *probe) settle(ctx context.Context, l *link, enough int, quiet time.Duration) error {
	return l.settle(ctx, p.news, func() bool { return p.count() >= enough }, quiet)
}

// settle waits until there is enough or no news came for a while.
func (l *link) settle(ctx context.Context, news <-chan struct{}, enough func() bool, quiet time.Duration) error {
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	for !enough() {
		select {
		case <-news:
			timer.Reset(quiet)
		case <-timer.C:
			return nil
		case <-l.closed:
			return errLinkDown
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// probes knows which probes are under way.
type probes struct {
	mu     sync.Mutex
	active map[probeKey]*probe

	throngs throngs
}

// begin registers a probe under a free key.
func (in *Internet) begin(protocol tcpip.TransportProtocolNumber, target netip.Addr) *probe {
	ps := &in.probes
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.active == nil {
		ps.active = map[probeKey]*probe{}
	}
	p := &probe{target: target, sequence: rand.Uint32(), answers: map[uint16]Answer{}, news: make(chan struct{}, 1), record: in.record}
	for {
		p.key = probeKey{protocol, uint16(firstProbePort + rand.IntN(40000))}
		if _, taken := ps.active[p.key]; !taken {
			ps.active[p.key] = p
			return p
		}
	}
}

func (ps *probes) end(p *probe) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	delete(ps.active, p.key)
}

func (ps *probes) find(key probeKey) *probe {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return ps.active[key]
}

// scanner returns one of the addresses that probes come from. Spreading probes
// over them gets round the limit on ICMP errors that Linux keeps for each
// destination: from a single source most closed UDP ports look filtered.
func (in *Internet) scanner(target netip.Addr, n int) netip.Addr {
	if target.Is4() {
		base := in.opts.Scanners4.Masked().Addr().As4()
		hosts := uint32(1)<<(32-in.opts.Scanners4.Bits()) - 2
		binary.BigEndian.PutUint32(base[:], binary.BigEndian.Uint32(base[:])+1+uint32(n)%hosts)
		return netip.AddrFrom4(base)
	}
	base := in.opts.Scanners6.Masked().Addr().As16()
	binary.BigEndian.PutUint64(base[8:], uint64(n)+1)
	return netip.AddrFrom16(base)
}

// probeFrame builds a frame from a scanner's address.
func (m *Machine) probeFrame(from, to netip.Addr, protocol layers.IPProtocol, transport ...gopacket.SerializableLayer) ([]byte, error) {
	var ip gopacket.NetworkLayer
	var parts []gopacket.SerializableLayer
	if to.Is4() {
		v4 := &layers.IPv4{Version: 4, TTL: 64, Flags: layers.IPv4DontFragment, Protocol: protocol, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
		ip, parts = v4, append(parts, m.toMachine(layers.EthernetTypeIPv4), v4)
	} else {
		v6 := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: protocol, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
		ip, parts = v6, append(parts, m.toMachine(layers.EthernetTypeIPv6), v6)
	}
	if t, ok := transport[0].(interface {
		SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
	}); ok {
		if err := t.SetNetworkLayerForChecksum(ip); err != nil {
			return nil, err
		}
	}
	return serialize(append(parts, transport...)...)
}

// deliver gives a packet that a machine sent to a scanner to its probe.
func (ps *probes) deliver(m *Machine, packet []byte) {
	src, dst, _ := addresses(packet)
	protocol, body := transport(packet)
	switch protocol {
	case header.TCPProtocolNumber:
		ps.deliverTCP(m, src, dst, body)
	case header.UDPProtocolNumber:
		if len(body) >= header.UDPMinimumSize {
			udp := header.UDP(body)
			ps.note(probeKey{protocol, udp.DestinationPort()}, src, udp.SourcePort(), Answer{State: Open, From: src})
		}
	case header.ICMPv4ProtocolNumber, header.ICMPv6ProtocolNumber:
		ps.deliverICMP(src, protocol, body)
	}
}

// note records an answer if its probe is under way and was for that target.
func (ps *probes) note(key probeKey, target netip.Addr, port uint16, a Answer) {
	if p := ps.find(key); p != nil && p.target == target {
		p.note(port, a)
	}
}

func (ps *probes) deliverTCP(m *Machine, src, dst netip.Addr, body []byte) {
	if len(body) < header.TCPMinimumSize {
		return
	}
	tcp := header.TCP(body)
	if t := ps.throngs.at(tcp.DestinationPort()); t != nil {
		t.hear(src, dst, tcp)
		return
	}
	p := ps.find(probeKey{header.TCPProtocolNumber, tcp.DestinationPort()})
	if p == nil || p.target != src || tcp.AckNumber() != p.sequence+1 {
		return
	}
	const synAck = header.TCPFlagSyn | header.TCPFlagAck
	switch flags := tcp.Flags(); {
	case flags.Contains(header.TCPFlagRst):
		p.note(tcp.SourcePort(), Answer{State: Closed, From: src})
	case flags.Contains(synAck):
		p.note(tcp.SourcePort(), Answer{State: Open, From: src})
		m.reset(p, dst, tcp.SourcePort())
	}
}

// reset takes back a half-open connection, or the machine would keep asking.
func (m *Machine) reset(p *probe, from netip.Addr, port uint16) {
	frame, err := m.probeFrame(from, p.target, layers.IPProtocolTCP, &layers.TCP{
		SrcPort: layers.TCPPort(p.key.port), DstPort: layers.TCPPort(port), Seq: p.sequence + 1, RST: true,
	})
	if err == nil {
		m.send(frame)
	}
}

// deliverICMP takes echo replies, and errors, which quote the probe.
func (ps *probes) deliverICMP(src netip.Addr, protocol tcpip.TransportProtocolNumber, body []byte) {
	if len(body) < 8 {
		return
	}
	kind, code := body[0], body[1]
	isReply := protocol == header.ICMPv4ProtocolNumber && header.ICMPv4Type(kind) == header.ICMPv4EchoReply ||
		protocol == header.ICMPv6ProtocolNumber && header.ICMPv6Type(kind) == header.ICMPv6EchoReply
	if isReply {
		key := probeKey{protocol, binary.BigEndian.Uint16(body[4:])}
		ps.note(key, src, 0, Answer{State: Open, From: src, ICMPType: kind, ICMPCode: code})
		return
	}
	stranger, target, ok := addresses(body[8:])
	quoted, inner := transport(body[8:])
	if !ok || len(inner) < 8 { // RFC 792 quotes this much at least
		return
	}
	a := Answer{State: Rejected, From: src, ICMPType: kind, ICMPCode: code}
	if quoted == header.UDPProtocolNumber && isPortUnreachable(protocol, kind, code) {
		a.State = Closed
	}
	from, port := binary.BigEndian.Uint16(inner), binary.BigEndian.Uint16(inner[2:])
	if t := ps.throngs.at(from); t != nil && quoted == header.TCPProtocolNumber {
		t.hearRejection(netip.AddrPortFrom(stranger, from), netip.AddrPortFrom(target, port))
		return
	}
	if quoted == header.ICMPv4ProtocolNumber || quoted == header.ICMPv6ProtocolNumber {
		from, port = binary.BigEndian.Uint16(inner[4:]), 0
	}
	ps.note(probeKey{quoted, from}, target, port, a)
}

func isPortUnreachable(protocol tcpip.TransportProtocolNumber, kind, code uint8) bool {
	if protocol == header.ICMPv4ProtocolNumber {
		return header.ICMPv4Type(kind) == header.ICMPv4DstUnreachable && header.ICMPv4Code(code) == header.ICMPv4PortUnreachable
	}
	return header.ICMPv6Type(kind) == header.ICMPv6DstUnreachable && header.ICMPv6Code(code) == header.ICMPv6PortUnreachable
}

// transport returns the protocol and the rest of an IP packet, which may be cut
// short. IPv6 extension headers are not followed: nothing answers a probe so.
func transport(packet []byte) (tcpip.TransportProtocolNumber, []byte) {
	switch {
	case header.IPVersion(packet) == header.IPv4Version && len(packet) >= header.IPv4MinimumSize:
		ip := header.IPv4(packet)
		if n := int(ip.HeaderLength()); n >= header.IPv4MinimumSize && n <= len(packet) && ip.FragmentOffset() == 0 {
			return ip.TransportProtocol(), packet[n:]
		}
	case header.IPVersion(packet) == header.IPv6Version && len(packet) >= header.IPv6MinimumSize:
		return tcpip.TransportProtocolNumber(header.IPv6(packet).NextHeader()), packet[header.IPv6MinimumSize:]
	}
	return 0, nil
}
