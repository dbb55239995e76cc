package internet

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// faults decides which frames are lost on the way.
type faults struct {
	mu    sync.RWMutex
	dead  bool
	holes map[netip.Addr]struct{}
}

// SetInternet(false) makes the network dead: carrier stays, and every frame in
// either direction is silently dropped, DHCP, ARP and NDP included. Frames are
// still recorded, so what a machine tried is seen. SetInternet(true) ends it.
func (in *Internet) SetInternet(alive bool) {
	in.faults.mu.Lock()
	defer in.faults.mu.Unlock()
	in.faults.dead = !alive
}

// BlackHole silently drops every IP packet from or to addr, until it is called
// with false.
func (in *Internet) BlackHole(addr netip.Addr, on bool) {
	in.faults.mu.Lock()
	defer in.faults.mu.Unlock()
	if !on {
		delete(in.faults.holes, addr.Unmap())
		return
	}
	if in.faults.holes == nil {
		in.faults.holes = map[netip.Addr]struct{}{}
	}
	in.faults.holes[addr.Unmap()] = struct{}{}
}

// drop reports whether a frame is lost.
func (f *faults) drop(frame []byte) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.dead || len(f.holes) == 0 {
		return f.dead
	}
	src, dst, ok := addresses(ipPacket(frame))
	if !ok {
		return false
	}
	_, fromHole := f.holes[src]
	_, toHole := f.holes[dst]
	return fromHole || toHole
}

// dhcpFaults are of one machine's link.
type dhcpFaults struct {
	silent atomic.Bool
	offers atomic.Int32 // to be lost yet
	acks   atomic.Int32
}

// SetDHCP silences the DHCP server on this machine's link, or lets it answer
// again.
func (m *Machine) SetDHCP(answer bool) { m.dhcp.silent.Store(!answer) }

// LoseOffers loses the server's next n DHCPOFFERs on the way: a machine that
// repeats its DHCPDISCOVER is answered at the one after them. They are recorded
// as dropped.
func (m *Machine) LoseOffers(n int) { m.dhcp.offers.Store(int32(n)) }

// LoseAcks loses the server's next n DHCPACKs on the way: the machine has an
// offer and no lease, and asks again.
func (m *Machine) LoseAcks(n int) { m.dhcp.acks.Store(int32(n)) }

// lose reports whether an answer is lost, which uses up one of those that are.
func (f *dhcpFaults) lose(answer dhcpv4.MessageType) bool {
	left := &f.offers
	switch answer {
	case dhcpv4.MessageTypeOffer:
	case dhcpv4.MessageTypeAck:
		left = &f.acks
	default:
		return false
	}
	for {
		n := left.Load()
		if n <= 0 {
			return false
		}
		if left.CompareAndSwap(n, n-1) {
			return true
		}
	}
}
