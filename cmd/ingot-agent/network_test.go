package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func acknowledgement(t *testing.T, options ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	ack, err := dhcpv4.New(options...)
	must(t, err)
	return ack
}

// The ways to a metadata service that leases know.
func TestRoutes(t *testing.T) {
	router := net.IPv4(192, 0, 2, 1).To4()
	host := func(ip net.IP) *net.IPNet { return &net.IPNet{IP: ip, Mask: net.CIDRMask(32, 32)} }
	for _, tc := range []struct {
		name string
		ack  *dhcpv4.DHCPv4
		want string
	}{
		{"router", acknowledgement(t, dhcpv4.WithOption(dhcpv4.OptRouter(router))), "0.0.0.0/0 via 192.0.2.1"},
		{"classless", acknowledgement(t, dhcpv4.WithOption(dhcpv4.OptRouter(net.IPv4(192, 0, 2, 9))), dhcpv4.WithOption(dhcpv4.OptClasslessStaticRoute(
			&dhcpv4.Route{Dest: host(router), Router: net.IPv4zero.To4()},
			&dhcpv4.Route{Dest: host(net.IPv4(169, 254, 169, 254).To4()), Router: router},
		))), "192.0.2.1/32 on the link, 169.254.169.254/32 via 192.0.2.1"},
		{"none", acknowledgement(t), "169.254.0.0/16 on the link"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, r := range routes(tc.ack) {
				line := r.Dst.String() + " on the link"
				if r.Gw != nil {
					line = r.Dst.String() + " via " + r.Gw.String()
				}
				got = append(got, line)
			}
			if strings.Join(got, ", ") != tc.want {
				t.Errorf("got %s", strings.Join(got, ", "))
			}
		})
	}
}

func TestPatience(t *testing.T) {
	if without, with := patienceFor(stamp{}), patienceFor(newStamp(hashA, nil)); without <= with {
		t.Errorf("a machine without an identity waits %v, with one %v", without, with)
	}
	// A card that is silent must not use up the time of the next.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	share, cancel := shareOf(ctx, 3)
	defer cancel()
	if end, _ := share.Deadline(); time.Until(end) > 20*time.Second {
		t.Errorf("the first of three cards has %v", time.Until(end))
	}
}

func TestWithoutIPv6(t *testing.T) {
	conf := t.TempDir()
	for _, name := range []string{"all", "default"} {
		write(t, conf+"/"+name+"/disable_ipv6", "0\n")
	}
	must(t, withoutIPv6(conf))
	for _, name := range []string{"all", "default"} {
		if got := read(t, conf+"/"+name+"/disable_ipv6"); got != "1\n" {
			t.Errorf("%s: %q", name, got)
		}
	}
	must(t, withoutIPv6(conf+"/none")) // a kernel without it
	must(t, os.RemoveAll(conf+"/all/disable_ipv6"))
	must(t, os.Mkdir(conf+"/all/disable_ipv6", 0o755))
	if err := withoutIPv6(conf); err == nil {
		t.Error("a machine that may have IPv6 addresses goes on")
	}
}

// The addresses of the network in enterNetwork.
const (
	routerAddress  = "192.0.2.1"
	machineAddress = "192.0.2.2"
)

// enterNetwork puts the test into a network namespace with one card, "card",
// and a provider's network at its other end: a router that leases an address
// and has the metadata address. It ends with the goroutine of the test.
func enterNetwork(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a network namespace of its own needs root")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("this root may not make a network namespace: %v", err)
	}
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "card"}, PeerName: "router"}
	if err := netlink.LinkAdd(pair); err != nil {
		t.Skipf("this kernel has no virtual cards: %v", err)
	}
	router, err := netlink.LinkByName("router")
	must(t, err)
	for _, a := range []string{routerAddress + "/24", metadataHost + "/32"} {
		address, err := netlink.ParseAddr(a)
		must(t, err)
		must(t, netlink.AddrAdd(router, address))
	}
	must(t, netlink.LinkSetUp(router))
	server, err := server4.NewServer("router", nil, leaseMachine)
	must(t, err)
	go server.Serve() //nolint:errcheck // ends with Close
	t.Cleanup(func() { server.Close() })
}

func leaseMachine(conn net.PacketConn, peer net.Addr, req *dhcpv4.DHCPv4) {
	kind := dhcpv4.MessageTypeOffer
	if req.MessageType() == dhcpv4.MessageTypeRequest {
		kind = dhcpv4.MessageTypeAck
	}
	ip := func(s string) net.IP { return net.ParseIP(s).To4() }
	reply, err := dhcpv4.NewReplyFromRequest(req, dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(ip(machineAddress)),
		dhcpv4.WithServerIP(ip(routerAddress)), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(ip(routerAddress))),
		dhcpv4.WithNetmask(net.CIDRMask(24, 32)), dhcpv4.WithRouter(ip(routerAddress)), dhcpv4.WithLeaseTime(3600))
	if err == nil {
		_, _ = conn.WriteTo(reply.ToBytes(), peer) // the client asks again
	}
}

// serveMetadata has h at an address of the router's.
func serveMetadata(t *testing.T, address string, h http.HandlerFunc) {
	t.Helper()
	l, err := net.Listen("tcp4", address) // in this thread's namespace
	must(t, err)
	server := &http.Server{Handler: h}
	go server.Serve(l) //nolint:errcheck // ends with Close
	t.Cleanup(func() { server.Close() })
}

// The whole way, with a card and without a machine: the card is taken, gets an
// address, the service is asked, nobody else is answered meanwhile, and the
// card comes back down and bare.
func TestAskMetadata(t *testing.T) {
	enterNetwork(t)
	var requests atomic.Int32
	probe := make(chan struct{})
	done := make(chan struct{})
	serveMetadata(t, metadataHost+":80", func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 1 {
			close(probe)
			<-done
		}
		if !strings.HasPrefix(r.RemoteAddr, machineAddress+":") {
			t.Errorf("asked from %s", r.RemoteAddr)
		}
		fmt.Fprint(w, goodConfig)
	})
	result := make(chan answer)
	here := fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
	go func() { result <- askInNamespace(t, here) }()
	select {
	case <-probe:
		expectSilence(t)
	case <-time.After(30 * time.Second):
		t.Error("the service was not asked")
	}
	close(done)
	a := <-result
	if string(a.Config) != goodConfig || a.URL != "http://169.254.169.254/openstack/latest/user_data" {
		t.Errorf("got %+v", a)
	}
	card, err := netlink.LinkByName("card")
	must(t, err)
	addresses, err := netlink.AddrList(card, netlink.FAMILY_ALL)
	must(t, err)
	if card.Attrs().Flags&net.FlagUp != 0 || len(addresses) > 0 {
		t.Errorf("the card came back with flags %v and addresses %v", card.Attrs().Flags, addresses)
	}
}

// askInNamespace asks from a thread that is put into the namespace at path.
func askInNamespace(t *testing.T, path string) answer {
	runtime.LockOSThread()
	f, err := os.Open(path)
	if err == nil {
		defer f.Close()
		err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
	}
	if err != nil {
		t.Error(err)
		return answer{}
	}
	a, err := metadata{patience: patienceWith}.askElsewhere(context.Background(), []string{"card"})
	if err != nil {
		t.Errorf("%v: %s", err, stderrOf(err))
	}
	return a
}

func stderrOf(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(exit.Stderr)
	}
	return ""
}

// expectSilence knocks at the machine. A kernel without the lock refuses a
// connection at once.
func expectSilence(t *testing.T) {
	t.Helper()
	for _, from := range []string{routerAddress, metadataHost} {
		d := net.Dialer{Timeout: time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		c, err := d.Dial("tcp4", machineAddress+":22")
		var timeout net.Error
		if c != nil || !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("knocking from %s: %v, want silence", from, err)
		}
	}
}

// A network without an answer, and one without a service, say so in time.
func TestAskMetadataInVain(t *testing.T) {
	enterNetwork(t)
	m := metadata{platform: "hetzner", patience: patience(5 * time.Second)}
	a, err := m.askElsewhere(context.Background(), []string{"card"})
	if err != nil || len(a.Problems) != 1 || a.Problems[0] != "card: hetzner: connect: connection refused" {
		t.Errorf("no service: %+v, %v %s", a, err, stderrOf(err))
	}
	router, err := netlink.LinkByName("router")
	must(t, err)
	must(t, netlink.LinkSetDown(router))
	a, err = m.askElsewhere(context.Background(), []string{"card"})
	if err != nil || len(a.Problems) != 1 || a.Problems[0] != "card: no answer to DHCP" {
		t.Errorf("no network: %+v, %v %s", a, err, stderrOf(err))
	}
}
