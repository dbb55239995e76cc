package wireguard

import (
	"fmt"
	"net/netip"
	"regexp"

	"ingot/layers"
)

// nameShape is a peer's name: it appears in file names and comments.
const nameShape = `^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`

// Validate implements [layers.Layer].
func (l Layer) Validate(layers.Site) []layers.Finding {
	v := validator{}
	if p := l.Options.ListenPort; p < 0 || p > 65535 {
		v.report(fmt.Sprintf("%d is not a port", p), "use a number from 1 to 65535, or leave it out for 51820", "listenPort")
	}
	server := v.server(l.address())
	if len(l.Options.Peers) == 0 {
		v.findings = append(v.findings, layers.Finding{
			Path: []any{"peers"}, Missing: true, Message: "nobody would be able to connect: the tunnel has no peers",
			Advice: "add one: peers: [{name: laptop, address: 10.8.0.2, publicKey: …}]",
		})
	}
	for i, p := range l.Options.Peers {
		v.peer(i, p, server, l.Options.Peers[:i])
	}
	return v.findings
}

type validator struct{ findings []layers.Finding }

func (v *validator) report(message, advice string, path ...any) {
	v.findings = append(v.findings, layers.Finding{Path: path, Message: message, Advice: advice})
}

// server checks the server's address; the result is invalid when it is wrong.
func (v *validator) server(text string) netip.Prefix {
	const example = "write the server's address and the length of the subnet, such as 10.8.0.1/24"
	prefix, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		v.report(fmt.Sprintf("%q is not an address with a length", text), example, "address")
	case !ordinary(prefix.Addr()):
		v.report(fmt.Sprintf("%s cannot be the address of a machine", prefix.Addr()), example, "address")
	case prefix.IsSingleIP() || prefix.Addr().BitLen()-prefix.Bits() < 2:
		v.report(fmt.Sprintf("the subnet %s has no room for peers", prefix.Masked()), "use a larger one, such as 10.8.0.1/24", "address")
	case reserved(prefix, prefix.Addr()):
		v.report(fmt.Sprintf("%s is the network's own or its broadcast address", prefix.Addr()), example, "address")
	default:
		return prefix
	}
	return netip.Prefix{}
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

func (v *validator) peer(i int, p Peer, server netip.Prefix, before []Peer) {
	if !regexp.MustCompile(nameShape).MatchString(p.Name) {
		v.report(fmt.Sprintf("%q is not a peer name", p.Name), "use up to 32 lower-case letters, digits and dashes, such as laptop", "peers", i, "name")
	}
	v.address(i, p, server)
	if message, advice := publicKeyProblem(p.PublicKey, p.Verified); message != "" {
		v.report(message, advice, "peers", i, "publicKey")
	}
	v.duplicates(i, p, before)
}

func (v *validator) address(i int, p Peer, server netip.Prefix) {
	const example = "write one address of the subnet without a length, such as 10.8.0.2"
	address, err := netip.ParseAddr(p.Address)
	switch {
	case err != nil:
		v.report(fmt.Sprintf("%q is not an address", p.Address), example, "peers", i, "address")
	case !server.IsValid():
		// the server's address is wrong and already reported
	case !server.Contains(address):
		v.report(fmt.Sprintf("%s is not in the tunnel's subnet %s", address, server.Masked()), example, "peers", i, "address")
	case address == server.Addr():
		v.report(fmt.Sprintf("%s is the server's own address", address), "give the peer another address of the subnet", "peers", i, "address")
	case reserved(server, address):
		v.report(fmt.Sprintf("%s is the network's own or its broadcast address", address), example, "peers", i, "address")
	}
}

func (v *validator) duplicates(i int, p Peer, before []Peer) {
	for j, other := range before {
		if p.Name != "" && p.Name == other.Name {
			v.report(fmt.Sprintf("peers[%d] has the same name", j), "give every peer a name of its own", "peers", i, "name")
		}
		if sameAddress(p.Address, other.Address) {
			v.report(fmt.Sprintf("peers[%d] has the same address", j), "give every peer an address of its own", "peers", i, "address")
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
