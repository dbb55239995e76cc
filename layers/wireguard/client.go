package wireguard

import (
	"crypto/ecdh"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Client is what a peer's own config is made of.
type Client struct {
	PrivateKey   string
	PresharedKey string // empty is none
	ServerKey    string // the server's public key
	Endpoint     string // host name or address of the server, without a port
	Full         bool   // everything goes through the tunnel, not the server's subnets only
	Peer         Peer
}

// Config is a client's config as wg-quick and WireGuard's apps read it (field
// notes §7.2).
func (o Options) Config(c Client) string {
	l := Layer{o}
	var b strings.Builder
	line := func(key string, values ...string) { fmt.Fprintf(&b, "%s = %s\n", key, strings.Join(values, ", ")) }
	var own, allowed, resolvers []string
	for _, a := range c.Peer.addresses() {
		own = append(own, single(a).String())
	}
	for _, a := range l.addresses() {
		allowed = append(allowed, netip.MustParsePrefix(a).Masked().String())
		resolvers = append(resolvers, bare(a))
	}
	if c.Full {
		// Both, also for a tunnel without IPv6: what does not go through the
		// tunnel would go around it.
		allowed = []string{"0.0.0.0/0", "::/0"}
	}
	b.WriteString("[Interface]\n")
	line("PrivateKey", c.PrivateKey)
	line("Address", own...)
	if o.DNS {
		line("DNS", resolvers...)
	}
	if o.MTU != 0 {
		line("MTU", fmt.Sprint(o.MTU))
	}
	b.WriteString("\n[Peer]\n")
	line("PublicKey", c.ServerKey)
	if c.PresharedKey != "" {
		line("PresharedKey", c.PresharedKey)
	}
	line("Endpoint", hostPort(c.Endpoint, l.listenPort()))
	line("AllowedIPs", allowed...)
	line("PersistentKeepalive", fmt.Sprint(ClientKeepalive))
	return b.String()
}

func hostPort(host string, port int) string {
	if a, err := netip.ParseAddr(host); err == nil {
		return netip.AddrPortFrom(a, uint16(port)).String()
	}
	return fmt.Sprintf("%s:%d", host, port)
}

// NextAddresses are the first ones of the server's subnets that nobody has;
// the second is empty when there is no address6. The error says that a subnet
// is full. The options are valid but for peers that may be missing.
func (o Options) NextAddresses() (address, address6 string, err error) {
	taken := map[netip.Addr]bool{}
	for _, p := range o.Peers {
		for _, a := range p.addresses() {
			if parsed, err := netip.ParseAddr(a); err == nil {
				taken[parsed] = true
			}
		}
	}
	var next []string
	for _, text := range (Layer{o}).addresses() {
		server := netip.MustParsePrefix(text)
		a, ok := free(server, taken)
		if !ok {
			return "", "", fmt.Errorf("the tunnel's subnet %s is full; remove a peer, or give the server a larger one", server.Masked())
		}
		next = append(next, a.String())
	}
	return next[0], strings.Join(next[1:], ""), nil
}

func free(server netip.Prefix, taken map[netip.Addr]bool) (netip.Addr, bool) {
	for a := server.Masked().Addr(); server.Contains(a); a = a.Next() {
		if a != server.Addr() && !reserved(server, a) && !taken[a] {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// PublicKey is what "wg pubkey" prints for a private key.
func PublicKey(private string) (string, error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSpace(private))
	if err != nil || len(raw) != keyBytes {
		return "", errors.New("it is not what wg genkey prints: 32 bytes in base64")
	}
	key, err := ecdh.X25519().NewPrivateKey(raw)
	if err != nil {
		return "", errors.New("it is not what wg genkey prints")
	}
	return base64.StdEncoding.EncodeToString(key.PublicKey().Bytes()), nil
}

// PresharedKeySlotOf is the slot of the key that the server shares with a peer.
func PresharedKeySlotOf(peer string) string { return PresharedKeySlot + peer }

// Find returns the position of the peer of that name, -1 when there is none.
func (o Options) Find(name string) int {
	return slices.IndexFunc(o.Peers, func(p Peer) bool { return p.Name == name })
}

// Addresses are the peer's in the tunnel.
func (p Peer) Addresses() []string { return p.addresses() }
