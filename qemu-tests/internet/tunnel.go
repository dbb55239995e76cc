package internet

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.zx2c4.com/wireguard/device"
)

// keepalive makes WireGuard send something, hence start a handshake, as soon as
// it is set. The interval is in seconds.
const keepalive = "persistent_keepalive_interval=25\n"

// wireguardOverhead is what WireGuard adds to a packet over IPv6, in bytes.
const wireguardOverhead = 80

// TunnelOptions describes a WireGuard client. Keys are in base64, as wg genkey
// prints them and as they are in a client's configuration file.
type TunnelOptions struct {
	PrivateKey    string
	PeerPublicKey string
	PresharedKey  string         // empty is none
	Endpoint      netip.AddrPort // of the peer, on a machine
	// Source is the public address the client has; the zero Addr is some
	// ordinary host.
	Source netip.Addr
	// Addresses are the client's inside the tunnel.
	Addresses []netip.Addr
	// AllowedIPs are routed into the tunnel; everything when empty.
	AllowedIPs []netip.Prefix
	// MTU inside the tunnel in bytes, by default the link's less 80.
	MTU int
}

func (o TunnelOptions) withDefaults(linkMTU int) (TunnelOptions, error) {
	if !o.Source.IsValid() {
		o.Source = visitor(o.Endpoint.Addr())
	}
	if len(o.AllowedIPs) == 0 {
		o.AllowedIPs = []netip.Prefix{
			netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0),
		}
	}
	if o.MTU == 0 {
		o.MTU = linkMTU - wireguardOverhead
	}
	switch {
	case !o.Endpoint.IsValid() || o.Endpoint.Port() == 0:
		return o, errors.New("the endpoint is missing: give the machine's address and WireGuard port")
	case o.Source.Is4() != o.Endpoint.Addr().Is4():
		return o, fmt.Errorf("source %v cannot reach endpoint %v: use addresses of one family", o.Source, o.Endpoint)
	case len(o.Addresses) == 0:
		return o, errors.New("the client's address inside the tunnel is missing")
	}
	return o, nil
}

// config is the device's configuration in WireGuard's cross-platform format.
func (o TunnelOptions) config() (string, error) {
	keys, err := keyConfig(o.PrivateKey, o.PeerPublicKey, o.PresharedKey)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(keys)
	fmt.Fprintf(&b, "endpoint=%v\n", o.Endpoint)
	for _, p := range o.AllowedIPs {
		fmt.Fprintf(&b, "allowed_ip=%v\n", p)
	}
	return b.String(), nil
}

// keyConfig are the keys of a device and of its one peer, from base64; the last may
// be empty. More of the peer may follow.
func keyConfig(private, public, preshared string) (string, error) {
	var b strings.Builder
	for _, k := range []struct{ what, name, key string }{
		{"private key", "private_key", private}, {"peer's public key", "replace_peers=true\npublic_key", public}, {"preshared key", "preshared_key", preshared},
	} {
		if k.key == "" && k.name == "preshared_key" {
			continue
		}
		text, err := hexKey(k.what, k.key)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%s=%s\n", k.name, text)
	}
	return b.String(), nil
}

// hexKey does not quote the key in its errors: it may be a secret.
func hexKey(what, key string) (string, error) {
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil || len(raw) != device.NoisePublicKeySize {
		return "", fmt.Errorf("the %s is not a WireGuard key: give 32 bytes in base64", what)
	}
	return hex.EncodeToString(raw), nil
}

// Tunnel is a WireGuard client in userspace, with hosts of its own behind it:
// how the machine's owner reaches it.
type Tunnel struct {
	in     *Internet
	opts   TunnelOptions
	config string
	hosts  *hosts
	bind   *publicBind
	device *device.Device
	once   sync.Once
}

// NewTunnel starts a WireGuard client on the public side. Nothing is sent yet:
// WaitHandshake begins. (A first handshake here would use up the one that a peer
// answers in 20 ms, and make WaitHandshake slower.)
func (in *Internet) NewTunnel(opts TunnelOptions) (*Tunnel, error) {
	opts, err := opts.withDefaults(in.opts.MTU)
	if err != nil {
		return nil, fmt.Errorf("make a WireGuard client: %w", err)
	}
	t := &Tunnel{in: in, opts: opts, bind: &publicBind{in: in, source: opts.Source}}
	if t.config, err = opts.config(); err != nil {
		return nil, fmt.Errorf("make a WireGuard client: %w", err)
	}
	if t.hosts, err = newHosts(opts.MTU); err != nil {
		return nil, fmt.Errorf("make a WireGuard client: %w", err)
	}
	for _, addr := range opts.Addresses {
		if err := t.hosts.addAddress(addr); err != nil {
			t.hosts.close()
			return nil, fmt.Errorf("make a WireGuard client: %w", err)
		}
	}
	t.device = device.NewDevice(newTunnelDevice(t.hosts, opts.MTU), t.bind, wireguardLogger(in.log))
	if err := errors.Join(t.device.IpcSet(t.config), t.device.Up(), in.track(t)); err != nil {
		return nil, errors.Join(fmt.Errorf("start the WireGuard client: %w", err), t.Close())
	}
	return t, nil
}

// wireguardLogger keeps WireGuard's chatter at debug level: that a machine does
// not answer yet is no error here.
func wireguardLogger(log *slog.Logger) *device.Logger {
	say := func(format string, args ...any) {
		if log.Enabled(context.Background(), slog.LevelDebug) {
			log.Debug(fmt.Sprintf(format, args...), "component", "wireguard")
		}
	}
	return &device.Logger{Verbosef: say, Errorf: say}
}

// WaitHandshake makes a fresh handshake and returns when it has succeeded, so
// that it says the peer is alive now. WireGuard itself tries again only every
// 5 s; setting the peer anew tries at once, but discards the last try. So when
// an answer came too late, the next try gets twice the time.
func (t *Tunnel) WaitHandshake(ctx context.Context) error {
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	patience := 300 * time.Millisecond
	for try := 1; ; try++ {
		answers := t.bind.answers.Load()
		if err := t.device.IpcSet(t.config + keepalive); err != nil {
			return fmt.Errorf("start a WireGuard handshake: %w", err)
		}
		timer := time.NewTimer(patience)
		done, err := t.handshakeWithin(ctx, poll.C, timer.C)
		timer.Stop()
		if err != nil {
			return fmt.Errorf("no WireGuard handshake with %v in %d tries: %w", t.opts.Endpoint, try, err)
		}
		if done {
			return nil
		}
		if t.bind.answers.Load() > answers {
			patience *= 2
		}
	}
}

// handshakeWithin reports whether the current try succeeded in time.
func (t *Tunnel) handshakeWithin(ctx context.Context, poll, patience <-chan time.Time) (bool, error) {
	for {
		status, err := t.device.IpcGet()
		if err != nil {
			return false, err
		}
		if strings.Contains(status, "last_handshake_time_sec=") && !strings.Contains(status, "last_handshake_time_sec=0\n") {
			return true, nil
		}
		select {
		case <-poll:
		case <-patience:
			return false, nil
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-t.device.Wait():
			return false, net.ErrClosed
		}
	}
}

// DialContext connects through the tunnel over "tcp" or "udp" to an IP address
// with a port; it has the shape of net.Dialer's.
func (t *Tunnel) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("dial %q through the tunnel: use an IP address and a port: %w", address, err)
	}
	to = unmap(to)
	for _, from := range t.opts.Addresses {
		if from.Is4() == to.Addr().Is4() {
			return t.hosts.dial(ctx, network, from, to)
		}
	}
	return nil, fmt.Errorf("dial %v through the tunnel: the client has no address of that family", to)
}

// Close ends the tunnel and its connections.
func (t *Tunnel) Close() error {
	t.once.Do(func() {
		t.in.untrack(t)
		t.device.Close() // closes the tunnel's device, which stops the hosts
	})
	return nil
}
