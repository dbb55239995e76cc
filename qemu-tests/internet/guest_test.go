package internet

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// guest is a machine with a network card and a netstack that, unlike the
// internet's, does its own ARP, NDP and SLAAC.
type guest struct {
	t     *testing.T
	stack *stack.Stack
	link  *channel.Endpoint
	conn  net.Conn
	mu    sync.Mutex // of writes
	// hear, when set before boot, sees each frame first and may keep it from the netstack.
	hear func(g *guest, frame []byte) (pass bool)
	stop context.CancelFunc
	done sync.WaitGroup
}

// boot plugs a guest into the machine's socket. Its IPv4 address is static;
// IPv6 comes by router advertisement.
func boot(t *testing.T, m *Machine, hear func(*guest, []byte) bool) *guest {
	t.Helper()
	g := &guest{t: t, hear: hear}
	var err error
	if g.conn, err = net.Dial("unix", m.Socket()); err != nil {
		t.Fatal(err)
	}
	g.link = channel.New(1024, 1500+header.EthernetMinimumSize, tcpip.LinkAddress(m.MAC()))
	g.link.LinkEPCapabilities |= stack.CapabilityResolutionRequired
	g.stack = stack.New(stack.Options{
		NetworkProtocols: []stack.NetworkProtocolFactory{arp.NewProtocol, ipv4.NewProtocol, ipv6.NewProtocolWithOptions(ipv6.Options{
			AutoGenLinkLocal: true,
			DADConfigs:       stack.DADConfigurations{DupAddrDetectTransmits: 1, RetransmitTimer: 10 * time.Millisecond},
			NDPConfigs: ipv6.NDPConfigurations{
				HandleRAs: ipv6.HandlingRAsEnabledWhenForwardingDisabled, MaxRtrSolicitations: 3, RtrSolicitationInterval: 500 * time.Millisecond,
				DiscoverDefaultRouters: true, DiscoverOnLinkPrefixes: true, AutoGenGlobalAddresses: true,
			},
		})},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	})
	var ctx context.Context
	ctx, g.stop = context.WithCancel(context.Background())
	g.done.Go(func() { g.transmit(ctx) })
	g.done.Go(g.receive)
	t.Cleanup(g.shutdown)
	// Routes first: those that advertisements bring are added behind them.
	g.stack.SetRouteTable([]tcpip.Route{
		{Destination: header.IPv4EmptySubnet, Gateway: tcpip.AddrFromSlice(m.Gateway().AsSlice()), NIC: 1},
		{Destination: header.IPv6EmptySubnet, Gateway: tcpip.AddrFromSlice(gatewayLinkLocal().AsSlice()), NIC: 1},
	})
	if err := g.stack.CreateNIC(1, ethernet.New(g.link)); err != nil {
		t.Fatal(err)
	}
	address := tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: tcpip.AddrFromSlice(m.IPv4().AsSlice()).WithPrefix()}
	if err := g.stack.AddProtocolAddress(1, address, stack.AddressProperties{}); err != nil {
		t.Fatal(err)
	}
	await(t, "the machine to be connected", func() bool { return isClosed(m.Connected()) })
	return g
}

func (g *guest) transmit(ctx context.Context) {
	for {
		p := g.link.ReadContext(ctx)
		if p == nil {
			return
		}
		g.send(p.ToView().ToSlice())
		p.DecRef()
	}
}

// send writes one frame as QEMU does.
func (g *guest) send(frame []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, _ = g.conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...))
}

func (g *guest) receive() {
	var length [4]byte
	for {
		if _, err := io.ReadFull(g.conn, length[:]); err != nil {
			return
		}
		frame := make([]byte, binary.BigEndian.Uint32(length[:]))
		if _, err := io.ReadFull(g.conn, frame); err != nil {
			return
		}
		if g.hear != nil && !g.hear(g, frame) {
			continue
		}
		g.inject(frame)
	}
}

// inject gives a frame to the guest's netstack.
func (g *guest) inject(frame []byte) {
	p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame)})
	defer p.DecRef()
	g.link.InjectInbound(0, p)
}

func (g *guest) shutdown() {
	g.stop()
	_ = g.conn.Close()
	g.stack.Close()
	g.done.Wait()
	g.stack.Destroy()
	g.link.Close()
}

func (g *guest) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return gonet.DialContextTCP(ctx, g.stack, fullAddress(to), protocol(to.Addr()))
}

func (g *guest) dialUDP(to netip.AddrPort) net.Conn {
	g.t.Helper()
	remote := fullAddress(to)
	c, err := gonet.DialUDP(g.stack, nil, &remote, protocol(to.Addr()))
	if err != nil {
		g.t.Fatal(err)
	}
	return c
}

// serveTCP answers "hello" on a port, over IPv4 and IPv6.
func (g *guest) serveTCP(port uint16) {
	g.t.Helper()
	for _, every := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		l, err := listenTCP(g.stack, netip.AddrPortFrom(every, port))
		if err != nil {
			g.t.Fatal(err)
		}
		g.t.Cleanup(l.Shutdown)
		g.done.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(c, "hello")
				_ = c.Close()
			}
		})
	}
}

// echoUDP sends every datagram to a port back, over IPv4 and IPv6.
func (g *guest) echoUDP(port uint16) {
	g.t.Helper()
	c, err := gonet.DialUDP(g.stack, &tcpip.FullAddress{Port: port}, nil, ipv6.ProtocolNumber)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = c.Close() })
	g.done.Go(func() { echo(c) })
}

func echo(c net.PacketConn) {
	buf := make([]byte, 2000)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = c.WriteTo(buf[:n], from)
	}
}

// awaitSLAAC waits until the guest has formed its global IPv6 address.
func (g *guest) awaitSLAAC(addr netip.Addr) {
	g.t.Helper()
	await(g.t, "the address "+addr.String(), func() bool {
		return g.stack.CheckLocalAddress(1, ipv6.ProtocolNumber, tcpip.AddrFromSlice(addr.AsSlice())) != 0
	})
}

// await polls a condition that nothing announces, with a deadline.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	poll := time.NewTicker(2 * time.Millisecond)
	defer poll.Stop()
	for !ok() {
		select {
		case <-poll.C:
		case <-deadline.C:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// deadline bounds what a test waits for.
func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// newInternet makes an internet with one machine.
func newInternet(t *testing.T, opts Options, machine MachineOptions) (*Internet, *Machine) {
	t.Helper()
	in, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := in.Close(); err != nil {
			t.Error(err)
		}
	})
	m, err := in.AddMachine(machine)
	if err != nil {
		t.Fatal(err)
	}
	return in, m
}

func readAll(t *testing.T, c net.Conn) string {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// shortDir is a directory that leaves room for a socket's name.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "in")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Clean(dir)
}

func cutHeader(response string) (head, body string, found bool) {
	return strings.Cut(response, "\r\n\r\n")
}
