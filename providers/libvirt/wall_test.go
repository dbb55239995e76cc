package libvirt

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"ingot/fault"
	"ingot/providers"
	"ingot/providers/libvirt/lab"
)

// Addresses of the hosts on the network.
const (
	behind, behind6   = "192.168.122.10", "fd00:122::10"
	outside, outside6 = "192.168.122.20", "fd00:122::20"
	stranger          = "192.168.122.21" // of the same host as outside
)

// silence is how long an answer that must not come is waited for. Answers that must
// come are asked for again and again.
const silence = 1500 * time.Millisecond

// stage is a filter of ours before a host that answers on every port it is asked to.
type stage struct {
	*testing.T
	p        *Provider
	wall     wall
	behind   *lab.Host
	outside  *lab.Host
	received sync.Map // port → *atomic.Int64: datagrams that came
}

func newStage(t *testing.T, rules ...providers.Rule) *stage {
	t.Helper()
	p, j := connect(t, nil)
	e := begin(t, p, j)
	s := &stage{T: t, p: p, wall: wall{p, filterName("stand-in")}}
	m := providers.Machine{Name: "stand-in", Rules: rules, Journal: e}
	if err := p.makeFilter(t.Context(), m, e.ID); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.behind, err = home.lab.NewHost("behind", behind+"/24", behind6+"/64"); err != nil {
		t.Fatal(err)
	}
	if s.outside, err = home.lab.NewHost("outside", outside+"/24", stranger+"/24", outside6+"/64"); err != nil {
		t.Fatal(err)
	}
	if err := home.lab.Bind(s.behind.Port, s.behind.MAC, s.wall.name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The filter cannot go while a port uses it.
		if _, err := home.lab.Virsh(context.Background(), "nwfilter-binding-delete", s.behind.Port); err != nil {
			t.Error(err)
		}
		for _, h := range []*lab.Host{s.behind, s.outside} {
			if err := home.lab.Remove(h); err != nil {
				t.Error(err)
			}
		}
	})
	return s
}

// serve has a host answer on a TCP and a UDP port: both send back what they get.
func (s *stage) serve(h *lab.Host, port int) {
	s.Helper()
	var l net.Listener
	var c net.PacketConn
	err := h.Do(func() (err error) {
		if l, err = net.Listen("tcp", fmt.Sprintf(":%d", port)); err == nil {
			c, err = net.ListenPacket("udp", fmt.Sprintf(":%d", port))
		}
		return err
	})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { l.Close(); c.Close() })
	count := new(atomic.Int64)
	s.received.Store(port, count)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				b := make([]byte, 64)
				for {
					n, err := conn.Read(b)
					if err != nil {
						return
					}
					_, _ = conn.Write(b[:n]) // the other side sees when it fails
				}
			}()
		}
	}()
	go func() {
		b := make([]byte, 64)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			count.Add(1)
			_, _ = c.WriteTo(b[:n], from)
		}
	}()
}

func (s *stage) got(port int) int64 {
	count, _ := s.received.Load(port)
	return count.(*atomic.Int64).Load()
}

// dial connects from a host, from one of its addresses if given.
func dial(h interface{ Do(func() error) error }, network, source, address string, timeout time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: timeout}
	if source != "" {
		a := net.ParseIP(source)
		if network == "tcp" {
			d.LocalAddr = &net.TCPAddr{IP: a}
		} else {
			d.LocalAddr = &net.UDPAddr{IP: a}
		}
	}
	var c net.Conn
	err := h.Do(func() (err error) {
		c, err = d.Dial(network, address)
		return err
	})
	return c, err
}

// answers reports whether something comes back within the time.
func answers(h interface{ Do(func() error) error }, network, source, address string, within time.Duration) bool {
	c, err := dial(h, network, source, address, within)
	if err != nil {
		return false
	}
	defer c.Close()
	deadline := time.Now().Add(within)
	b := make([]byte, 64)
	for time.Now().Before(deadline) {
		if _, err := c.Write([]byte("hello")); err != nil {
			return false
		}
		_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if n, err := c.Read(b); err == nil && n > 0 {
			return true
		}
	}
	return false
}

func (s *stage) open(h interface{ Do(func() error) error }, network, source, address string) {
	s.Helper()
	if !answers(h, network, source, address, 20*time.Second) {
		s.Errorf("%s from %s to %s is not let through", network, source, address)
	}
}

func (s *stage) closed(h interface{ Do(func() error) error }, network, source, address string) {
	s.Helper()
	_, text, _ := net.SplitHostPort(address)
	port, _ := strconv.Atoi(text)
	before := s.got(port)
	if answers(h, network, source, address, silence) {
		s.Errorf("%s from %s to %s is let through", network, source, address)
	}
	if network == "udp" && s.got(port) != before {
		s.Errorf("%s from %s to %s came in", network, source, address)
	}
}

// pings runs ping on a host.
func pings(t *testing.T, h *lab.Host, address string) bool {
	t.Helper()
	proto, listen := "ip4:icmp", "0.0.0.0"
	if strings.Contains(address, ":") {
		proto, listen = "ip6:ipv6-icmp", "::"
	}
	var c net.PacketConn
	if err := h.Do(func() (err error) { c, err = net.ListenPacket(proto, listen); return err }); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	kind, reply := byte(8), byte(0)
	if listen == "::" {
		kind, reply = 128, 129
	}
	// Another number each time: the kernel would take it for what went on before.
	id := make([]byte, 2)
	if _, err := rand.Read(id); err != nil {
		t.Fatal(err)
	}
	to := &net.IPAddr{IP: net.ParseIP(address)}
	deadline := time.Now().Add(silence)
	b := make([]byte, 256)
	for n := byte(1); time.Now().Before(deadline); n++ {
		request := []byte{kind, 0, 0, 0, id[0], id[1], 0, n}
		if listen != "::" { // the kernel sums ICMPv6
			sum := uint32(kind)<<8 + uint32(id[0])<<8 + uint32(id[1]) + uint32(n)
			sum = ^(sum&0xffff + sum>>16)
			request[2], request[3] = byte(sum>>8), byte(sum)
		}
		if _, err := c.WriteTo(request, to); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		for {
			got, _, err := c.ReadFrom(b)
			if err != nil {
				break
			}
			if got >= 8 && b[0] == reply && b[4] == id[0] && b[5] == id[1] {
				return true
			}
		}
	}
	return false
}

func rules(lines ...string) []providers.Rule {
	var list []providers.Rule
	for _, line := range lines {
		f := strings.Fields(line)
		from, _ := strconv.Atoi(f[1])
		list = append(list, providers.Rule{Proto: f[0], From: from, To: from, Source: netip.MustParsePrefix(f[2]), Why: "why " + f[0]})
	}
	return list
}

func at(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// TestPackets: what libvirt was told is what the kernel does, in both families.
func TestPackets(t *testing.T) {
	s := newStage(t, rules("tcp 443 0.0.0.0/0", "udp 51820 "+outside+"/32", "udp 51820 ::/0")...)
	for _, port := range []int{53, 443, 8443, 51820} {
		s.serve(s.behind, port)
	}
	s.serve(s.outside, 5353)

	s.open(s.outside, "tcp", outside, at(behind, 443))
	s.open(s.outside, "udp", outside, at(behind, 51820))
	s.open(s.outside, "udp", outside6, at(behind6, 51820))
	s.closed(s.outside, "tcp", outside, at(behind, 8443))
	s.closed(s.outside, "udp", outside, at(behind, 53))
	s.closed(s.outside, "udp", stranger, at(behind, 51820)) // the rule names a source
	s.closed(s.outside, "tcp", outside6, at(behind6, 443))  // the rule is of the other family
	s.closed(s.outside, "udp", outside6, at(behind6, 53))
	if pings(t, s.outside, behind) || pings(t, s.outside, behind6) {
		t.Error("pings are let through")
	}

	t.Run("out", func(t *testing.T) {
		for _, to := range []string{outside, outside6} {
			s.open(s.behind, "tcp", "", at(to, 5353))
			s.open(s.behind, "udp", "", at(to, 5353))
			if !pings(t, s.behind, to) {
				t.Errorf("the server cannot ping %s", to)
			}
		}
	})
	// The kernel of the host does not look into these, and the server takes them.
	t.Run("VLAN 0", func(t *testing.T) {
		before := s.got(53)
		for range 3 {
			if err := s.outside.Send(s.tagged()); err != nil {
				t.Fatal(err)
			}
		}
		// What was sent later has been answered.
		s.open(s.outside, "tcp", outside, at(behind, 443))
		if s.got(53) != before {
			t.Error("a frame with a tag came in")
		}
	})
	t.Run("host", func(t *testing.T) {
		// Not what is let in is answered, be it the host that asks.
		if answers(home.lab, "tcp", lab.Gateway, at(behind, 8443), silence) {
			t.Error("the host gets an answer")
		}
		s.open(home.lab, "tcp", lab.Gateway, at(behind, 443))
	})
	t.Run("live", func(t *testing.T) { s.live() })
}

// tagged is a datagram to a closed port in a frame with the tag of VLAN 0.
func (s *stage) tagged() []byte {
	s.Helper()
	from, err := net.ParseMAC(s.outside.MAC)
	if err != nil {
		s.Fatal(err)
	}
	to, err := net.ParseMAC(s.behind.MAC)
	if err != nil {
		s.Fatal(err)
	}
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.ParseIP(outside), DstIP: net.ParseIP(behind)}
	udp := &layers.UDP{SrcPort: 4000, DstPort: 53}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		s.Fatal(err)
	}
	b := gopacket.NewSerializeBuffer()
	err = gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: from, DstMAC: to, EthernetType: layers.EthernetTypeDot1Q},
		&layers.Dot1Q{Type: layers.EthernetTypeIPv4}, ip, udp, gopacket.Payload("hello"))
	if err != nil {
		s.Fatal(err)
	}
	return b.Bytes()
}

// live changes the wall while a connection goes on.
func (s *stage) live() {
	t := s.T
	c, err := dial(s.outside, "tcp", outside, at(behind, 443), 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	goesOn := func() {
		t.Helper()
		b := make([]byte, 5)
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := c.Write([]byte("still")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(b); err != nil {
			t.Fatal(err)
		}
	}
	was, err := s.p.filter(t.Context(), s.wall.name)
	if err != nil {
		t.Fatal(err)
	}
	want := rules("tcp 443 0.0.0.0/0", "tcp 8443 0.0.0.0/0", "icmp 8 0.0.0.0/0", "icmpv6 128 ::/0")
	plan, err := providers.Apply(t.Context(), s.wall, want, false)
	if err != nil || len(plan.Add) != 3 || len(plan.Remove) != 2 || plan.Activate {
		t.Fatalf("%+v, %v", plan, err)
	}
	goesOn()
	s.open(s.outside, "tcp", outside, at(behind, 8443))
	s.closed(s.outside, "udp", outside, at(behind, 51820))
	if !pings(t, s.outside, behind) || !pings(t, s.outside, behind6) {
		t.Error("pings are not let through")
	}
	if plan, err = providers.Apply(t.Context(), s.wall, want, false); err != nil || !plan.Empty() {
		t.Errorf("once more: %+v, %v", plan, err)
	}
	if _, err := providers.Apply(t.Context(), s.wall, want[:1], false); err != nil {
		t.Fatal(err)
	}
	goesOn()
	s.closed(s.outside, "tcp", outside, at(behind, 8443))
	if pings(t, s.outside, behind) || pings(t, s.outside, behind6) {
		t.Error("pings are still let through")
	}
	is, err := s.p.filter(t.Context(), s.wall.name)
	if err != nil || is.child("uuid").value() != was.child("uuid").value() {
		t.Errorf("the filter is another one: %v", err)
	}
}

// TestWallRead: what is written is read, with why; what others add is shown and kept.
func TestWallRead(t *testing.T) {
	p, j := connect(t, nil)
	e := begin(t, p, j)
	want := rules("tcp 443 0.0.0.0/0", "udp 51820 2001:db8::/32", "icmp 8 0.0.0.0/0", "icmpv6 128 ::/0", "icmp -1 10.0.0.0/8", "tcp 22 192.0.2.7/32")
	want[0].Why, want[1].To = `it's "quoted" $(id) <&> \ ; é`, 51830
	want[5].Why = strings.Repeat("é", 200)
	if err := p.makeFilter(t.Context(), providers.Machine{Name: "stand-in", Rules: want, Journal: e}, e.ID); err != nil {
		t.Fatal(err)
	}
	w := wall{p, filterName("stand-in")}
	have, err := w.Read(t.Context())
	if err != nil || !have.Active || len(have.Rules) != len(want) {
		t.Fatalf("%+v, %v", have, err)
	}
	for i, r := range have.Rules {
		why := want[i].Why
		if i == 5 {
			why = strings.Repeat("é", (maxComment-len(commentRule))/2)
		}
		if !r.Owned || !r.Does(want[i]) || r.Why != why {
			t.Errorf("%+v is not %+v", r, want[i])
		}
	}

	edit := func(old, new string) {
		t.Helper()
		text, err := home.lab.Virsh(t.Context(), "nwfilter-dumpxml", w.name)
		if err != nil || !strings.Contains(text, old) {
			t.Fatalf("%v: no %s in %s", err, old, text)
		}
		name := filepath.Join(t.TempDir(), "filter.xml")
		if err := os.WriteFile(name, []byte(strings.Replace(text, old, new, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := home.lab.Virsh(t.Context(), "nwfilter-define", name); err != nil {
			t.Fatal(err)
		}
	}
	edit("</filter>", `<rule action='accept' direction='in'><tcp srcipaddr='198.51.100.0' srcipmask='255.255.255.0' dstportstart='25' comment='mail'/></rule>
<rule action='accept' direction='in'><tcp srcmacaddr='02:00:00:00:00:01' dstportstart='26'/></rule><filterref filter='no-mac-spoofing'/></filter>`)
	have, err = w.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var foreign []string
	for _, r := range have.Rules {
		if !r.Owned {
			foreign = append(foreign, r.String())
		}
	}
	if len(foreign) != 3 || foreign[0] != "tcp 25 from 198.51.100.0/24" || !strings.Contains(foreign[1], "02:00:00:00:00:01") || !strings.Contains(foreign[2], "no-mac-spoofing") {
		t.Errorf("rules of others: %q", foreign)
	}
	if _, err := providers.Apply(t.Context(), w, want[:2], false); err != nil {
		t.Fatal(err)
	}
	if have, err = w.Read(t.Context()); err != nil || len(have.Rules) != 5 {
		t.Errorf("%+v, %v", have, err)
	}
	if _, err := providers.Apply(t.Context(), w, want[:2], true); err != nil {
		t.Fatal(err)
	}
	have, err = w.Read(t.Context())
	if err != nil || len(have.Rules) != 2 || slices.ContainsFunc(have.Rules, func(i providers.Installed) bool { return !i.Owned }) {
		t.Errorf("%+v, %v", have, err)
	}

	text, err := marshal(dropRules()[1])
	if err != nil {
		t.Fatal(err)
	}
	edit("<rule action='drop' direction='in' priority='1000'>\n    <all-ipv6", strings.ReplaceAll("<rule action='accept' direction='in' priority='999'>\n    <all-ipv6", "\n", ""))
	if have, err = w.Read(t.Context()); err != nil || have.Active {
		t.Errorf("active without %s: %v", text, err)
	}
	if _, err := providers.Apply(t.Context(), w, want[:2], true); err != nil {
		t.Fatal(err)
	}
	if have, err = w.Read(t.Context()); err != nil || !have.Active || len(have.Rules) != 2 {
		t.Errorf("%+v, %v", have, err)
	}
}

func TestRuleRefused(t *testing.T) {
	t.Parallel()
	for _, r := range rules("esp 0 0.0.0.0/0", "icmp 8 ::/0", "icmpv6 128 0.0.0.0/0") {
		if n, err := ruleNode(r); err == nil {
			t.Errorf("%s became %+v", r, n)
		}
	}
}

func TestMaskBits(t *testing.T) {
	t.Parallel()
	for mask, want := range map[string]int{"255.255.255.0": 24, "255.255.255.255": 32, "0.0.0.0": 0, "255.240.0.0": 12, "ffff::": 16, "255.0.255.0": -1, "0.255.0.0": -1, "255.255.1.0": -1, "x": -1} {
		n, err := maskBits(mask)
		if err != nil {
			n = -1
		}
		if n != want {
			t.Errorf("%s: %d, %v", mask, n, err)
		}
	}
}

// TestWallOfStranger: a filter that Ingot did not make is not touched.
func TestWallOfStranger(t *testing.T) {
	p, _ := connect(t, nil)
	w := wall{p, "clean-traffic"}
	if _, err := w.Read(t.Context()); fault.Of(err) != fault.OfInput {
		t.Errorf("read: %v", err)
	}
	if err := w.Change(t.Context(), rules("tcp 22 0.0.0.0/0"), nil); fault.Of(err) != fault.OfInput {
		t.Errorf("change: %v", err)
	}
	if err := w.Activate(t.Context()); fault.Of(err) != fault.OfInput {
		t.Errorf("activate: %v", err)
	}
}
