package internet

import (
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
)

// outsider is a host with a netstack of its own; its Read and Write are the
// packets it sends and gets.
type outsider struct {
	*hosts
	ctx  context.Context
	stop context.CancelFunc
}

func newOutsider(t *testing.T, addrs ...netip.Addr) outsider {
	t.Helper()
	h, err := newHosts(1500)
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range addrs {
		if err := h.addAddress(addr); err != nil {
			t.Fatal(err)
		}
	}
	o := outsider{hosts: h}
	o.ctx, o.stop = context.WithCancel(context.Background())
	return o
}

func (o outsider) Read(p []byte) (int, error) {
	packet := o.read(o.ctx)
	if packet == nil {
		return 0, io.EOF
	}
	return copy(p, packet), nil
}

func (o outsider) Write(p []byte) (int, error) { o.inject(p); return len(p), nil }
func (o outsider) Close() error                { o.stop(); return nil }

func TestAttach(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{}, MachineOptions{})
	g := boot(t, m, nil)
	g.serveTCP(22)
	g.awaitSLAAC(m.IPv6())
	own := map[string]netip.Addr{"IPv4": netip.MustParseAddr("45.80.0.7"), "IPv6": netip.MustParseAddr("2600:3c03::7")}
	o := newOutsider(t, own["IPv4"], own["IPv6"])
	leave, err := in.Attach(o, own["IPv4"], own["IPv6"])
	if err != nil {
		t.Fatal(err)
	}
	site := netip.MustParseAddrPort("45.81.0.1:22")
	l, err := in.Listen(site)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "hello")
			_ = c.Close()
		}
	}()
	targets := []netip.AddrPort{site}
	for _, addr := range families(m) {
		targets = append(targets, netip.AddrPortFrom(addr, 22))
	}
	for _, to := range targets {
		from := own["IPv4"]
		if to.Addr().Is6() {
			from = own["IPv6"]
		}
		c, err := o.dial(deadline(t), "tcp", from, to)
		if err != nil {
			t.Fatalf("%v: %v", to, err)
		}
		if got := readAll(t, c); got != "hello" {
			t.Errorf("read %q from %v", got, to)
		}
		_ = c.Close()
	}
	leave()
	if leave, err = in.Attach(newOutsider(t), own["IPv4"]); err != nil {
		t.Errorf("the address of a host that left is not free: %v", err)
	} else {
		leave()
	}
}

func TestAttachRefuses(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{}, MachineOptions{})
	_, wire := net.Pipe()
	free := netip.MustParseAddr("45.80.0.7")
	if _, err := in.Attach(wire, free); err != nil {
		t.Fatal(err)
	}
	for name, addr := range map[string]netip.Addr{
		"a machine's": m.IPv4(), "a scanner's": netip.MustParseAddr("45.79.0.1"), "another's": free, "no": {},
	} {
		if _, err := in.Attach(wire, addr); err == nil {
			t.Errorf("attached a host with %s address", name)
		}
	}
	if _, err := in.Attach(wire); err == nil {
		t.Error("attached a host without an address")
	}
}
