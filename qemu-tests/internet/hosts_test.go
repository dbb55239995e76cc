package internet

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/miekg/dns"
)

func TestDial(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{}, MachineOptions{})
	g := boot(t, m, nil)
	g.serveTCP(22)
	g.echoUDP(53)
	g.awaitSLAAC(m.IPv6())
	for family, addr := range families(m) {
		for name, from := range map[string]netip.Addr{"ordinary": {}, "chosen": map[bool]netip.Addr{true: netip.MustParseAddr("8.8.8.8"), false: netip.MustParseAddr("2a00::8")}[addr.Is4()]} {
			t.Run(family+" "+name, func(t *testing.T) {
				c, err := in.Dial(deadline(t), "tcp", from, netip.AddrPortFrom(addr, 22))
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if got := readAll(t, c); got != "hello" {
					t.Errorf("read %q over TCP", got)
				}
				if _, err := in.Dial(deadline(t), "tcp", from, netip.AddrPortFrom(addr, 23)); !errors.Is(err, syscall.ECONNREFUSED) {
					t.Errorf("dial of a closed port: %v, want connection refused", err)
				}
				u, err := in.Dial(deadline(t), "udp", from, netip.AddrPortFrom(addr, 53))
				if err != nil {
					t.Fatal(err)
				}
				defer u.Close()
				if got := exchange(t, u, "ping"); got != "ping" {
					t.Errorf("read %q over UDP", got)
				}
			})
		}
	}
}

// exchange sends a datagram until one comes back.
func exchange(t *testing.T, c net.Conn, message string) string {
	t.Helper()
	answer := make(chan string, 1)
	go func() {
		buf := make([]byte, 2000)
		n, _ := c.Read(buf)
		answer <- string(buf[:n])
	}()
	got := ""
	await(t, "a datagram", func() bool {
		_, _ = io.WriteString(c, message)
		select {
		case got = <-answer:
			return true
		default:
			return false
		}
	})
	return got
}

func TestDialRefusesAddressesThatAreTaken(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{}, MachineOptions{})
	to := netip.AddrPortFrom(m.IPv4(), 22)
	for what, from := range map[string]netip.Addr{"scanner": netip.MustParseAddr("45.79.1.1"), "machine": m.IPv4()} {
		if c, err := in.Dial(deadline(t), "tcp", from, to); err == nil {
			c.Close()
			t.Errorf("dial as the %s's address %v succeeded", what, from)
		}
		if l, err := in.Listen(netip.AddrPortFrom(from, 80)); err == nil {
			l.Close()
			t.Errorf("listen on the %s's address %v succeeded", what, from)
		}
	}
	if _, err := in.Dial(deadline(t), "tcp", netip.MustParseAddr("2a00::1"), to); err == nil || !strings.Contains(err.Error(), "one family") {
		t.Errorf("dial from IPv6 to IPv4: %v", err)
	}
	if _, err := in.Dial(deadline(t), "tcp", netip.Addr{}, netip.MustParseAddrPort("192.0.2.1:22")); err == nil {
		t.Error("dial of an address that no machine has succeeded")
	}
}

func TestListenAsAnyHost(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{}, MachineOptions{})
	g := boot(t, m, nil)
	g.awaitSLAAC(m.IPv6())
	for name, test := range map[string]struct{ listen, dial string }{
		"IPv4":         {"1.2.3.4:80", "1.2.3.4:80"},
		"IPv6":         {"[2a00::1]:80", "[2a00::1]:80"},
		"every host":   {"0.0.0.0:8080", "5.6.7.8:8080"},
		"every host 6": {"[::]:8080", "[2a00::7]:8080"},
		"same subnet":  {"203.0.113.77:81", "203.0.113.77:81"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := in.Listen(netip.MustParseAddrPort(test.listen))
			if err != nil {
				t.Fatal(err)
			}
			local := make(chan string, 1)
			served := make(chan error, 1)
			go func() {
				c, err := l.Accept()
				if err == nil {
					local <- c.LocalAddr().String()
					_, _ = io.WriteString(c, "hello")
					_ = c.Close()
					_, err = l.Accept()
				}
				served <- err
			}()
			c, err := g.dial(deadline(t), netip.MustParseAddrPort(test.dial))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if got := readAll(t, c); got != "hello" {
				t.Errorf("read %q", got)
			}
			if got := <-local; got != test.dial {
				t.Errorf("the server is %s, want %s", got, test.dial)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			if err := <-served; !errors.Is(err, net.ErrClosed) {
				t.Errorf("accept after close: %v, want %v", err, net.ErrClosed)
			}
		})
	}
}

func TestListenPacket(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{}, MachineOptions{})
	g := boot(t, m, nil)
	g.awaitSLAAC(m.IPv6())
	for _, addr := range []string{"1.2.3.4:500", "[2a00::1]:500"} {
		pc, err := in.ListenPacket(netip.MustParseAddrPort(addr))
		if err != nil {
			t.Fatal(err)
		}
		go echo(pc)
		c := g.dialUDP(netip.MustParseAddrPort(addr))
		if got := exchange(t, c, "question"); got != "question" {
			t.Errorf("read %q from %s", got, addr)
		}
		_ = c.Close()
		_ = pc.Close()
		if _, _, err := pc.ReadFrom(make([]byte, 10)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read after close: %v, want %v", err, net.ErrClosed)
		}
	}
	if _, err := in.ListenPacket(netip.MustParseAddrPort("0.0.0.0:53")); err == nil {
		t.Error("a datagram socket on every address was made, but it cannot answer")
	}
}

func TestUnknownPortsRefuse(t *testing.T) {
	t.Parallel()
	_, m := newInternet(t, Options{}, MachineOptions{})
	g := boot(t, m, nil)
	_, err := g.dial(deadline(t), netip.MustParseAddrPort("8.8.8.8:12345"))
	if !errors.Is(asErrno(err), syscall.ECONNREFUSED) {
		t.Errorf("dial of a host without this service: %v, want connection refused", err)
	}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{}, MachineOptions{})
	g := boot(t, m, nil)
	for _, body := range []string{"first", "second"} {
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, body+" "+r.URL.Path+" "+netip.MustParseAddrPort(r.RemoteAddr).Addr().String())
		})
		if err := in.SetMetadata(h); err != nil {
			t.Fatal(err)
		}
		if got, want := g.get(t, metadataAddr(), "/user-data"), body+" /user-data "+m.IPv4().String(); got != want {
			t.Errorf("metadata is %q, want %q", got, want)
		}
	}
	if err := in.SetMetadata(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := g.dial(deadline(t), metadataAddr()); !errors.Is(asErrno(err), syscall.ECONNREFUSED) {
		t.Errorf("without a handler: %v, want connection refused", err)
	}
}

// get fetches a page over one connection.
func (g *guest) get(t *testing.T, from netip.AddrPort, path string) string {
	t.Helper()
	c, err := g.dial(deadline(t), from)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.0\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	_, body, _ := cutHeader(readAll(t, c))
	return body
}

func TestDNS(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{}, MachineOptions{})
	g := boot(t, m, nil)
	g.awaitSLAAC(m.IPv6())
	if err := in.SetDNS("deb.example. 60 IN A 1.2.3.4\nwww.deb.example. CNAME deb.example."); err != nil {
		t.Fatal(err)
	}
	for _, server := range in.DNSAddrs() {
		for _, network := range []string{"udp", "tcp"} {
			for _, test := range []struct {
				name    string
				kind    uint16
				code    int
				answers int
			}{
				{"DEB.example.", dns.TypeA, dns.RcodeSuccess, 1},
				{"deb.example.", dns.TypeAAAA, dns.RcodeSuccess, 0},
				{"www.deb.example.", dns.TypeA, dns.RcodeSuccess, 2},
				{"evil.example.", dns.TypeA, dns.RcodeNameError, 0},
			} {
				t.Run(server.String()+" "+network+" "+test.name+dns.TypeToString[test.kind], func(t *testing.T) {
					var c net.Conn
					var err error
					if at := netip.AddrPortFrom(server, 53); network == "udp" {
						c = g.dialUDP(at)
					} else if c, err = g.dial(deadline(t), at); err != nil {
						t.Fatal(err)
					}
					defer c.Close()
					client := dns.Client{Net: network}
					reply, _, err := client.ExchangeWithConn(new(dns.Msg).SetQuestion(test.name, test.kind), &dns.Conn{Conn: c})
					if err != nil {
						t.Fatal(err)
					}
					if reply.Rcode != test.code || len(reply.Answer) != test.answers {
						t.Errorf("reply is %v, want code %d and %d answers", reply, test.code, test.answers)
					}
				})
			}
		}
	}
	if err := in.SetDNS("deb.example. 60 IN A not-an-address"); err == nil {
		t.Error("a broken record was taken")
	}
}
