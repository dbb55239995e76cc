package internet

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/miekg/dns"
)

func TestDHCPAnswersGetLost(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{}, MachineOptions{})
	g := boot(t, m, nil)
	request := discover(t, m, dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest), dhcpv4.WithClientIP(m.IPv4().AsSlice()))
	foreign := discover(t, m, dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest), dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress([]byte{10, 0, 0, 1})))
	for _, test := range []struct {
		name         string
		offers, acks int
		send         []*dhcpv4.DHCPv4
		dropped      []bool // of the answers, in order
	}{
		{"late offer", 2, 0, []*dhcpv4.DHCPv4{discover(t, m), discover(t, m), discover(t, m), discover(t, m)}, []bool{true, true, false, false}},
		{"lost lease", 0, 1, []*dhcpv4.DHCPv4{discover(t, m), request, request}, []bool{false, true, false}},
		{"refusals arrive", 5, 5, []*dhcpv4.DHCPv4{foreign}, []bool{false}},
		{"it ends", 0, 0, []*dhcpv4.DHCPv4{discover(t, m), request}, []bool{false, false}},
	} {
		m.LoseOffers(test.offers)
		m.LoseAcks(test.acks)
		mark := in.Mark()
		for _, message := range test.send {
			g.sendDHCP(message)
			g.pingGateway(in, m) // a barrier: lost answers are recorded at once, others in their turn
		}
		var dropped []bool
		for f, err := range in.Frames(mark) {
			if err != nil {
				t.Fatal(err)
			}
			if isDHCPReply(f) {
				dropped = append(dropped, f.Dropped)
			}
		}
		if !slices.Equal(dropped, test.dropped) {
			t.Errorf("%s: answers were dropped %v, want %v", test.name, dropped, test.dropped)
		}
	}
}

func TestDNSFaults(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{}, MachineOptions{})
	g := boot(t, m, nil)
	if err := in.SetDNS("deb.example. 60 IN A 1.2.3.4"); err != nil {
		t.Fatal(err)
	}
	lookup := func() (*dns.Msg, error) {
		c := g.dialUDP(netip.AddrPortFrom(in.DNSAddrs()[0], 53))
		defer c.Close()
		client := dns.Client{Timeout: 20 * time.Second}
		reply, _, err := client.ExchangeWithConn(new(dns.Msg).SetQuestion("deb.example.", dns.TypeA), &dns.Conn{Conn: c})
		return reply, err
	}
	const delay = 200 * time.Millisecond
	for _, test := range []struct {
		name    string
		fault   DNSFault
		code    int
		answers int
	}{
		{"failing", DNSFault{ServFail: true}, dns.RcodeServerFailure, 0},
		{"slow", DNSFault{Delay: delay}, dns.RcodeSuccess, 1},
		{"well", DNSFault{}, dns.RcodeSuccess, 1},
	} {
		in.SetDNSFault(test.fault)
		mark := in.Mark()
		reply, err := lookup()
		if err != nil || reply.Rcode != test.code || len(reply.Answer) != test.answers {
			t.Errorf("%s: reply is %v, %v, want code %d and %d answers", test.name, reply, err, test.code, test.answers)
		}
		if took := roundTrip(t, in, mark, layers.LayerTypeDNS); took < test.fault.Delay {
			t.Errorf("%s: the answer took %v, want %v", test.name, took, test.fault.Delay)
		}
	}
	// An answer that is on its way does not keep the internet from closing.
	in.SetDNSFault(DNSFault{Delay: time.Hour})
	mark := in.Mark()
	go func() { _, _ = lookup() }()
	if _, err := in.Await(deadline(t), mark, func(f Frame) bool { return f.Packet.Layer(layers.LayerTypeDNS) != nil }); err != nil {
		t.Fatal(err)
	}
	if err := in.Close(); err != nil {
		t.Error(err)
	}
}

func TestDeadDNS(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{}, MachineOptions{})
	g := boot(t, m, nil)
	for _, addr := range in.DNSAddrs() {
		in.BlackHole(addr, true)
	}
	c := g.dialUDP(netip.AddrPortFrom(in.DNSAddrs()[0], 53))
	defer c.Close()
	question, err := new(dns.Msg).SetQuestion("deb.example.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	mark := in.Mark()
	if _, err := c.Write(question); err != nil {
		t.Fatal(err)
	}
	f, err := in.Await(deadline(t), mark, func(f Frame) bool { return f.Packet.Layer(layers.LayerTypeDNS) != nil })
	if err != nil || !f.Dropped {
		t.Errorf("the question is recorded as dropped %v, %v", f.Dropped, err)
	}
	g.pingGateway(in, m)
	answers, err := in.Count(mark, func(f Frame) bool { return f.Packet.Layer(layers.LayerTypeDNS) != nil && f.Direction == ToMachine })
	if err != nil || answers != 0 {
		t.Errorf("the dead resolver gave %d answers, %v", answers, err)
	}
}

// roundTrip is the time between the first frame with that layer from the machine
// and the first to it, as recorded.
func roundTrip(t *testing.T, in *Internet, since Mark, layer gopacket.LayerClass) time.Duration {
	t.Helper()
	var at [2]time.Time
	for d := range at {
		f, err := in.Await(deadline(t), since, func(f Frame) bool {
			return f.Direction == Direction(d) && !f.Dropped && f.Packet.LayerClass(layer) != nil
		})
		if err != nil {
			t.Fatal(err)
		}
		at[d] = f.Time
	}
	return at[ToMachine].Sub(at[FromMachine])
}

// losses sends pings to the gateway and returns which were lost.
func losses(t *testing.T, in *Internet, m *Machine, g *guest, pings int) []bool {
	t.Helper()
	mark := in.Mark()
	for range pings {
		g.send(g.echo(m, 0))
	}
	seen := 0
	_, err := in.Await(deadline(t), mark, func(f Frame) bool {
		if isEcho(f, layers.ICMPv4TypeEchoRequest) {
			seen++
		}
		return seen == pings
	})
	if err != nil {
		t.Fatal(err)
	}
	var lost []bool
	for f, err := range in.Frames(mark) {
		if err != nil {
			t.Fatal(err)
		}
		if isEcho(f, layers.ICMPv4TypeEchoRequest) {
			lost = append(lost, f.Dropped)
		}
	}
	return lost
}

func isEcho(f Frame, kind uint8) bool {
	icmp, ok := f.Packet.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
	return ok && icmp.TypeCode.Type() == kind
}

func TestLossIsDecidedByTheSeed(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{}, MachineOptions{NoIPv6: true})
	g := boot(t, m, nil)
	await(t, "the last router solicitation", func() bool {
		n, err := in.Count(0, func(f Frame) bool { return f.Packet.Layer(layers.LayerTypeICMPv6RouterSolicitation) != nil })
		return err == nil && n == 3
	})
	run := func(i Impairment) []bool {
		t.Helper()
		if err := m.SetImpairment(i); err != nil {
			t.Fatal(err)
		}
		return losses(t, in, m, g, 200)
	}
	lost := func(b []bool) int {
		return len(slices.DeleteFunc(slices.Clone(b), func(lost bool) bool { return !lost }))
	}
	first := run(Impairment{Loss: 0.3, Seed: 1})
	if again := run(Impairment{Loss: 0.3, Seed: 1}); !slices.Equal(first, again) {
		t.Errorf("the same seed lost\n%v, and then\n%v", first, again)
	}
	if other := run(Impairment{Loss: 0.3, Seed: 2}); slices.Equal(first, other) {
		t.Error("another seed lost the same frames")
	}
	if n := lost(first); n < 30 || n > 90 {
		t.Errorf("%d of 200 frames were lost, want some 60", n)
	}
	if n := lost(run(Impairment{Loss: 1})); n != 200 {
		t.Errorf("%d of 200 frames were lost, want all", n)
	}
	if n := lost(run(Impairment{})); n != 0 {
		t.Errorf("%d frames were lost on a perfect link", n)
	}
}

func TestDelay(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{}, MachineOptions{NoIPv6: true})
	g := boot(t, m, nil)
	const delay = 50 * time.Millisecond
	if err := m.SetImpairment(Impairment{Delay: delay, Jitter: 20 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	mark := in.Mark()
	const pings = 20
	for n := range uint16(pings) {
		g.send(g.echo(m, n))
	}
	next := uint16(0)
	if _, err := in.Await(deadline(t), mark, func(f Frame) bool {
		if isEcho(f, layers.ICMPv4TypeEchoReply) {
			if got := f.Packet.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4).Seq; got != next {
				t.Errorf("reply %d came as number %d", got, next)
			}
			next++
		}
		return next == pings
	}); err != nil {
		t.Fatal(err)
	}
	if took := roundTrip(t, in, mark, layers.LayerTypeICMPv4); took < delay {
		t.Errorf("a round trip took %v, want %v at least", took, delay)
	}
	// Frames that are on their way do not keep the internet from closing.
	if err := m.SetImpairment(Impairment{Delay: time.Hour}); err != nil {
		t.Fatal(err)
	}
	losses(t, in, m, g, 1)
	if err := in.Close(); err != nil {
		t.Error(err)
	}
}

func TestBadImpairmentsAreRefused(t *testing.T) {
	t.Parallel()
	_, m := newInternet(t, Options{}, MachineOptions{})
	for _, i := range []Impairment{{Loss: -0.1}, {Loss: 1.1}, {Delay: -1}, {Jitter: -1}} {
		if err := m.SetImpairment(i); err == nil {
			t.Errorf("%+v was taken", i)
		}
	}
	for _, bytes := range []int{-1, 576, 1501} {
		if err := errors.Join(m.SetPathMTU(1280), m.SetPathMTU(bytes)); err == nil {
			t.Errorf("a path MTU of %d was taken", bytes)
		}
	}
}
