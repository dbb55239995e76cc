package nftables

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ingot/layers"
)

// The ruleset judges real packets here: a machine with an uplink "eth0" and a
// tunnel of the tunnel's name, and somebody at the other end of each. The test
// runs itself again in a network namespace of its own, where it is root.
const inNamespace = "INGOT_TEST_IN_NAMESPACE"

func TestKernel(t *testing.T) {
	if os.Getenv(inNamespace) != "" {
		onPackets(t)
		return
	}
	t.Parallel()
	argv := []string{"unshare", "--map-root-user", "--net", "--"}
	if os.Getuid() == 0 { // all user ids exist, not only root's
		argv = []string{"unshare", "--net", "--"}
	}
	if out, err := exec.Command(argv[0], append(argv[1:], "nft", "list", "tables")...).CombinedOutput(); err != nil {
		t.Skipf("no network namespace with nftables to be had here: %v, %s", err, out)
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("ip is not installed here")
	}
	cmd := exec.Command(argv[0], append(argv[1:], os.Args[0], "-test.run=^TestKernel$", "-test.v")...)
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
	t.Logf("%s", out)
}

// network is the machine's namespace and those of its neighbours, each a file.
type network struct{ machine, stranger, peer *os.File }

func onPackets(t *testing.T) {
	runtime.LockOSThread() // a namespace belongs to a thread
	n := network{machine: thisNamespace(t)}
	n.stranger = n.neighbour(t, "eth0", "far0", "198.51.100", "2001:db8:1")
	n.peer = n.neighbour(t, layers.TunnelInterface, "far1", "10.8.0", "fd00:8")
	n.in(t, n.stranger, func() {
		// Another customer, and another address of the same one.
		for _, a := range []string{"198.51.100.3/24", "2001:db8:1::3/64", "2001:db8:1:1::2/64", "169.254.169.254/32"} {
			must(t, "ip", "address", "add", a, "dev", "far0", "nodad")
		}
		must(t, "ip", "route", "add", "10.8.0.0/24", "via", "198.51.100.1")
	})
	must(t, "ip", "route", "add", "2001:db8:1:1::/64", "dev", "eth0")
	must(t, "ip", "route", "add", "169.254.169.254/32", "dev", "eth0")
	n.in(t, n.peer, func() {
		must(t, "ip", "route", "add", "default", "via", "10.8.0.1")
		must(t, "ip", "-6", "route", "add", "default", "via", "fd00:8::1")
	})
	for _, key := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		if err := os.WriteFile("/proc/sys/net/"+key, []byte("1"), 0); err != nil {
			t.Logf("forwarding cannot be switched on here: %v", err)
		}
	}

	t.Run("inbound", n.inbound)
	t.Run("limit", n.limit)
	t.Run("egress", n.egress)
	t.Run("metadata", n.metadata)
	t.Run("forward", n.forward)
	t.Run("reload", n.reload)
	t.Run("sabotage", n.sabotage)
}

func (n network) inbound(t *testing.T) {
	lock(t)
	n.load(t, Layer{}, layers.Plan{Ports: []layers.Port{
		{Proto: "tcp", Port: 443, From: layers.FromInternet, Why: "open"},
		{Proto: "tcp", Port: 22, From: layers.FromWireGuard, Untracked: true, Why: "private"},
	}})
	for _, c := range []struct {
		from *os.File
		to   string
		want result
	}{
		{n.stranger, "198.51.100.1:443", arrived}, {n.stranger, "[2001:db8:1::1]:443", arrived},
		{n.stranger, "198.51.100.1:22", dropped}, {n.stranger, "[2001:db8:1::1]:22", dropped},
		{n.peer, "10.8.0.1:22", arrived}, {n.peer, "[fd00:8::1]:22", arrived},
		{n.peer, "10.8.0.1:80", dropped},
	} {
		n.expect(t, c.from, "", c.to, c.want)
	}
}

func (n network) limit(t *testing.T) {
	lock(t)
	const allowance = 5 // one more only after 12 s
	port := layers.Port{Proto: "tcp", Port: 22, From: layers.FromInternet, NewPerMinute: allowance, Why: "SSH"}
	for _, c := range []struct{ to, sender, neighbour, other string }{
		{"198.51.100.1:22", "198.51.100.2", "", "198.51.100.3"},
		{"[2001:db8:1::1]:22", "2001:db8:1::2", "2001:db8:1::3", "2001:db8:1:1::2"},
	} {
		n.load(t, Layer{}, layers.Plan{Ports: []layers.Port{port}})
		for range allowance {
			n.expect(t, n.stranger, c.sender, c.to, arrived)
		}
		n.expect(t, n.stranger, c.sender, c.to, dropped)
		if c.neighbour != "" { // of the same /64
			n.expect(t, n.stranger, c.neighbour, c.to, dropped)
		}
		n.expect(t, n.stranger, c.other, c.to, arrived)
		if counters := must(t, "nft", "list", "chain", "inet", table, "from_internet"); strings.Count(counters, "counter packets 0 ") != 1 {
			t.Errorf("the drops are not counted:\n%s", counters)
		}
	}
}

func (n network) egress(t *testing.T) {
	lock(t)
	l := Layer{Options{Egress: &Egress{Allow: []Destination{
		{Port: 443, To: "198.51.100.2/32", Why: "API"}, {Port: 443, To: "2001:db8:1::2/128", Why: "API"},
		{Port: 8443, Why: "anywhere"},
	}}}}
	plan := layers.Plan{Egress: l.Contribute(layers.Site{}).Egress, Ports: []layers.Port{{Proto: "tcp", Port: 443, From: layers.FromInternet, Why: "in"}}}
	n.load(t, l, plan)
	for to, want := range map[string]result{
		"198.51.100.2:443": arrived, "[2001:db8:1::2]:443": arrived,
		"198.51.100.3:443": rejected, "[2001:db8:1::3]:443": rejected,
		"198.51.100.3:8443": arrived, "[2001:db8:1::3]:8443": arrived,
		"198.51.100.2:22": rejected, "[2001:db8:1::2]:22": rejected, "10.8.0.2:22": rejected, "127.0.0.1:9": arrived,
		"169.254.169.254:80": arrived,
	} {
		if got := n.reach(t, to); got != want {
			t.Errorf("to %s: %s, want %s", to, got, want)
		}
	}
	// Answers go out.
	n.expect(t, n.stranger, "", "198.51.100.1:443", arrived)
	n.expect(t, n.stranger, "", "[2001:db8:1::1]:443", arrived)

	n.load(t, Layer{}, layers.Plan{})
	n.expect(t, n.machine, "", "198.51.100.2:22", arrived)
}

func (n network) metadata(t *testing.T) {
	lock(t)
	if !nobodyExists() {
		t.Skip("only root's user id exists in this user namespace")
	}
	for _, l := range []Layer{{}, {Options{Egress: &Egress{Allow: []Destination{{Port: 80, Why: "web"}}}}}} {
		n.load(t, l, layers.Plan{Egress: l.Contribute(layers.Site{}).Egress})
		const service, elsewhere = "169.254.169.254:80", "198.51.100.2:80"
		want := map[string]result{service: arrived, elsewhere: arrived}
		for _, user := range []int{0, nobody} {
			become(t, user)
			for to, want := range want {
				if got := n.reach(t, to); got != want {
					t.Errorf("user %d to %s: %s, want %s", user, to, got, want)
				}
			}
			become(t, 0)
			want[service] = rejected
		}
	}
}

func (n network) forward(t *testing.T) {
	lock(t)
	if on, _ := os.ReadFile("/proc/sys/net/ipv4/ip_forward"); string(on) != "1\n" {
		t.Skip("forwarding cannot be switched on here")
	}
	n.load(t, Layer{}, layers.Plan{})
	n.expect(t, n.peer, "", "198.51.100.2:80", dropped)
	for _, out := range []string{"", "eth0"} {
		n.load(t, Layer{}, layers.Plan{Forwards: []layers.Forward{{In: layers.TunnelInterface, Out: out, Masquerade: true, Why: "full tunnel"}}})
		for to, from := range map[string]string{"198.51.100.2:8080": "198.51.100.1", "[2001:db8:1::2]:8080": "2001:db8:1::1"} {
			if got := n.seenFrom(t, to); got != from {
				t.Errorf("%s saw the packets of %s, want %s", to, got, from)
			}
		}
		n.expect(t, n.stranger, "", "10.8.0.2:80", dropped)
		n.expect(t, n.peer, "", "169.254.169.254:80", arrived) // a reset, counted
		if c := must(t, "nft", "list", "chain", "inet", table, "forwarded"); !strings.Contains(c, "tcp dport { 80, 32526 } counter packets 1 ") {
			t.Errorf("the metadata service was reached through the machine:\n%s", c)
		}
	}
}

func (n network) reload(t *testing.T) {
	lock(t)
	must(t, "nft", "add table inet f2b-table; add chain inet f2b-table bans")
	n.load(t, Layer{}, layers.Plan{})
	n.load(t, Layer{}, layers.Plan{Ports: []layers.Port{{Proto: "tcp", Port: 1, From: layers.FromInternet, NewPerMinute: 1, Why: "x"}}})
	if tables := must(t, "nft", "list", "ruleset"); !strings.Contains(tables, "chain bans") || strings.Count(tables, "table inet ingot {") != 1 {
		t.Errorf("after a reload:\n%s", tables)
	}
}

// Each check that asks nft holds on the fresh ruleset, and no longer after its
// sabotage.
func (n network) sabotage(t *testing.T) {
	lock(t)
	l := Layer{Options{Egress: &Egress{}}}
	plan := layers.Plan{Ports: []layers.Port{
		{Proto: "tcp", Port: 22, From: layers.FromInternet, NewPerMinute: 10, Why: "SSH"},
		{Proto: "udp", Port: 53, From: layers.FromWireGuard, NewPerMinute: 10, Why: "DNS"},
		{Proto: "tcp", Port: 22, From: layers.FromWireGuard, Untracked: true, Why: "SSH"},
		{Proto: "udp", Port: 51820, From: layers.FromInternet, Untracked: true, Why: "WireGuard"},
	}}
	asked := 0
	for _, c := range slices.Concat(l.checks(), limitChecks(plan.Ports), untrackedChecks(plan.Ports)) {
		if c.Command == nil || !strings.HasSuffix(c.Command.Argv[0], "/nft") {
			continue
		}
		asked++
		holds := func() bool { return strings.Contains(must(t, c.Command.Argv...), c.Command.Contains) }
		n.load(t, l, plan)
		if !holds() {
			t.Errorf("%s does not hold", c.ID)
		}
		must(t, "sh", "-c", c.Sabotage)
		if holds() {
			t.Errorf("%s holds after: %s", c.ID, c.Sabotage)
		}
	}
	if asked < 10 {
		t.Errorf("only %d checks ask nft", asked)
	}
}

// seenFrom connects from the peer to a listener of the stranger's, which says
// who came.
func (n network) seenFrom(t *testing.T, address string) string {
	t.Helper()
	var l net.Listener
	n.in(t, n.stranger, func() {
		var err error
		if l, err = net.Listen("tcp", address); err != nil {
			t.Fatal(err)
		}
	})
	defer l.Close()
	var got result
	n.in(t, n.peer, func() { got = dial("", address) })
	if got != arrived {
		return string(got)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	return host
}

// result is what became of a connection attempt.
type result string

const (
	arrived  result = "arrived"  // accepted, or answered by a closed port
	rejected result = "rejected" // the machine's own firewall said no
	dropped  result = "dropped"  // nobody said anything
)

func (n network) expect(t *testing.T, from *os.File, source, to string, want result) {
	t.Helper()
	var got result
	n.in(t, from, func() { got = dial(source, to) })
	if got != want {
		t.Errorf("from %q to %s: %s, want %s", source, to, got, want)
	}
}

// reach tries from the machine. A reset may come from the other end or from a
// rule, whose counter tells.
func (n network) reach(t *testing.T, to string) result {
	t.Helper()
	before := rejections(t)
	got := dial("", to)
	if after := rejections(t); got == arrived && after != before {
		return rejected
	}
	return got
}

// rejections is how the counters of the outbound chain stand.
func rejections(t *testing.T) string {
	t.Helper()
	list := must(t, "nft", "list", "chain", "inet", table, "outbound")
	return strings.Join(regexp.MustCompile(`counter packets \d+`).FindAllString(list, -1), " ")
}

// dial tries for less than the second after which the kernel sends the first
// packet again; an answer in here takes microseconds.
func dial(source, to string) result {
	d := net.Dialer{}
	if source != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(source)}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 900*time.Millisecond)
	defer cancel()
	c, err := d.DialContext(ctx, "tcp", to)
	switch {
	case err == nil:
		c.Close()
		return arrived
	case errors.Is(err, syscall.ECONNREFUSED):
		return arrived
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return dropped
	}
	return result(err.Error())
}

func (n network) load(t *testing.T, l Layer, plan layers.Plan) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "nftables.conf")
	if err := os.WriteFile(file, []byte(l.ruleset(plan)), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, "nft", "-f", file)
}

// neighbour makes a namespace with one link to the machine's: near is the
// machine's end with the addresses .1 and ::1, far the other with .2 and ::2.
func (n network) neighbour(t *testing.T, near, far, ipv4, ipv6 string) *os.File {
	t.Helper()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	ns := thisNamespace(t)
	n.in(t, n.machine, func() {
		must(t, "ip", "link", "set", "lo", "up")
		must(t, "ip", "link", "add", near, "type", "veth", "peer", "name", far)
		must(t, "ip", "link", "set", far, "netns", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.Fd()))
	})
	up := func(name, host string) {
		must(t, "ip", "address", "add", ipv4+"."+host+"/24", "dev", name)
		must(t, "ip", "address", "add", ipv6+"::"+host+"/64", "dev", name, "nodad")
		must(t, "ip", "link", "set", name, "up")
	}
	up(far, "2")
	n.enter(t, n.machine)
	up(near, "1")
	return ns
}

// in runs f in a namespace and comes back.
func (n network) in(t *testing.T, ns *os.File, f func()) {
	t.Helper()
	back := thisNamespace(t)
	defer back.Close()
	n.enter(t, ns)
	defer n.enter(t, back)
	f()
}

func (n network) enter(t *testing.T, ns *os.File) {
	t.Helper()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
}

// lock ties a subtest to a thread, which is in the machine's namespace as the
// process is, and ends with it.
func lock(t *testing.T) {
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
}

func thisNamespace(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

const nobody = 65534

func nobodyExists() bool {
	m, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Contains(string(m), "4294967295")
}

// become makes the sockets of this thread a user's.
func become(t *testing.T, uid int) {
	t.Helper()
	if _, err := unix.SetfsuidRetUid(uid); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v, %s", argv, err, out)
	}
	return string(out)
}
