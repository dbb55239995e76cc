package internet

import (
	"net/netip"
	"sync"
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
