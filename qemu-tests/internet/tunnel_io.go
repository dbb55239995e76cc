package internet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

// tunnelDevice is the plain-text side of a tunnel, as WireGuard sees it. The
// library's own tun/netstack closes its packet channel while the stack may
// still send, which panics when connections end together with their tunnel.
type tunnelDevice struct {
	hosts  *hosts
	mtu    int
	events chan tun.Event
	ctx    context.Context
	cancel context.CancelFunc
}

func newTunnelDevice(h *hosts, mtu int) *tunnelDevice {
	d := &tunnelDevice{hosts: h, mtu: mtu, events: make(chan tun.Event)}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	return d
}

func (d *tunnelDevice) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	packet := d.hosts.read(d.ctx)
	if packet == nil {
		return 0, os.ErrClosed
	}
	sizes[0] = copy(bufs[0][offset:], packet)
	return 1, nil
}

func (d *tunnelDevice) Write(bufs [][]byte, offset int) (int, error) {
	for _, buf := range bufs {
		d.hosts.inject(buf[offset:])
	}
	return len(bufs), nil
}

func (d *tunnelDevice) Close() error {
	d.cancel()
	close(d.events) // nothing is ever sent
	d.hosts.close()
	return nil
}

func (d *tunnelDevice) File() *os.File           { return nil }
func (d *tunnelDevice) MTU() (int, error)        { return d.mtu, nil }
func (d *tunnelDevice) Name() (string, error)    { return "wireguard", nil }
func (d *tunnelDevice) Events() <-chan tun.Event { return d.events }
func (d *tunnelDevice) BatchSize() int           { return 1 }

// publicBind carries WireGuard's datagrams over the simulated internet.
type publicBind struct {
	in      *Internet
	source  netip.Addr
	answers atomic.Int64 // handshake responses, in time or not

	mu     sync.Mutex
	socket net.PacketConn
}

// Open implements conn.Bind. Port 0 chooses one.
func (b *publicBind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.socket != nil {
		return nil, 0, conn.ErrBindAlreadyOpen
	}
	socket, err := b.in.ListenPacket(netip.AddrPortFrom(b.source, port))
	if err != nil {
		return nil, 0, err
	}
	b.socket = socket
	return []conn.ReceiveFunc{b.receiveFrom(socket)}, socket.LocalAddr().(*net.UDPAddr).AddrPort().Port(), nil
}

func (b *publicBind) receiveFrom(socket net.PacketConn) conn.ReceiveFunc {
	return func(packets [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		n, from, err := socket.ReadFrom(packets[0])
		if err != nil {
			return 0, err // net.ErrClosed after Close, as conn.Bind wants
		}
		if n == device.MessageResponseSize && packets[0][0] == device.MessageResponseType {
			b.answers.Add(1)
		}
		sizes[0], eps[0] = n, endpoint(unmap(from.(*net.UDPAddr).AddrPort()))
		return 1, nil
	}
}

// Close implements conn.Bind.
func (b *publicBind) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.socket == nil {
		return nil
	}
	err := b.socket.Close()
	b.socket = nil
	return err
}

// Send implements conn.Bind.
func (b *publicBind) Send(bufs [][]byte, ep conn.Endpoint) error {
	b.mu.Lock()
	socket := b.socket
	b.mu.Unlock()
	if socket == nil {
		return net.ErrClosed
	}
	to, ok := ep.(endpoint)
	if !ok {
		return conn.ErrWrongEndpointType
	}
	var errs []error
	for _, buf := range bufs {
		_, err := socket.WriteTo(buf, net.UDPAddrFromAddrPort(netip.AddrPort(to)))
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// ParseEndpoint implements conn.Bind.
func (b *publicBind) ParseEndpoint(s string) (conn.Endpoint, error) {
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return nil, fmt.Errorf("read a WireGuard endpoint: %w", err)
	}
	return endpoint(unmap(a)), nil
}

func (b *publicBind) SetMark(uint32) error { return nil }
func (b *publicBind) BatchSize() int       { return 1 }

// endpoint is a peer's public address.
type endpoint netip.AddrPort

func (e endpoint) ClearSrc()           {}
func (e endpoint) SrcToString() string { return "" }
func (e endpoint) DstToString() string { return netip.AddrPort(e).String() }
func (e endpoint) DstIP() netip.Addr   { return netip.AddrPort(e).Addr() }
func (e endpoint) SrcIP() netip.Addr   { return netip.Addr{} }

// DstToBytes is what WireGuard's cookies are bound to.
func (e endpoint) DstToBytes() []byte {
	b, _ := netip.AddrPort(e).MarshalBinary() // never fails
	return b
}
