// Package live proves a machine that runs somewhere, from its owner's computer:
// through the tunnel and from outside. It needs no root and changes nothing here: the
// tunnel's client is a part of this program.
package live

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/netstack"

	"ingot/layers/vpn"
)

// Tunnel is a WireGuard client in this program.
type Tunnel struct {
	device *device.Device
	net    *netstack.Net
	config string
	server netip.AddrPort
}

// mtu inside the tunnel, bytes: the least that IPv6 allows (RFC 8200 §5) passes
// everywhere.
const mtu = 1280

// Connect makes a tunnel from a client's config, as "ingot client add" writes it, to
// a server at an address that need not be the config's. Nothing is sent yet.
func Connect(client []byte, server netip.AddrPort) (*Tunnel, error) {
	list, err := vpn.Parse(client)
	if err != nil {
		return nil, fmt.Errorf("the client's config: %w", err)
	}
	c := list[0]
	t := &Tunnel{server: server}
	if t.config, err = settings(c, server); err != nil {
		return nil, fmt.Errorf("the client's config: %w", err)
	}
	var addresses []netip.Addr
	for _, a := range c.Addresses {
		addresses = append(addresses, a.Addr())
	}
	tun, stack, err := netstack.CreateNetTUN(addresses, nil, mtu)
	if err != nil {
		return nil, fmt.Errorf("make a WireGuard client: %w", err)
	}
	t.net = stack
	// Its chatter would be about a machine that is not there yet.
	t.device = device.NewDevice(tun, conn.NewDefaultBind(), device.NewLogger(device.LogLevelSilent, ""))
	if err := errors.Join(t.device.IpcSet(t.config), t.device.Up()); err != nil {
		t.Close()
		return nil, fmt.Errorf("start a WireGuard client: %w", err)
	}
	return t, nil
}

// settings is WireGuard's cross-platform format.
func settings(c vpn.Tunnel, server netip.AddrPort) (string, error) {
	var b strings.Builder
	for _, k := range []struct{ name, key string }{
		{"private_key", c.PrivateKey}, {"replace_peers=true\npublic_key", c.PublicKey}, {"preshared_key", c.PresharedKey},
	} {
		if k.key == "" && k.name == "preshared_key" {
			continue
		}
		raw, err := base64.StdEncoding.DecodeString(k.key)
		if err != nil || len(raw) != device.NoisePublicKeySize {
			return "", errors.New("a key in it is not one of WireGuard's")
		}
		fmt.Fprintf(&b, "%s=%s\n", k.name, hex.EncodeToString(raw))
	}
	fmt.Fprintf(&b, "endpoint=%v\npersistent_keepalive_interval=25\n", server)
	for _, p := range c.AllowedIPs {
		fmt.Fprintf(&b, "allowed_ip=%v\n", p)
	}
	return b.String(), nil
}

// again is how long a handshake is waited for before the next one is begun:
// WireGuard itself waits for 5 s and gives up after 90, and a machine that starts may
// take longer.
const again = 3 * time.Second

// Handshake returns when the server has answered.
func (t *Tunnel) Handshake(ctx context.Context) error {
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		begun := time.Now()
		if err := t.device.IpcSet(t.config); err != nil {
			return err
		}
		for time.Since(begun) < again {
			status, err := t.device.IpcGet()
			if err != nil {
				return err
			}
			if strings.Contains(status, "last_handshake_time_sec=") && !strings.Contains(status, "last_handshake_time_sec=0\n") {
				return nil
			}
			select {
			case <-poll.C:
			case <-ctx.Done():
				return fmt.Errorf("no WireGuard handshake with %v: %w", t.server, context.Cause(ctx))
			}
		}
	}
}

// DialContext connects through the tunnel.
func (t *Tunnel) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return t.net.DialContext(ctx, network, address)
}

// Close ends the tunnel and its connections.
func (t *Tunnel) Close() { t.device.Close() }
