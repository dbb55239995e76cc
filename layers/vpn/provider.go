package vpn

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Tunnel is one way to the VPN: an endpoint with what is needed to use it. A
// provider's file has one or several, in the order in which they are tried.
type Tunnel struct {
	Line         int    // of the file, where its [Peer] begins
	PrivateKey   string // base64, as the two others
	PublicKey    string // of the provider
	PresharedKey string // empty is none
	Endpoint     string // "host:port"
	Addresses    []netip.Prefix
	AllowedIPs   []netip.Prefix // what is routed into it
	DNS          []netip.Addr
	MTU          int // bytes; 0 is the default
	Keepalive    int // seconds
}

// Limits and defaults of a provider's file.
const (
	maxFile = 64 << 10 // bytes
	// defaultKeepalive keeps a NAT open and makes the age of a handshake say
	// something about a tunnel that nobody uses (wg(8) recommends 25).
	defaultKeepalive = 25
	// DefaultMTU is wg-quick's for an uplink of 1500 bytes, less the 80 that
	// WireGuard adds over IPv6.
	DefaultMTU = 1420
	minMTU     = 576 // RFC 791; 1280 with IPv6, RFC 8200 §5
	maxMTU     = 9000
)

// Parse reads what a VPN provider hands out: wg-quick's format (wg-quick(8),
// wg(8)). Several [Peer] sections, several Endpoint lines in one of them, and
// several files one after the other are endpoints to fall back to. Commands
// (PostUp and the like) are left out: nothing of the file runs. The error has all
// mistakes, each with its line, and no secret.
func Parse(data []byte) ([]Tunnel, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("it has %d bytes, and a WireGuard file has at most %d", len(data), maxFile)
	}
	p := parser{}
	for n, line := range bytes.Split(data, []byte("\n")) {
		p.number = n + 1
		p.line(string(line))
	}
	p.endPeer()
	if len(p.tunnels) == 0 && len(p.errs) == 0 {
		p.errs = append(p.errs, errors.New("it has no [Peer] with an Endpoint; put the file of the provider there as it is"))
	}
	return p.tunnels, errors.Join(p.errs...)
}

type parser struct {
	number  int
	section string
	device  Tunnel // of the last [Interface]
	peer    Tunnel
	open    bool     // peer is one
	ends    []string // its endpoints
	tunnels []Tunnel
	errs    []error
}

func (p *parser) wrong(line int, format string, a ...any) {
	p.errs = append(p.errs, fmt.Errorf("line %d: %s", line, fmt.Sprintf(format, a...)))
}

func (p *parser) line(text string) {
	text, _, _ = strings.Cut(text, "#")
	text = strings.TrimSpace(strings.TrimPrefix(text, "\ufeff"))
	if text == "" {
		return
	}
	if strings.HasPrefix(text, "[") {
		p.begin(text)
		return
	}
	key, value, ok := strings.Cut(text, "=")
	key, value = strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value)
	switch {
	case !ok:
		p.wrong(p.number, "this is neither a [section] nor KEY = VALUE") // not quoted: it may be a key
	case p.section == "interface":
		p.device.set(p, key, value)
	case p.section == "peer":
		p.setPeer(key, value)
	case p.section == "":
		p.wrong(p.number, "%s comes before any section; the file begins with [Interface]", clip(key))
	}
}

func (p *parser) begin(header string) {
	p.endPeer()
	p.section = strings.ToLower(strings.Trim(header, "[] \t"))
	switch p.section {
	case "interface":
		p.device = Tunnel{Line: p.number}
	case "peer":
		p.peer, p.open, p.ends = p.device, true, nil
		p.peer.Line, p.peer.Keepalive = p.number, defaultKeepalive
		if p.device.Line == 0 {
			p.wrong(p.number, "this [Peer] has no [Interface] before it")
		}
	default:
		p.wrong(p.number, "there is no section %s; there are [Interface] and [Peer]", clip(header))
	}
}

// set is a line of [Interface].
func (t *Tunnel) set(p *parser, key, value string) {
	switch key {
	case "privatekey":
		t.PrivateKey = p.key(key, value)
	case "address":
		for _, item := range list(value) {
			prefix, err := parsePrefix(item)
			if err != nil {
				p.wrong(p.number, "%q is not an address", clip(item))
				continue
			}
			t.Addresses = append(t.Addresses, prefix)
		}
	case "dns":
		for _, item := range list(value) {
			// What is no address is a search domain, which nobody needs here.
			if a, err := netip.ParseAddr(item); err == nil && !slices.Contains(t.DNS, a) {
				t.DNS = append(t.DNS, a)
			}
		}
	case "mtu":
		t.MTU = p.within(key, value, minMTU, maxMTU)
	case "listenport", "fwmark", "table", "saveconfig", "preup", "postup", "predown", "postdown", "jc", "jmin", "jmax":
		// The namespace does what these are for.
	default:
		p.wrong(p.number, "[Interface] has no key %s", clip(key))
	}
}

func (p *parser) setPeer(key, value string) {
	t := &p.peer
	switch key {
	case "publickey":
		t.PublicKey = p.key(key, value)
	case "presharedkey":
		t.PresharedKey = p.key(key, value)
	case "endpoint":
		if message := endpointProblem(value); message != "" {
			p.wrong(p.number, "%s; write the provider's, such as vpn.example.com:51820", message)
			return
		}
		p.ends = append(p.ends, value)
	case "allowedips":
		for _, item := range list(value) {
			prefix, err := parsePrefix(item)
			if err != nil {
				p.wrong(p.number, "%q is not a subnet", clip(item))
				continue
			}
			t.AllowedIPs = append(t.AllowedIPs, prefix.Masked())
		}
	case "persistentkeepalive":
		if value != "off" && value != "0" {
			t.Keepalive = p.within(key, value, 1, 65535)
		}
	default:
		p.wrong(p.number, "[Peer] has no key %s", clip(key))
	}
}

// endPeer makes tunnels of a [Peer], one for each of its endpoints.
func (p *parser) endPeer() {
	if !p.open {
		return
	}
	p.open = false
	t := p.peer
	for _, need := range []struct{ what, have string }{
		{"[Interface] before it has no PrivateKey", t.PrivateKey}, {"[Peer] has no PublicKey", t.PublicKey}, {"[Peer] has no Endpoint", strings.Join(p.ends, " ")},
	} {
		// What was wrong in a line was said there.
		if need.have == "" && len(p.errs) == 0 {
			p.wrong(t.Line, "the %s", need.what)
		}
	}
	if len(t.Addresses) == 0 && len(p.errs) == 0 {
		p.wrong(t.Line, "the [Interface] before it has no Address")
	}
	if len(t.AllowedIPs) == 0 {
		t.AllowedIPs = []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
	}
	if t.HasIPv6() && t.MTU != 0 && t.MTU < 1280 {
		p.wrong(t.Line, "an MTU of %d is too small for IPv6, which needs 1280", t.MTU)
	}
	for _, e := range p.ends {
		t.Endpoint = e
		p.tunnels = append(p.tunnels, t)
	}
}

// HasIPv6 reports whether there is IPv6 in the tunnel.
func (t Tunnel) HasIPv6() bool {
	return slices.ContainsFunc(t.Addresses, func(a netip.Prefix) bool { return a.Addr().Is6() })
}

// key takes a WireGuard key and never quotes it.
func (p *parser) key(key, value string) string {
	if raw, err := base64.StdEncoding.Strict().DecodeString(value); err != nil || len(raw) != 32 {
		p.wrong(p.number, "%s is not a WireGuard key: 32 bytes in base64, 44 characters", key)
		return ""
	}
	return value
}

func (p *parser) within(key, value string, low, high int) int {
	n, err := strconv.Atoi(value)
	if err != nil || n < low || n > high {
		p.wrong(p.number, "%s is a number from %d to %d", key, low, high)
		return 0
	}
	return n
}

func endpointProblem(text string) string {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return fmt.Sprintf("%q is not a host with a port", clip(text))
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fmt.Sprintf("%q is not a port", clip(port))
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() {
			return fmt.Sprintf("%s is no host of the internet", a)
		}
		return ""
	}
	for _, r := range host {
		if r != '.' && r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			return fmt.Sprintf("%q is not the name of a host", clip(host))
		}
	}
	if host == "" || len(host) > 253 {
		return fmt.Sprintf("%q is not the name of a host", clip(host))
	}
	return ""
}

// parsePrefix takes an address without a length for that one.
func parsePrefix(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return netip.ParsePrefix(text)
}

func list(value string) []string {
	var items []string
	for item := range strings.SplitSeq(value, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

// clip cuts a value to what fits into a message.
func clip(s string) string {
	if runes := []rune(s); len(runes) > 60 {
		return string(runes[:59]) + "…"
	}
	return s
}
