package internet

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// A throng has a block of source ports of its own, so that what comes back is
// known by its destination port alone. Blocks lie below firstProbePort.
const (
	throngPorts = 1000
	throngBlock = 2 // the first block that is used, from port 2000
)

// throng is many strangers at one TCP port. They have numbers, and each has its
// own address or source port.
type throng struct {
	in       *Internet
	target   netip.AddrPort
	port     uint16 // the first source port
	sequence uint32 // of every SYN
	flood    bool   // they never answer

	mu     sync.Mutex
	states []fate // by number
	counts [ended + 1]int
	due    []received    // what a crowd must acknowledge
	news   chan struct{} // holds one token when a fate changed
	work   chan struct{} // holds one token when something is due
}

// fate is what has become of a stranger.
type fate uint8

const (
	silent   fate = iota // knocked, no answer yet
	answered             // by a SYN-ACK
	reset                // refused by a reset
	rejected             // by an ICMP error
	ended                // answered first, and later reset or closed by the machine
)

// received is a segment that has to be acknowledged.
type received struct {
	stranger int
	next     uint32 // sequence number after it
}

// throngs are the ones under way, by block.
type throngs struct {
	blocks [firstProbePort/throngPorts - throngBlock]atomic.Pointer[throng]
	active atomic.Int32
	begun  atomic.Uint32
}

// at returns the throng that has a source port, or nil.
func (ts *throngs) at(port uint16) *throng {
	n := int(port)/throngPorts - throngBlock
	if n < 0 || n >= len(ts.blocks) {
		return nil
	}
	return ts.blocks[n].Load()
}

// beginThrong gathers strangers at a port.
func (in *Internet) beginThrong(target netip.AddrPort, flood bool) (*throng, error) {
	t := &throng{in: in, target: target, flood: flood, sequence: rand.Uint32(), news: make(chan struct{}, 1), work: make(chan struct{}, 1)}
	// The next block, not the first free one: the machine may remember the
	// half-open connections of a flood, whose sources must not come back.
	first, blocks := int(in.probes.throngs.begun.Add(1)-1), len(in.probes.throngs.blocks)
	for n := range blocks {
		n = (first + n) % blocks
		t.port = uint16(n+throngBlock) * throngPorts
		if in.probes.throngs.blocks[n].CompareAndSwap(nil, t) {
			in.probes.throngs.active.Add(1)
			return t, nil
		}
	}
	return nil, errors.New("too many floods and crowds at once: end one first")
}

func (t *throng) end() {
	t.in.probes.throngs.blocks[int(t.port)/throngPorts-throngBlock].Store(nil)
	t.in.probes.throngs.active.Add(-1)
}

// kind says why a frame from a machine is on the wire.
func (ps *probes) kind(frame []byte) kind {
	if ps.throngs.active.Load() == 0 {
		return ordinary
	}
	packet := ipPacket(frame)
	protocol, body := transport(packet)
	if protocol != header.TCPProtocolNumber || len(body) < header.TCPMinimumSize {
		return ordinary
	}
	src, dst, _ := addresses(packet)
	t := ps.throngs.at(header.TCP(body).DestinationPort())
	if t == nil || !t.flood || src != t.target.Addr() || !t.in.isScanner(dst) {
		return ordinary
	}
	return flooding
}

// hosts is how many strangers share a source port.
func (t *throng) hosts() int {
	if t.target.Addr().Is4() {
		return 1<<(32-t.in.opts.Scanners4.Bits()) - 2
	}
	return 1 << 32
}

// most is how many strangers there can be.
func (t *throng) most() int { return t.hosts() * throngPorts }

// stranger returns the address and port of one.
func (t *throng) stranger(number int) netip.AddrPort {
	return netip.AddrPortFrom(t.in.scanner(t.target.Addr(), number%t.hosts()), t.port+uint16(number/t.hosts()))
}

// number finds out which stranger has an address and port.
func (t *throng) number(a netip.AddrPort) int {
	host := uint64(0)
	if a.Addr().Is4() {
		addr, base := a.Addr().As4(), t.in.opts.Scanners4.Masked().Addr().As4()
		host = uint64(binary.BigEndian.Uint32(addr[:]) - binary.BigEndian.Uint32(base[:]))
	} else {
		addr := a.Addr().As16()
		host = binary.BigEndian.Uint64(addr[8:])
	}
	if host == 0 || host > uint64(t.hosts()) || a.Port() < t.port {
		return -1
	}
	return int(host-1) + int(a.Port()-t.port)*t.hosts()
}

// join adds the next stranger and returns its number.
func (t *throng) join() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.states = append(t.states, silent)
	t.counts[silent]++
	return len(t.states) - 1
}

// count returns how many strangers met that fate.
func (t *throng) count(f fate) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts[f]
}

// all returns the numbers of those with that fate.
func (t *throng) all(f fate) []int {
	t.mu.Lock()
	defer t.mu.Unlock()
	var numbers []int
	for n, state := range t.states {
		if state == f {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// become changes a stranger's fate, if it is what it was.
func (t *throng) become(number int, from, to fate) {
	if t.states[number] != from {
		return
	}
	t.states[number] = to
	t.counts[from]--
	t.counts[to]++
	if from == silent {
		t.in.record.answered()
	}
	select {
	case t.news <- struct{}{}:
	default:
	}
}

// hear takes a segment that the machine sent to a stranger.
func (t *throng) hear(src, dst netip.Addr, tcp header.TCP) {
	number := t.number(netip.AddrPortFrom(dst, tcp.DestinationPort()))
	t.mu.Lock()
	defer t.mu.Unlock()
	flags := tcp.Flags()
	if number < 0 || number >= len(t.states) || netip.AddrPortFrom(src, tcp.SourcePort()) != t.target ||
		flags.Contains(header.TCPFlagAck) && tcp.AckNumber() != t.sequence+1 {
		return
	}
	switch {
	case flags.Contains(header.TCPFlagRst):
		t.become(number, answered, ended)
		t.become(number, silent, reset)
	case flags.Contains(header.TCPFlagSyn | header.TCPFlagAck):
		t.become(number, silent, answered)
		t.mustAcknowledge(number, tcp.SequenceNumber()+1)
	default:
		t.hearData(number, tcp)
	}
}

// hearData takes what the machine says on a connection.
func (t *throng) hearData(number int, tcp header.TCP) {
	if t.states[number] != answered && t.states[number] != ended || int(tcp.DataOffset()) > len(tcp) {
		return
	}
	length := uint32(len(tcp.Payload()))
	if tcp.Flags().Contains(header.TCPFlagFin) {
		length++
		t.become(number, answered, ended)
	}
	if length > 0 {
		t.mustAcknowledge(number, tcp.SequenceNumber()+length)
	}
}

func (t *throng) mustAcknowledge(number int, next uint32) {
	if t.flood {
		return
	}
	t.due = append(t.due, received{number, next})
	select {
	case t.work <- struct{}{}:
	default:
	}
}

// takeDue returns what is to be acknowledged, and forgets it.
func (t *throng) takeDue() []received {
	t.mu.Lock()
	defer t.mu.Unlock()
	due := t.due
	t.due = nil
	return due
}

// hearRejection takes an ICMP error.
func (t *throng) hearRejection(stranger, target netip.AddrPort) {
	number := t.number(stranger)
	t.mu.Lock()
	defer t.mu.Unlock()
	if target == t.target && number >= 0 && number < len(t.states) {
		t.become(number, silent, rejected)
	}
}

// knocker sends SYNs to the throng's target.
type knocker struct {
	*throng
	machine *Machine
	link    *link
	mould   mould
}

func (t *throng) knocker() (knocker, error) {
	m := t.in.machineAt(t.target.Addr())
	if m == nil {
		return knocker{}, errNoMachine
	}
	l := m.currentLink()
	if l == nil {
		return knocker{}, errLinkDown
	}
	mould, err := m.mould(t.in.scanner(t.target.Addr(), 0), t.target.Addr(), syn(t.sequence))
	return knocker{t, m, l, mould}, err
}

// knock sends a stranger's SYN.
func (k knocker) knock(ctx context.Context, number int) error {
	why := probing
	if k.flood {
		why = flooding
	}
	from := k.stranger(number)
	return k.link.push(ctx, outbound{frame: k.mould.cast(from.Addr(), from.Port(), k.target.Port()), kind: why})
}

// settle waits until all are answered or no answer came for a while.
func (k knocker) settle(ctx context.Context) error {
	err := k.link.settle(ctx, k.news, func() bool { return k.count(silent) == 0 }, k.in.opts.ProbeWait)
	if err == nil && isClosed(k.link.closed) {
		return errLinkDown
	}
	return err
}
