package wireguard

import (
	"fmt"
	"net/netip"
	"regexp"

	"ingot/layers"
)

// nameShape is a peer's name: it appears in file names and comments.
const nameShape = `^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`

// hostShape is a DNS name (RFC 1123 §2.1) as it may stand in a client's config.
const hostShape = `^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$`

// Limits of MTU in bytes: IPv6 works from 1280 on (RFC 8200 §5), and jumbo
// frames end at 9000.
const (
	minMTU = 1280
	maxMTU = 9000
)

// maxKeepalive is the largest number of seconds that WireGuard takes (wg(8)).
const maxKeepalive = 65535

// Validate implements [layers.Layer].
func (l Layer) Validate(layers.Site) []layers.Finding {
	v := validator{}
	o := l.Options
	if p := o.ListenPort; p < 0 || p > 65535 {
		v.report(fmt.Sprintf("%d is not a port", p), "use a number from 1 to 65535, or leave it out for 51820", "listenPort")
	}
	if o.MTU != 0 && (o.MTU < minMTU || o.MTU > maxMTU) {
		v.report(fmt.Sprintf("%d bytes cannot be the size of a packet in the tunnel", o.MTU), fmt.Sprintf("use a number from %d to %d, or leave it out", minMTU, maxMTU), "mtu")
	}
	if o.Endpoint != "" {
		if message := EndpointProblem(o.Endpoint); message != "" {
			v.report(message, "write the server's public name or address without a port, such as claw.example.com", "endpoint")
		}
	}
	servers := []netip.Prefix{v.server(l.address(), "address", "10.8.0.1/24"), v.server6(o)}
	if servers[0].IsValid() && servers[1].IsValid() && servers[0].Overlaps(servers[1]) {
		v.report(fmt.Sprintf("it overlaps the subnet %s of address", servers[0].Masked()), "use one subnet of IPv4 and one of IPv6", "address6")
	}
	if len(o.Peers) == 0 {
		v.findings = append(v.findings, layers.Finding{
			Path: []any{"peers"}, Missing: true, Message: "nobody would be able to connect: the tunnel has no peers",
			Advice: "add one: peers: [{name: laptop, address: 10.8.0.2, publicKey: …}]",
		})
	}
	for i, p := range o.Peers {
		v.peer(i, p, servers, o)
	}
	return v.findings
}

// EndpointProblem says why a text is no place that a client could connect to.
func EndpointProblem(host string) string {
	if a, err := netip.ParseAddr(host); err == nil {
		if !ordinary(a) {
			return fmt.Sprintf("%s cannot be the public address of a server", a)
		}
		return ""
	}
	if len(host) > 253 || !regexp.MustCompile(hostShape).MatchString(host) {
		return fmt.Sprintf("%q is neither a host name nor an address", clip(host))
	}
	return ""
}

// clip cuts a value to what fits into a message.
func clip(s string) string {
	if runes := []rune(s); len(runes) > 60 {
		return string(runes[:59]) + "…"
	}
	return s
}

type validator struct{ findings []layers.Finding }

func (v *validator) report(message, advice string, path ...any) {
	v.findings = append(v.findings, layers.Finding{Path: path, Message: message, Advice: advice})
}

// server checks the server's address; the result is invalid when it is wrong.
func (v *validator) server(text, key, like string) netip.Prefix {
	example := "write the server's address and the length of the subnet, such as " + like
	prefix, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		v.report(fmt.Sprintf("%q is not an address with a length", clip(text)), example, key)
	case !ordinary(prefix.Addr()):
		v.report(fmt.Sprintf("%s cannot be the address of a machine", prefix.Addr()), example, key)
	case prefix.IsSingleIP() || prefix.Addr().BitLen()-prefix.Bits() < 2:
		v.report(fmt.Sprintf("the subnet %s has no room for peers", prefix.Masked()), "use a larger one, such as "+like, key)
	case reserved(prefix, prefix.Addr()):
		v.report(fmt.Sprintf("%s is the network's own or its broadcast address", prefix.Addr()), example, key)
	default:
		return prefix
	}
	return netip.Prefix{}
}

// server6 checks the second address.
func (v *validator) server6(o Options) netip.Prefix {
	const like = "fd00:8::1/64"
	if o.Address6 == "" {
		return netip.Prefix{}
	}
	if prefix, err := netip.ParsePrefix(o.Address6); err == nil && !prefix.Addr().Is6() {
		v.report(fmt.Sprintf("%s is not an address of IPv6", prefix.Addr()), "write the one of IPv4 as address, and here one such as "+like, "address6")
		return netip.Prefix{}
	}
	return v.server(o.Address6, "address6", like)
}

// ordinary reports an address that a machine can have in a tunnel.
func ordinary(a netip.Addr) bool {
	return a.Zone() == "" && !a.Is4In6() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && !a.IsLinkLocalUnicast()
}

// reserved reports the first and, with IPv4, the last address of a subnet.
func reserved(subnet netip.Prefix, a netip.Addr) bool {
	if a == subnet.Masked().Addr() {
		return true
	}
	return a.Is4() && !subnet.Contains(a.Next())
}

func (v *validator) peer(i int, p Peer, servers []netip.Prefix, o Options) {
	if message := PeerNameProblem(p.Name); message != "" {
		v.report(message, "use up to 32 lower-case letters, digits and dashes, such as laptop", "peers", i, "name")
	}
	v.address(i, p.Address, "address", servers[0])
	switch {
	case p.Address6 == "":
	case o.Address6 == "":
		v.report("the server has no address6 that this one could reach", "add address6 to the layer, such as fd00:8::1/64, or leave it out here", "peers", i, "address6")
	default:
		v.address(i, p.Address6, "address6", servers[1])
	}
	if message, advice := publicKeyProblem(p.PublicKey, p.Verified); message != "" {
		v.report(message, advice, "peers", i, "publicKey")
	}
	if p.Keepalive < 0 || p.Keepalive > maxKeepalive {
		v.report(fmt.Sprintf("%d is not a number of seconds that WireGuard takes", p.Keepalive), fmt.Sprintf("use a number from 1 to %d, or leave it out", maxKeepalive), "peers", i, "keepalive")
	}
	v.duplicates(i, p, o.Peers[:i])
}

// PeerNameProblem says why a text is no peer name.
func PeerNameProblem(name string) string {
	if !regexp.MustCompile(nameShape).MatchString(name) {
		return fmt.Sprintf("%q is not a peer name", clip(name))
	}
	return ""
}

func (v *validator) address(i int, text, key string, server netip.Prefix) {
	example := "write one address of the subnet without a length, such as 10.8.0.2"
	if server.IsValid() {
		example = "write one address of the subnet without a length, such as " + second(server).String()
	}
	address, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		v.report(fmt.Sprintf("%q is not an address", clip(text)), example, "peers", i, key)
	case !server.IsValid():
		// the server's address is wrong and already reported
	case !server.Contains(address):
		v.report(fmt.Sprintf("%s is not in the tunnel's subnet %s", address, server.Masked()), example, "peers", i, key)
	case address == server.Addr():
		v.report(fmt.Sprintf("%s is the server's own address", address), "give the peer another address of the subnet", "peers", i, key)
	case reserved(server, address):
		v.report(fmt.Sprintf("%s is the network's own or its broadcast address", address), example, "peers", i, key)
	}
}

// second is the subnet's second address, for examples.
func second(subnet netip.Prefix) netip.Addr { return subnet.Masked().Addr().Next().Next() }

func (v *validator) duplicates(i int, p Peer, before []Peer) {
	for j, other := range before {
		if p.Name != "" && p.Name == other.Name {
			v.report(fmt.Sprintf("peers[%d] has the same name", j), "give every peer a name of its own", "peers", i, "name")
		}
		if sameAddress(p.Address, other.Address) {
			v.report(fmt.Sprintf("peers[%d] has the same address", j), "give every peer an address of its own", "peers", i, "address")
		}
		if sameAddress(p.Address6, other.Address6) {
			v.report(fmt.Sprintf("peers[%d] has the same address", j), "give every peer an address of its own", "peers", i, "address6")
		}
		if p.PublicKey != "" && p.PublicKey == other.PublicKey {
			v.report(fmt.Sprintf("peers[%d] has the same public key", j), "give every device a key pair of its own", "peers", i, "publicKey")
		}
	}
}

func sameAddress(a, b string) bool {
	x, errX := netip.ParseAddr(a)
	y, errY := netip.ParseAddr(b)
	return errX == nil && errY == nil && x == y
}
