package internet

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
)

// wgKey is a WireGuard key pair.
type wgKey struct{ private, public []byte }

func newKey(t *testing.T) wgKey {
	t.Helper()
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return wgKey{k.Bytes(), k.PublicKey().Bytes()}
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// server is the WireGuard server inside a guest, with a TCP echo on port 7.
func (g *guest) serveWireGuard(t *testing.T, own, client wgKey, psk []byte) *device.Device {
	t.Helper()
	inside, err := newHosts(1420)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{"10.8.0.1", "fd00::1"} {
		if err := inside.addAddress(netip.MustParseAddr(a)); err != nil {
			t.Fatal(err)
		}
		l, err := listenTCP(inside.stack, netip.AddrPortFrom(netip.MustParseAddr(a), 7))
		if err != nil {
			t.Fatal(err)
		}
		g.done.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				g.done.Go(func() {
					_, _ = io.Copy(c, c)
					_ = c.Close()
				})
			}
		})
		t.Cleanup(l.Shutdown)
	}
	d := device.NewDevice(newTunnelDevice(inside, 1420), &guestBind{g: g}, wireguardLogger(newTestLog()))
	t.Cleanup(d.Close)
	config := fmt.Sprintf("private_key=%x\nlisten_port=51820\npublic_key=%x\npreshared_key=%x\nallowed_ip=10.8.0.2/32\nallowed_ip=fd00::2/128\n", own.private, client.public, psk)
	if err := errors.Join(d.IpcSet(config), d.Up()); err != nil {
		t.Fatal(err)
	}
	return d
}

// guestBind carries the server's datagrams over the guest's netstack.
type guestBind struct {
	g *guest
	publicBind
}

func (b *guestBind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if port == 0 {
		port = 51820
	}
	c, err := gonet.DialUDP(b.g.stack, &tcpip.FullAddress{Port: port}, nil, ipv6.ProtocolNumber)
	if err != nil {
		return nil, 0, err
	}
	in := &Internet{}
	b.socket = &packetConn{UDPConn: c, in: in, closed: make(chan struct{})}
	return []conn.ReceiveFunc{b.receiveFrom(b.socket)}, port, nil
}

func tunnelOptions(own, server wgKey, psk []byte, endpoint netip.Addr) TunnelOptions {
	o := TunnelOptions{
		PrivateKey: b64(own.private), PeerPublicKey: b64(server.public),
		Endpoint:  netip.AddrPortFrom(endpoint, 51820),
		Addresses: []netip.Addr{netip.MustParseAddr("10.8.0.2"), netip.MustParseAddr("fd00::2")},
	}
	if psk != nil {
		o.PresharedKey = b64(psk)
	}
	return o
}

func TestTunnel(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{}, MachineOptions{})
	g := boot(t, m, nil)
	g.awaitSLAAC(m.IPv6())
	server, client := newKey(t), newKey(t)
	psk := newKey(t).private
	g.serveWireGuard(t, server, client, psk)
	for family, addr := range families(m) {
		t.Run(family, func(t *testing.T) {
			tunnel, err := in.NewTunnel(tunnelOptions(client, server, psk, addr))
			if err != nil {
				t.Fatal(err)
			}
			defer tunnel.Close()
			for range 2 { // the second is a fresh handshake over a tunnel in use
				if err := tunnel.WaitHandshake(deadline(t)); err != nil {
					t.Fatal(err)
				}
				for _, to := range []string{"10.8.0.1:7", "[fd00::1]:7"} {
					c, err := tunnel.DialContext(deadline(t), "tcp", to)
					if err != nil {
						t.Fatal(err)
					}
					sent := make([]byte, 100_000)
					_, _ = rand.Read(sent)
					go func() { _, _ = c.Write(sent) }()
					got := make([]byte, len(sent))
					if _, err := io.ReadFull(c, got); err != nil || string(got) != string(sent) {
						t.Errorf("the echo of %s came back different, %v", to, err)
					}
					_ = c.Close()
				}
			}
			if _, err := tunnel.DialContext(deadline(t), "tcp", "10.8.0.1:8"); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("dial of a closed port inside: %v, want connection refused", err)
			}
			if _, err := tunnel.DialContext(deadline(t), "tcp", "localhost:7"); err == nil {
				t.Error("dial of a name succeeded, but there is no resolver inside")
			}
		})
	}
}

func TestHandshakeFails(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{}, MachineOptions{})
	g := boot(t, m, nil)
	server, client, stranger := newKey(t), newKey(t), newKey(t)
	psk := newKey(t).private
	g.serveWireGuard(t, server, client, psk)
	for name, opts := range map[string]TunnelOptions{
		"stranger":     tunnelOptions(stranger, server, psk, m.IPv4()),
		"wrong server": tunnelOptions(client, stranger, psk, m.IPv4()),
		"wrong psk":    tunnelOptions(client, server, stranger.private, m.IPv4()),
		"missing psk":  tunnelOptions(client, server, nil, m.IPv4()),
		"nothing listens": func() TunnelOptions {
			o := tunnelOptions(client, server, psk, m.IPv4())
			o.Endpoint = netip.AddrPortFrom(m.IPv4(), 9)
			return o
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			tunnel, err := in.NewTunnel(opts)
			if err != nil {
				t.Fatal(err)
			}
			defer tunnel.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
			defer cancel()
			if err := tunnel.WaitHandshake(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("handshake: %v, want %v", err, context.DeadlineExceeded)
			}
		})
	}
	tunnel, err := in.NewTunnel(tunnelOptions(client, server, psk, m.IPv4())) // positive control
	if err != nil {
		t.Fatal(err)
	}
	if err := tunnel.WaitHandshake(deadline(t)); err != nil {
		t.Error(err)
	}
}

func isInitiation(f Frame) bool {
	udp, ok := f.Packet.Layer(layers.LayerTypeUDP).(*layers.UDP)
	return ok && f.Direction == ToMachine && len(udp.Payload) == device.MessageInitiationSize
}

// A handshake must succeed soon after the server comes up, not at WireGuard's
// own next try.
func TestHandshakeIsRetriedQuickly(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{}, MachineOptions{})
	server, client := newKey(t), newKey(t)
	psk := newKey(t).private
	tunnel, err := in.NewTunnel(tunnelOptions(client, server, psk, m.IPv4()))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- tunnel.WaitHandshake(deadline(t)) }()
	g := boot(t, m, nil)
	var tries []time.Time
	for f, err := range awaitEach(deadline(t), in, isInitiation) {
		if err != nil {
			t.Fatal(err)
		}
		if tries = append(tries, f.Time); len(tries) == 3 {
			break
		}
	}
	if gap := tries[2].Sub(tries[0]); gap >= device.RekeyTimeout {
		t.Errorf("three tries took %v, WireGuard itself waits %v for one", gap, device.RekeyTimeout)
	}
	g.serveWireGuard(t, server, client, psk)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// awaitEach yields every frame that matches, as they come.
func awaitEach(ctx context.Context, in *Internet, match func(Frame) bool) iter.Seq2[Frame, error] {
	return func(yield func(Frame, error) bool) {
		for n := Mark(0); ; n++ {
			var f Frame
			_, err := in.Await(ctx, n, func(next Frame) bool { f = next; return true })
			if (err != nil || match(f)) && !yield(f, err) || err != nil {
				return
			}
		}
	}
}

// A machine that answers later than the first tries are long gets more time.
func TestHandshakeWithASlowMachine(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{}, MachineOptions{})
	server, client := newKey(t), newKey(t)
	psk := newKey(t).private
	g := boot(t, m, func(g *guest, frame []byte) bool {
		protocol, body := transport(ipPacket(frame))
		slow := protocol == header.UDPProtocolNumber && len(body) == header.UDPMinimumSize+device.MessageInitiationSize
		if slow {
			time.AfterFunc(time.Second, func() { g.inject(frame) })
		}
		return !slow
	})
	g.serveWireGuard(t, server, client, psk)
	tunnel, err := in.NewTunnel(tunnelOptions(client, server, psk, m.IPv4()))
	if err != nil {
		t.Fatal(err)
	}
	if err := tunnel.WaitHandshake(deadline(t)); err != nil {
		t.Error(err)
	}
}

func TestBadTunnelOptionsAreRefused(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{}, MachineOptions{})
	key := newKey(t)
	for name, change := range map[string]func(*TunnelOptions){
		"private key":  func(o *TunnelOptions) { o.PrivateKey = hex.EncodeToString(key.private) },
		"public key":   func(o *TunnelOptions) { o.PeerPublicKey = "" },
		"psk":          func(o *TunnelOptions) { o.PresharedKey = "short" },
		"no endpoint":  func(o *TunnelOptions) { o.Endpoint = netip.AddrPort{} },
		"no address":   func(o *TunnelOptions) { o.Addresses = nil },
		"mixed family": func(o *TunnelOptions) { o.Source = netip.MustParseAddr("2a00::1") },
		"taken source": func(o *TunnelOptions) { o.Source = m.IPv4() },
	} {
		opts := tunnelOptions(key, key, nil, m.IPv4())
		change(&opts)
		tunnel, err := in.NewTunnel(opts)
		if err == nil {
			_ = tunnel.Close()
			t.Errorf("%s: was taken", name)
		} else if containsKey(err.Error(), key) {
			t.Errorf("%s: the error shows the private key: %v", name, err)
		}
	}
}
