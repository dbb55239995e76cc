package internet

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"
)

// attached is a host outside of the test process, or played by another part
// of it, that speaks whole IP packets.
type attached struct {
	in    *Internet
	addrs []netip.Addr
	wire  io.ReadWriteCloser
	once  sync.Once
}

// Attach puts a host with these addresses on the internet. Each Read of wire
// is one IP packet from it and each Write one to it, as with a TUN device.
// Packets reach the machines and the netstack's hosts; frames to the machines
// are recorded and faults apply. The host leaves with a call of leave, or with
// the internet; both close wire.
func (in *Internet) Attach(wire io.ReadWriteCloser, addrs ...netip.Addr) (leave func(), err error) {
	if len(addrs) == 0 {
		return nil, errors.New("attach a host: its address is missing")
	}
	for _, addr := range addrs {
		if err := in.checkHost(addr); err != nil {
			return nil, fmt.Errorf("attach a host: %w", err)
		}
		if in.attachedAt(addr) != nil {
			return nil, fmt.Errorf("attach a host: %v belongs to another one", addr)
		}
	}
	a := &attached{in: in, addrs: slices.Clone(addrs), wire: wire}
	if err := in.track(a); err != nil {
		return nil, fmt.Errorf("attach a host: %w", err)
	}
	in.mu.Lock()
	in.attached = append(in.attached, a)
	in.mu.Unlock()
	in.running.Go(a.run)
	return func() {
		in.untrack(a)
		in.mu.Lock()
		in.attached = slices.DeleteFunc(in.attached, func(other *attached) bool { return other == a })
		in.mu.Unlock()
		_ = a.Close() // there is nobody to tell
	}, nil
}

// Close implements io.Closer.
func (a *attached) Close() (err error) {
	a.once.Do(func() { err = a.wire.Close() })
	return err
}

// run takes the host's packets to where they belong until wire ends.
func (a *attached) run() {
	buf := make([]byte, maxFrame)
	for {
		n, err := a.wire.Read(buf)
		if err != nil {
			a.in.log.Debug("attached host left", "addresses", a.addrs, "reason", err)
			return
		}
		packet := slices.Clone(buf[:n])
		src, dst, ok := addresses(packet)
		if !ok || !slices.Contains(a.addrs, src) {
			continue // a host sends as itself only
		}
		if m := a.in.machineAt(dst); m != nil {
			m.forward(packet)
		} else {
			a.in.hosts.inject(packet)
		}
	}
}

// deliver hands the host one packet. A full queue loses it, as on any network.
func (a *attached) deliver(packet []byte) { _, _ = a.wire.Write(packet) }

// attachedAt returns the attached host with that address, or nil.
func (in *Internet) attachedAt(addr netip.Addr) *attached {
	in.mu.RLock()
	defer in.mu.RUnlock()
	for _, a := range in.attached {
		if slices.Contains(a.addrs, addr) {
			return a
		}
	}
	return nil
}
