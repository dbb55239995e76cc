package internet

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"

	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// VPNOptions describes a VPN provider's WireGuard server with one customer. Keys
// are in base64, as wg genkey prints them.
type VPNOptions struct {
	PrivateKey    string
	PeerPublicKey string // the customer's
	PresharedKey  string // empty is none
	// Endpoint is the server's public address and port.
	Endpoint netip.AddrPort
	// Customer are the customer's addresses in the tunnel, one of a family.
	Customer []netip.Addr
	// Exits are the public addresses that the internet sees instead, one for each
	// of Customer.
	Exits []netip.Addr
	// MTU inside the tunnel in bytes, by default the internet's less 80.
	MTU int
}

func (o VPNOptions) withDefaults(mtu int) (VPNOptions, error) {
	if o.MTU == 0 {
		o.MTU = mtu - wireguardOverhead
	}
	if !o.Endpoint.IsValid() || o.Endpoint.Port() == 0 {
		return o, errors.New("the endpoint is missing: give a public address and a port")
	}
	if len(o.Customer) == 0 || len(o.Customer) != len(o.Exits) {
		return o, fmt.Errorf("%d customer addresses and %d exits: give one exit for each", len(o.Customer), len(o.Exits))
	}
	for i, c := range o.Customer {
		if c.Is4() != o.Exits[i].Is4() {
			return o, fmt.Errorf("%v cannot leave as %v: use addresses of one family", c, o.Exits[i])
		}
	}
	return o, nil
}

func (o VPNOptions) config() (string, error) {
	keys, err := keyConfig(o.PrivateKey, o.PeerPublicKey, o.PresharedKey)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "listen_port=%d\n%s", o.Endpoint.Port(), keys)
	for _, c := range o.Customer {
		fmt.Fprintf(&b, "allowed_ip=%v/%d\n", c, c.BitLen())
	}
	return b.String(), nil
}

// VPN is a provider's server: what comes out of the tunnel goes on to the internet
// from its exit addresses, and the answers go back.
type VPN struct {
	opts   VPNOptions
	device *device.Device
	leave  func()
	once   sync.Once
}

// NewVPN starts a provider's server. It leaves with Close, or with the internet.
func (in *Internet) NewVPN(opts VPNOptions) (*VPN, error) {
	opts, err := opts.withDefaults(in.opts.MTU)
	if err != nil {
		return nil, fmt.Errorf("make a VPN: %w", err)
	}
	config, err := opts.config()
	if err != nil {
		return nil, fmt.Errorf("make a VPN: %w", err)
	}
	v := &VPN{opts: opts}
	w := newVPNWire(opts)
	v.device = device.NewDevice(w, &publicBind{in: in, source: opts.Endpoint.Addr()}, wireguardLogger(in.log))
	if v.leave, err = in.Attach(vpnExit{w}, opts.Exits...); err != nil {
		v.device.Close()
		return nil, fmt.Errorf("make a VPN: %w", err)
	}
	if err := errors.Join(v.device.IpcSet(config), v.device.Up(), in.track(v)); err != nil {
		return nil, errors.Join(fmt.Errorf("start a VPN: %w", err), v.Close())
	}
	return v, nil
}

// SetUp stops the server, whose port then refuses packets, or starts it again. It
// has forgotten its customer's handshakes then.
func (v *VPN) SetUp(up bool) error {
	if up {
		return v.device.Up()
	}
	return v.device.Down()
}

// Close ends the server.
func (v *VPN) Close() error {
	v.once.Do(func() {
		v.leave()
		v.device.Close()
	})
	return nil
}

// vpnWire is between the server's plain-text side, as WireGuard sees it, and the
// internet.
type vpnWire struct {
	opts   VPNOptions
	down   chan []byte // to the customer
	up     chan []byte // from the customer
	events chan tun.Event
	closed chan struct{}
	once   sync.Once
}

func newVPNWire(o VPNOptions) *vpnWire {
	return &vpnWire{
		opts: o, down: make(chan []byte, 1024), up: make(chan []byte, 1024),
		events: make(chan tun.Event), closed: make(chan struct{}),
	}
}

func (w *vpnWire) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	select {
	case packet := <-w.down:
		sizes[0] = copy(bufs[0][offset:], packet)
		return 1, nil
	case <-w.closed:
		return 0, os.ErrClosed
	}
}

func (w *vpnWire) Write(bufs [][]byte, offset int) (int, error) {
	for _, buf := range bufs {
		packet := append([]byte(nil), buf[offset:]...)
		if translate(packet, w.opts.Customer, w.opts.Exits, true) {
			offerPacket(w.up, packet)
		}
	}
	return len(bufs), nil
}

// offerPacket loses what there is no room for, as every network does.
func offerPacket(queue chan<- []byte, packet []byte) {
	select {
	case queue <- packet:
	default:
	}
}

func (w *vpnWire) Close() error {
	w.once.Do(func() {
		close(w.closed)
		close(w.events) // nothing is ever sent
	})
	return nil
}

func (w *vpnWire) File() *os.File           { return nil }
func (w *vpnWire) MTU() (int, error)        { return w.opts.MTU, nil }
func (w *vpnWire) Name() (string, error)    { return "vpn", nil }
func (w *vpnWire) Events() <-chan tun.Event { return w.events }
func (w *vpnWire) BatchSize() int           { return 1 }

// vpnExit is the same wire, as the internet sees it.
type vpnExit struct{ w *vpnWire }

func (e vpnExit) Read(b []byte) (int, error) {
	select {
	case packet := <-e.w.up:
		return copy(b, packet), nil
	case <-e.w.closed:
		return 0, os.ErrClosed
	}
}

func (e vpnExit) Write(b []byte) (int, error) {
	packet := append([]byte(nil), b...)
	if translate(packet, e.w.opts.Exits, e.w.opts.Customer, false) {
		offerPacket(e.w.down, packet)
	}
	return len(b), nil
}

func (e vpnExit) Close() error { return e.w.Close() }

// translate is the provider's NAT: it puts the address of the same place of
// another list in the place of a packet's source, or its destination, and mends
// the checksums (RFC 1624). It reports whether there was such an address.
func translate(packet []byte, from, to []netip.Addr, source bool) bool {
	src, dst, ok := addresses(packet)
	if !ok {
		return false
	}
	old := dst
	if source {
		old = src
	}
	for i, a := range from {
		if a == old {
			replaceAddress(packet, tcpip.AddrFromSlice(old.AsSlice()), tcpip.AddrFromSlice(to[i].AsSlice()), source)
			return true
		}
	}
	return false
}

func replaceAddress(packet []byte, from, to tcpip.Address, source bool) {
	var payload []byte
	var proto tcpip.TransportProtocolNumber
	if header.IPVersion(packet) == header.IPv4Version {
		ip := header.IPv4(packet)
		if source {
			ip.SetSourceAddressWithChecksumUpdate(to)
		} else {
			ip.SetDestinationAddressWithChecksumUpdate(to)
		}
		if ip.FragmentOffset() != 0 {
			return // has no header of a transport
		}
		payload, proto = ip.Payload(), ip.TransportProtocol()
	} else {
		ip := header.IPv6(packet)
		if source {
			ip.SetSourceAddress(to)
		} else {
			ip.SetDestinationAddress(to)
		}
		// Extension headers: no host of these tests sends any.
		payload, proto = ip.Payload(), tcpip.TransportProtocolNumber(ip.NextHeader())
	}
	switch {
	case proto == header.TCPProtocolNumber && len(payload) >= header.TCPMinimumSize:
		header.TCP(payload).UpdateChecksumPseudoHeaderAddress(from, to, true)
	case proto == header.UDPProtocolNumber && len(payload) >= header.UDPMinimumSize:
		if udp := header.UDP(payload); udp.Checksum() != 0 || header.IPVersion(packet) == header.IPv6Version {
			udp.UpdateChecksumPseudoHeaderAddress(from, to, true)
		}
	case proto == header.ICMPv6ProtocolNumber && len(payload) >= header.ICMPv6MinimumSize:
		header.ICMPv6(payload).UpdateChecksumPseudoHeaderAddress(from, to)
	}
}
