package internet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// nic is the only interface of a netstack. One is enough for all machines, and
// with several a datagram socket bound to an impersonated address would be
// tied to an arbitrary one of them.
const nic tcpip.NICID = 1

// hosts is a gVisor netstack that speaks whole IP packets.
type hosts struct {
	stack *stack.Stack
	link  *channel.Endpoint
}

// newHosts makes a netstack with default routes and no address. The MTU is in
// bytes and counts the IP header.
func newHosts(mtu int) (*hosts, error) {
	h := &hosts{
		stack: stack.New(stack.Options{
			NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
			TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
		}),
		link: channel.New(4096, uint32(mtu), ""),
	}
	sack := tcpip.TCPSACKEnabled(true) // off by default, and bulk transfers suffer without
	err := h.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &sack)
	if err == nil {
		err = h.stack.CreateNIC(nic, h.link)
	}
	if err != nil {
		h.close()
		return nil, fmt.Errorf("start a netstack: %s", err)
	}
	h.stack.SetRouteTable([]tcpip.Route{
		{Destination: header.IPv4EmptySubnet, NIC: nic},
		{Destination: header.IPv6EmptySubnet, NIC: nic},
	})
	return h, nil
}

// impersonateAll lets the netstack receive and send as every address there is.
func (h *hosts) impersonateAll() error {
	if err := h.stack.SetPromiscuousMode(nic, true); err != nil {
		return fmt.Errorf("receive for every address: %s", err)
	}
	if err := h.stack.SetSpoofing(nic, true); err != nil {
		return fmt.Errorf("send as every address: %s", err)
	}
	return nil
}

// addAddress gives the netstack an address of its own.
func (h *hosts) addAddress(addr netip.Addr) error {
	local := tcpip.ProtocolAddress{
		Protocol:          protocol(addr),
		AddressWithPrefix: tcpip.AddrFromSlice(addr.AsSlice()).WithPrefix(),
	}
	if err := h.stack.AddProtocolAddress(nic, local, stack.AddressProperties{}); err != nil {
		return fmt.Errorf("give the netstack the address %v: %s", addr, err)
	}
	return nil
}

// inject hands one IP packet to the netstack, which copies it.
func (h *hosts) inject(packet []byte) {
	protocol := header.IPv4ProtocolNumber
	if header.IPVersion(packet) == header.IPv6Version {
		protocol = header.IPv6ProtocolNumber
	}
	p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(packet)})
	defer p.DecRef()
	h.link.InjectInbound(protocol, p)
}

// read returns the next IP packet the netstack sends, or nil when ctx is done.
func (h *hosts) read(ctx context.Context) []byte {
	p := h.link.ReadContext(ctx)
	if p == nil {
		return nil
	}
	defer p.DecRef()
	view := p.ToView()
	defer view.Release()
	return view.ToSlice()
}

// dial connects from one address to another over "tcp" or "udp".
func (h *hosts) dial(ctx context.Context, network string, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	if from.Is4() != to.Addr().Is4() {
		return nil, fmt.Errorf("%v cannot reach %v: use addresses of one family", from, to)
	}
	local, remote := fullAddress(netip.AddrPortFrom(from, 0)), fullAddress(to)
	switch network {
	case "tcp", "tcp4", "tcp6":
		c, err := gonet.DialTCPWithBind(ctx, h.stack, local, remote, protocol(to.Addr()))
		if err != nil {
			return nil, fmt.Errorf("connect from %v to %v: %w", from, to, asErrno(err))
		}
		return c, nil
	case "udp", "udp4", "udp6":
		c, err := gonet.DialUDP(h.stack, &local, &remote, protocol(to.Addr()))
		if err != nil {
			return nil, fmt.Errorf("open a socket from %v to %v: %w", from, to, err)
		}
		return c, nil
	}
	return nil, fmt.Errorf("network %q cannot be dialled: use tcp or udp", network)
}

// asErrno gives gonet's text-only errors the value a caller can branch on.
func asErrno(err error) error {
	var op *net.OpError
	if !errors.As(err, &op) {
		return err
	}
	for terr, errno := range map[tcpip.Error]syscall.Errno{
		&tcpip.ErrConnectionRefused{}:  syscall.ECONNREFUSED,
		&tcpip.ErrConnectionReset{}:    syscall.ECONNRESET,
		&tcpip.ErrHostUnreachable{}:    syscall.EHOSTUNREACH,
		&tcpip.ErrNetworkUnreachable{}: syscall.ENETUNREACH,
		&tcpip.ErrTimeout{}:            syscall.ETIMEDOUT,
	} {
		if op.Err.Error() == terr.String() {
			return errno
		}
	}
	return err
}

// abort ends every connection, so that whoever waits on one goes on.
func (h *hosts) abort() { h.stack.Close() }

// close ends the netstack and waits for its goroutines.
func (h *hosts) close() {
	h.stack.Destroy()
	h.link.Close()
}

func protocol(addr netip.Addr) tcpip.NetworkProtocolNumber {
	if addr.Is4() {
		return header.IPv4ProtocolNumber
	}
	return header.IPv6ProtocolNumber
}

// fullAddress leaves out an unspecified address, which then means any.
func fullAddress(a netip.AddrPort) tcpip.FullAddress {
	full := tcpip.FullAddress{Port: a.Port()}
	if a.Addr().IsValid() && !a.Addr().IsUnspecified() {
		full.Addr = tcpip.AddrFromSlice(a.Addr().Unmap().AsSlice())
	}
	return full
}
