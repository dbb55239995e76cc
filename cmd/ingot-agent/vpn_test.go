package main

import (
	"encoding/base64"
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"ingot/layers/vpn"
)

func tunnels(endpoints ...string) []vpn.Tunnel {
	var list []vpn.Tunnel
	for _, e := range endpoints {
		list = append(list, vpn.Tunnel{Endpoint: e})
	}
	return list
}

// An endpoint has its time to answer, and is kept until its last handshake is too
// old, whatever the machine's clock says of it.
func TestFailover(t *testing.T) {
	start := time.Now()
	at := func(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }
	f := newFailover(tunnels("a:1", "b:1"), start)
	if f.look(0, at(19)) || !f.look(0, at(21)) {
		t.Error("a first handshake has 20 s")
	}
	f.next(at(21))
	if f.current().Endpoint != "b:1" || f.look(0, at(40)) {
		t.Error("the second endpoint has no time of its own")
	}
	// The clock is set forward by a year between two looks: nothing but a change.
	for _, look := range []struct {
		stamp  int64
		at     float64
		silent bool
	}{{1000, 41, false}, {1000, 200, false}, {31_537_000, 220, false}, {31_537_000, 399, false}, {31_537_000, 401, true}} {
		if got := f.look(look.stamp, at(look.at)); got != look.silent {
			t.Errorf("at %v s: silent is %v", look.at, got)
		}
	}
	if got := f.status(at(230)).text(); !strings.Contains(got, "b:1") || !strings.Contains(got, "(2 of 2)") {
		t.Errorf("status %s", got)
	}
	f.next(at(401))
	if f.current().Endpoint != "a:1" || f.round() != 1 || f.status(at(402)).HandshakeSeconds != -1 {
		t.Error("after the last endpoint comes the first, without a handshake")
	}
}

func TestPrintVPN(t *testing.T) {
	file := filepath.Join(t.TempDir(), "status.json")
	if err := printVPN(&strings.Builder{}, file, time.Now()); err == nil || !strings.Contains(err.Error(), vpn.LinkUnit) {
		t.Errorf("without the service: %v", err)
	}
	for _, c := range []struct {
		status vpnStatus
		later  time.Duration
		want   string // of the error; empty: none
	}{
		{vpnStatus{"a:1", "192.0.2.1:1", 1, 2, 30}, 0, ""},
		{vpnStatus{"a:1", "192.0.2.1:1", 1, 2, 181}, 0, "last handshake 181 s ago"},
		{vpnStatus{"a:1", "192.0.2.1:1", 1, 2, -1}, 0, "no answer yet"},
		{vpnStatus{"a:1", "", 1, 2, -1}, 0, "the name has no address"},
		{vpnStatus{"a:1", "192.0.2.1:1", 1, 2, 30}, time.Minute, "nobody watches"},
	} {
		b, err := json.Marshal(c.status)
		must(t, err)
		must(t, os.WriteFile(file, b, 0o600))
		var out strings.Builder
		err = printVPN(&out, file, time.Now().Add(c.later))
		switch {
		case c.want == "" && (err != nil || out.String() != "a:1 at 192.0.2.1:1 (1 of 2): last handshake 30 s ago\n"):
			t.Errorf("%+v: %q, %v", c.status, out.String(), err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%+v: %v, want %s", c.status, err, c.want)
		}
	}
}

func TestUseOptions(t *testing.T) {
	list := tunnels("a:1")
	list[0].DNS = []netip.Addr{netip.MustParseAddr("10.0.0.1")}
	must(t, useOptions(list, []byte(`{"dns":null}`)))
	if list[0].DNS[0].String() != "10.0.0.1" {
		t.Error("the provider's resolver is gone")
	}
	must(t, useOptions(list, []byte(`{"dns":["10.9.9.9"]}`)))
	if len(list[0].DNS) != 1 || list[0].DNS[0].String() != "10.9.9.9" {
		t.Error("ingot.yaml's resolver is not used")
	}
}

// The kernel's own WireGuard, moved into a namespace: it has the tunnel and lo, and
// its socket is outside.
func TestVPNLink(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, for namespaces with a name")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	outside, err := netns.New()
	must(t, err)
	t.Cleanup(func() { _ = outside.Close() })
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "probe0"
	if err := netlink.LinkAdd(&netlink.Wireguard{LinkAttrs: attrs}); err != nil {
		t.Skipf("the kernel has no WireGuard here (the assay boots one that has): %v", err)
	}
	if _, err := exec.LookPath("wg"); err != nil {
		t.Skip("wg is not installed here")
	}
	inside, err := netns.New()
	must(t, err)
	must(t, netns.Set(outside))
	ns := &namespace{handle: inside}
	defer ns.close()
	key := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for round := range 2 { // the second takes the place of what is left
		link, err := ns.addLink()
		must(t, err)
		if _, err := netlink.LinkByName(vpn.Interface); err == nil {
			t.Fatal("the interface is outside")
		}
		tunnel := vpn.Tunnel{
			PrivateKey: key, PublicKey: base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef")), Keepalive: 25,
			Addresses:  []netip.Prefix{netip.MustParsePrefix("10.64.0.2/32")},
			AllowedIPs: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")},
		}
		must(t, link.configure(t.Context(), tunnel, "192.0.2.1:51820"))
		tunnel.Addresses[0] = netip.MustParsePrefix("10.65.0.2/32")
		must(t, link.configure(t.Context(), tunnel, "192.0.2.1:51820"))
		if stamp, err := link.lastHandshake(t.Context()); err != nil || stamp != 0 {
			t.Errorf("round %d: handshake %d, %v", round, stamp, err)
		}
		addresses, err := link.handle.AddrList(link.link, netlink.FAMILY_ALL)
		must(t, err)
		if len(addresses) != 1 || addresses[0].IP.String() != "10.65.0.2" {
			t.Errorf("addresses %v", addresses)
		}
		routes, err := link.handle.RouteGet(net.IPv4(198, 51, 100, 1))
		if err != nil || len(routes) != 1 || routes[0].LinkIndex != link.link.Attrs().Index {
			t.Errorf("the way out: %v, %v", routes, err)
		}
		must(t, link.handle.LinkDel(link.link))
		if _, err := link.lastHandshake(t.Context()); err == nil {
			t.Error("nobody notices that the interface is gone")
		}
	}
}
