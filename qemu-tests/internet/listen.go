package internet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// Listen accepts TCP connections to a public address, which need not exist
// before: the internet impersonates it. An unspecified address (0.0.0.0 or ::)
// stands for all of them. Close of the internet closes the listener.
func (in *Internet) Listen(addr netip.AddrPort) (net.Listener, error) {
	if err := in.checkHost(addr.Addr()); err != nil {
		return nil, fmt.Errorf("listen on %v: %w", addr, err)
	}
	l, err := listenTCP(in.hosts.stack, addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %v: %w", addr, err)
	}
	tl := &listener{TCPListener: l, in: in, closed: make(chan struct{})}
	if err := in.track(tl); err != nil {
		return nil, errors.Join(err, tl.Close())
	}
	return tl, nil
}

// listenTCP is gonet.ListenTCP with the options that Go's own listeners set:
// old connections do not keep the address, and IPv6 does not take IPv4 along.
func listenTCP(s *stack.Stack, addr netip.AddrPort) (*gonet.TCPListener, error) {
	wq := new(waiter.Queue)
	ep, err := s.NewEndpoint(tcp.ProtocolNumber, protocol(addr.Addr()), wq)
	if err != nil {
		return nil, errors.New(err.String())
	}
	ep.SocketOptions().SetReuseAddress(true)
	ep.SocketOptions().SetV6Only(addr.Addr().Is6())
	if err = ep.Bind(fullAddress(addr)); err == nil {
		err = ep.Listen(4096) // connections that wait, Linux's default
	}
	if err != nil {
		ep.Close()
		return nil, errors.New(err.String())
	}
	return gonet.NewTCPListener(s, wq, ep), nil
}

// ListenPacket receives UDP datagrams to one public address. The addresses it
// gives and takes are *net.UDPAddr.
func (in *Internet) ListenPacket(addr netip.AddrPort) (net.PacketConn, error) {
	if err := in.checkHost(addr.Addr()); err != nil {
		return nil, fmt.Errorf("listen on %v: %w", addr, err)
	}
	if addr.Addr().IsUnspecified() {
		return nil, errors.New("a datagram socket on every address cannot tell which one to answer from: listen on one address")
	}
	local := fullAddress(addr)
	c, err := gonet.DialUDP(in.hosts.stack, &local, nil, protocol(addr.Addr()))
	if err != nil {
		return nil, fmt.Errorf("listen on %v: %w", addr, err)
	}
	pc := &packetConn{UDPConn: c, in: in, closed: make(chan struct{})}
	if err := in.track(pc); err != nil {
		return nil, errors.Join(err, pc.Close())
	}
	return pc, nil
}

// Dial connects to a machine over "tcp" or "udp" as the public host from, any
// address; the zero Addr is some ordinary host. A refused connection wraps
// syscall.ECONNREFUSED.
func (in *Internet) Dial(ctx context.Context, network string, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	if !from.IsValid() {
		from = visitor(to.Addr())
	}
	if err := in.checkHost(from); err != nil {
		return nil, fmt.Errorf("dial as %v: %w", from, err)
	}
	if in.machineAt(to.Addr()) == nil {
		return nil, fmt.Errorf("dial %v: no machine has this address", to)
	}
	return in.hosts.dial(ctx, network, from, to)
}

// visitor is an ordinary host of the internet.
func visitor(peer netip.Addr) netip.Addr {
	if peer.Is4() {
		return netip.AddrFrom4([4]byte{45, 77, 0, 10})
	}
	return netip.AddrFrom16([16]byte{0x26, 0, 0x3c, 0, 15: 0x10})
}

// checkHost says whether the netstack may act as addr.
func (in *Internet) checkHost(addr netip.Addr) error {
	switch {
	case !addr.IsValid():
		return errors.New("the address is missing")
	case in.isScanner(addr):
		return fmt.Errorf("%v is reserved for scans: use an address outside %v and %v", addr, in.opts.Scanners4, in.opts.Scanners6)
	case in.machineAt(addr) != nil:
		return fmt.Errorf("%v belongs to machine %s: use another address", addr, in.machineAt(addr).Name())
	}
	return nil
}

// listener makes gonet's listener keep net.Listener's promises on Close.
type listener struct {
	*gonet.TCPListener
	in     *Internet
	once   sync.Once
	closed chan struct{}
}

// Accept returns net.ErrClosed after Close, as servers expect.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.TCPListener.Accept()
	if err != nil && isClosed(l.closed) {
		return nil, net.ErrClosed
	}
	return c, err
}

// Close also wakes a blocked Accept, which gonet's Close alone does not.
func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.in.untrack(l)
		l.Shutdown()
		_ = l.TCPListener.Close() // never fails
	})
	return nil
}

// packetConn makes gonet's socket keep net.PacketConn's promises on Close.
type packetConn struct {
	*gonet.UDPConn
	in     *Internet
	once   sync.Once
	closed chan struct{}
}

// ReadFrom returns net.ErrClosed after Close, where gonet has io.EOF.
func (c *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, addr, err := c.UDPConn.ReadFrom(b)
	if errors.Is(err, io.EOF) || err != nil && isClosed(c.closed) {
		err = net.ErrClosed
	}
	return n, addr, err
}

// WriteTo also takes IPv4 addresses in their 16-byte form.
func (c *packetConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	udp, ok := addr.(*net.UDPAddr)
	if !ok {
		return 0, fmt.Errorf("cannot send to a %T: use a *net.UDPAddr", addr)
	}
	return c.UDPConn.WriteTo(b, net.UDPAddrFromAddrPort(unmap(udp.AddrPort())))
}

func (c *packetConn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.in.untrack(c)
		_ = c.UDPConn.Close() // never fails
	})
	return nil
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
