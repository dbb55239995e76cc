package main

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// networkConfig is of the form that Hetzner's metadata service answers with.
const networkConfig = `config:
- mac_address: 96:00:00:01:02:03
  name: eth0
  subnets:
  - dns_nameservers:
    - 192.0.2.53
    ipv4: true
    type: dhcp
  - address: 2001:db8:0:1::1/64
    gateway: fe80::1
    ipv6: true
    type: static
  type: physical
version: 1
`

var card = net.HardwareAddr{0x96, 0, 0, 1, 2, 3}

func TestParseNetworkConfig(t *testing.T) {
	with := func(old, new string) string { return strings.Replace(networkConfig, old, new, 1) }
	for _, tc := range []struct{ name, text, want, err string }{
		{name: "Hetzner's", text: networkConfig, want: "2001:db8:0:1::1/64 via fe80::1"},
		{name: "capitals", text: with("96:00:00:01:02:03", "96-00-00-01-02-03"), want: "2001:db8:0:1::1/64 via fe80::1"},
		{name: "no gateway", text: with("    gateway: fe80::1\n", ""), want: "2001:db8:0:1::1/64 via invalid IP"},
		{name: "another card's", text: with("01:02:03", "01:02:04")},
		{name: "DHCP only", text: with("type: static", "type: dhcp6")},
		{name: "IPv4 only", text: with("2001:db8:0:1::1/64", "192.0.2.7/32")},
		{name: "no cards", text: "version: 1\n"},
		{name: "another version", text: with("version: 1", "version: 2"), err: "its version is 2 and not 1"},
		{name: "not YAML", text: "<html>: [", err: "it is not YAML of the expected form"},
		{name: "no prefix length", text: with("::1/64", "::1"), err: `"2001:db8:0:1::1" is no IPv6 address with its prefix length`},
		{name: "link-local", text: with("2001:db8:0:1::1/64", "fe80::2/64"), err: `"fe80::2/64" is no IPv6 address with its prefix length`},
		{name: "a line more", text: with("fe80::1", `"fe80::1\n[Match]"`), err: `"fe80::1\n[Match]" is no IPv6 address of a gateway`},
		{name: "a zone", text: with("fe80::1", `"fe80::1%\n"`), err: `"fe80::1%\n" is no IPv6 address of a gateway`},
		{name: "an IPv4 gateway", text: with("fe80::1", "192.0.2.1"), err: `"192.0.2.1" is no IPv6 address of a gateway`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			list, err := parseNetworkConfig([]byte(tc.text), card)
			var got []string
			for _, g := range list {
				got = append(got, fmt.Sprintf("%s via %s", g.address, g.gateway))
			}
			if s := strings.Join(got, ", "); s != tc.want || message(err) != tc.err {
				t.Errorf("%q, %v", s, err)
			}
		})
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// What the console says, and what networkd gets.
func TestUplink(t *testing.T) {
	enterInitrd(t)
	write(t, uplinkFile, "[Match]\nType=ether\n\n[Network]\nDHCP=yes\n")
	for _, tc := range []struct {
		answer answer
		want   string
	}{
		{answer{Card: card}, ""},
		{answer{Card: card, Network: []byte("version: 1\n")}, ""},
		{answer{Card: card, NetworkProblem: "HTTP status 500"}, "no IPv6 address from the metadata service: network-config: HTTP status 500"},
		{answer{Card: card, Network: []byte("version: 7\n")}, "no IPv6 address from the metadata service: network-config: its version is 7 and not 1"},
	} {
		if got := tc.answer.uplink(); got != tc.want || exists(givenFile) {
			t.Errorf("%q, want %q; a file: %v", got, tc.want, exists(givenFile))
		}
	}
	if got := (answer{Card: card, Network: []byte(networkConfig)}).uplink(); got != "IPv6 address 2001:db8:0:1::1/64 from the metadata service" {
		t.Error(got)
	}
	const want = `[Match]
Type=ether

[Network]
DHCP=yes

[Match]
MACAddress=96:00:00:01:02:03

[Network]
Address=2001:db8:0:1::1/64

[Route]
Gateway=fe80::1
GatewayOnLink=yes
`
	if got := read(t, givenFile); got != want {
		t.Errorf("networkd gets\n%s", got)
	}
}

// A service that has user-data and trouble with the rest.
func TestAskNetwork(t *testing.T) {
	for _, tc := range []struct {
		name    string
		serve   func(n int, w http.ResponseWriter) // of the answers about the network
		want    string
		problem string
		asked   int
	}{
		{"has it", func(_ int, w http.ResponseWriter) { fmt.Fprint(w, networkConfig) }, networkConfig, "", 1},
		{"has none", func(_ int, w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) }, "", "", 1},
		{"has it at last", func(n int, w http.ResponseWriter) {
			if n < 3 {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			fmt.Fprint(w, networkConfig)
		}, networkConfig, "", 3},
		{"fails", func(_ int, w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) }, "", "HTTP status 502", 3},
		{"forbids", func(_ int, w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden) }, "", "HTTP status 403", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, asked := askFor(t, "hetzner", time.Minute, func(n int, w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/hetzner/v1/userdata" {
					fmt.Fprint(w, goodConfig)
					return
				}
				tc.serve(n-1, w)
			})
			if string(a.Config) != goodConfig || string(a.Network) != tc.want || a.NetworkProblem != tc.problem || len(asked) != 1+tc.asked {
				t.Errorf("%+v after %q", a, asked)
			}
		})
	}
}

func FuzzNetworkConfig(f *testing.F) {
	f.Add(networkConfig)
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseNetworkConfig([]byte(text), card)
		for _, g := range list {
			if err != nil || !g.address.IsValid() || strings.ContainsAny(g.address.String()+g.gateway.String(), "\n%") {
				t.Errorf("%+v, %v", g, err)
			}
		}
	})
}
