package live

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"ingot/layers"
	"ingot/layers/wireguard"
	"ingot/qemu-tests/verdict"
)

// What answers a stranger must be declared for the internet; a port that is for peers
// only is not.
func TestOutside(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	for from, wrong := range map[layers.From]bool{layers.FromInternet: false, layers.FromWireGuard: true} {
		plan := layers.Plan{Ports: []layers.Port{{Proto: "tcp", Port: port, From: from}}}
		r := outside(t.Context(), plan, netip.MustParseAddr("127.0.0.1"))
		// Other programs of this host may answer as well.
		if got := strings.Contains(r.Problem, strconv.Itoa(port)); got != wrong || wrong && r.Result != verdict.Failed {
			t.Errorf("from %v: %s, %q", from, r.Result, r.Problem)
		}
		if !strings.Contains(r.Evidence, strconv.Itoa(port)) {
			t.Errorf("from %v: the open port was not seen: %s", from, r.Evidence)
		}
	}
}

// A machine that is not there is an error that says how long it was waited for.
func TestNobodyThere(t *testing.T) {
	t.Parallel()
	private, _, err := wireguard.NewKeyPair(strings.NewReader(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	_, public, err := wireguard.NewKeyPair(strings.NewReader(strings.Repeat("p", 32)))
	if err != nil {
		t.Fatal(err)
	}
	client := "[Interface]\nPrivateKey = " + private + "\nAddress = 10.8.0.2/32\n[Peer]\nPublicKey = " + public + "\nEndpoint = my-server.invalid:51820\nAllowedIPs = 10.8.0.0/24\n"
	o := Options{
		Plan:   layers.Plan{Ports: []layers.Port{{Proto: "udp", Port: 51820, From: layers.FromInternet, Silent: true}}},
		Client: []byte(client), Server: netip.MustParseAddr("127.0.0.1"), Inner: netip.MustParseAddr("10.8.0.1"), Patience: 200 * time.Millisecond,
	}
	_, err = Prove(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "no WireGuard handshake with 127.0.0.1:51820: it did not answer within 200ms") {
		t.Errorf("%v", err)
	}
	o.Client = []byte(strings.Replace(client, private, "short", 1))
	if _, err := Prove(t.Context(), o); err == nil || !strings.Contains(err.Error(), "the client's config: line 2") || strings.Contains(err.Error(), "short") {
		t.Errorf("a broken key: %v", err)
	}
}

// Nothing is learnt about an address that no packet gets to: it does not count as closed.
func TestRouted(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{"127.0.0.1": true, "fe80::1": false} {
		if got := routed(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %v, want %v", address, got, want)
		}
	}
}
