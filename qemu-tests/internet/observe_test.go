package internet

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

func TestDeadInternetDropsEverything(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{ProbeWait: 50 * time.Millisecond}, MachineOptions{})
	g := boot(t, m, nil)
	check := func(want State) {
		t.Helper()
		if a, err := in.Ping(deadline(t), m.IPv4()); err != nil || a.State != want {
			t.Errorf("ping is %v, %v, want %v", a.State, err, want)
		}
	}
	check(Open)
	in.SetInternet(false)
	check(Filtered)
	mark := in.Mark()
	g.sendDHCP(discover(t, m))
	f, err := in.Await(deadline(t), mark, func(f Frame) bool { return f.Packet.Layer(layers.LayerTypeDHCPv4) != nil })
	if err != nil || !f.Dropped || f.Direction != FromMachine {
		t.Errorf("the machine's attempt is recorded as %v, dropped %v, %v", f.Direction, f.Dropped, err)
	}
	in.SetInternet(true)
	check(Open)
	g.pingGateway(in, m)
	if n, err := in.Count(mark, isDHCPReply); err != nil || n != 0 {
		t.Errorf("the dead internet gave %d DHCP answers, %v", n, err)
	}
	ask(t, in, m, g, discover(t, m)) // positive control
}

func TestBlackHole(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{}, MachineOptions{})
	g := boot(t, m, nil)
	g.serveTCP(22)
	hole, other := netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("8.8.4.4")
	connect := func(from netip.Addr) error {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		c, err := in.Dial(ctx, "tcp", from, netip.AddrPortFrom(m.IPv4(), 22))
		if err == nil {
			_ = c.Close()
		}
		return err
	}
	in.BlackHole(hole, true)
	if err := connect(hole); err == nil {
		t.Error("the black hole connected")
	}
	if err := connect(other); err != nil {
		t.Errorf("another address: %v", err)
	}
	in.BlackHole(hole, false)
	if err := connect(hole); err != nil {
		t.Errorf("after the black hole: %v", err)
	}
}

func TestObservation(t *testing.T) {
	t.Parallel()
	in, m := newInternet(t, Options{}, MachineOptions{})
	// Its netstack has no DHCP client and would complain about the answer.
	g := boot(t, m, func(_ *guest, frame []byte) bool {
		protocol, body := transport(ipPacket(frame))
		return protocol != header.UDPProtocolNumber || header.UDP(body).DestinationPort() != 68
	})
	g.awaitSLAAC(m.IPv6())
	ask(t, in, m, g, discover(t, m))
	g.sendARP(m, "203.0.113.10", "203.0.113.1")
	if _, err := in.Await(deadline(t), 0, func(f Frame) bool { return f.Packet.Layer(layers.LayerTypeARP) != nil }); err != nil {
		t.Fatal(err)
	}
	spoke := func(f Frame) bool { return f.Direction == FromMachine && !IsHousekeeping(f) }
	if n, err := in.Count(0, spoke); err != nil || n != 0 {
		t.Errorf("a machine that only booted said %d things, %v", n, err)
	}
	if n, err := in.Count(0, func(f Frame) bool { return f.Direction == FromMachine }); err != nil || n == 0 {
		t.Errorf("%d frames from the machine, %v, want its housekeeping", n, err)
	}
	mark := in.Mark()
	g.pingGateway(in, m)
	if n, err := in.Count(mark, spoke); err != nil || n != 1 {
		t.Errorf("one ping was counted %d times, %v", n, err)
	}
	for f, err := range in.Frames(mark) {
		if err != nil || f.Machine != m || f.Dropped || f.Time.IsZero() {
			t.Errorf("frame is %+v, %v", f, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := in.Await(ctx, in.Mark(), func(Frame) bool { return false }); err == nil {
		t.Error("awaited a frame that never came")
	}
}

// record makes some traffic of two machines and returns its pcapng file and
// the number of frames.
func record(t *testing.T) (path string, frames int) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "net.pcapng")
	in, m := newInternet(t, Options{PCAP: path}, MachineOptions{})
	other, err := in.AddMachine(MachineOptions{Name: "other"})
	if err != nil {
		t.Fatal(err)
	}
	a, b := boot(t, m, nil), boot(t, other, nil)
	a.awaitSLAAC(m.IPv6())
	b.pingGateway(in, other)
	in.SetInternet(false)
	if _, err := in.ScanTCP(deadline(t), m.IPv4(), []uint16{22}); err != nil {
		t.Fatal(err)
	}
	a.shutdown()
	b.shutdown()
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	return path, int(in.Mark())
}

func TestPCAPHoldsEveryFrame(t *testing.T) {
	t.Parallel()
	path, frames := record(t)
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, err := pcapgo.NewNgReader(file, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	seen, dropped, inbound, names := 0, 0, 0, map[string]int{}
	for {
		_, ci, opts, err := r.ReadPacketDataWithOptions()
		if err != nil {
			break
		}
		i, err := r.Interface(ci.InterfaceIndex)
		if err != nil {
			t.Fatal(err)
		}
		seen++
		names[i.Name]++
		dropped += len(opts.Comments)
		if opts.Flags != nil && opts.Flags.Direction == pcapgo.NgEpbFlagDirectionInbound {
			inbound++
		}
	}
	if seen != frames || frames == 0 {
		t.Errorf("the file has %d frames, want %d", seen, frames)
	}
	if names["machine1"] == 0 || names["other"] == 0 {
		t.Errorf("frames by interface are %v", names)
	}
	if dropped < 3 || inbound < 3 || inbound == seen {
		t.Errorf("%d frames are marked as dropped and %d of %d as inbound", dropped, inbound, seen)
	}
}

func TestPCAPIsReadByTcpdump(t *testing.T) {
	t.Parallel()
	tcpdump, err := exec.LookPath("tcpdump")
	if err != nil {
		t.Skip("tcpdump is not installed, so no foreign program reads the packet record")
	}
	path, frames := record(t)
	out, err := exec.CommandContext(deadline(t), tcpdump, "-n", "-r", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(out), "\n"); got != frames {
		t.Errorf("tcpdump reads %d frames, want %d:\n%s", got, frames, out)
	}
	if !strings.Contains(string(out), ".22: Flags [S]") {
		t.Errorf("tcpdump does not see the scan:\n%s", out)
	}
}

func TestCloseRemovesWhatItMade(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	in, err := New(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	m, err := in.AddMachine(MachineOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(m.Socket()); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := in.Close(); err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left in the directory: %v, %v", left, err)
	}
	if _, err := in.AddMachine(MachineOptions{}); err == nil {
		t.Error("a closed internet took a machine")
	}
	if _, err := in.Listen(netip.MustParseAddrPort("1.2.3.4:80")); err == nil {
		t.Error("a closed internet listens")
	}
}

func TestQEMUArgs(t *testing.T) {
	t.Parallel()
	dir := shortDir(t) + ",x"
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	_, m := newInternet(t, Options{Dir: dir}, MachineOptions{MAC: net.HardwareAddr{0x52, 0x54, 0, 1, 2, 3}})
	got := strings.Join(m.QEMUArgs(""), " ")
	want := "-netdev stream,id=net0,server=off,addr.type=unix,addr.path=" + strings.ReplaceAll(dir, ",", ",,") + "/nic1" +
		" -device virtio-net-pci,netdev=net0,romfile=,mac=52:54:00:01:02:03"
	if got != want {
		t.Errorf("arguments are\n%s, want\n%s", got, want)
	}
}

func TestBadOptionsAreRefused(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]Options{
		"MTU":                {MTU: 576},
		"one try":            {ProbeTries: 1},
		"small scanner pool": {Scanners4: netip.MustParsePrefix("45.79.0.0/30")},
		"wrong family":       {Scanners6: netip.MustParsePrefix("45.79.0.0/16")},
		"directory":          {Dir: "/does/not/exist"},
	} {
		if in, err := New(opts); err == nil {
			_ = in.Close()
			t.Errorf("%s: %+v was taken", name, opts)
		}
	}
	long := filepath.Join(shortDir(t), strings.Repeat("d", 100))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	deep, err := New(Options{Dir: long})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := deep.AddMachine(MachineOptions{}); err == nil || !strings.Contains(err.Error(), "shorter directory") {
		t.Errorf("a socket path that is too long: %v", err)
	}
	if err := deep.Close(); err != nil {
		t.Error(err)
	}
	in, m := newInternet(t, Options{}, MachineOptions{Name: "first"})
	for name, opts := range map[string]MachineOptions{
		"same name":      {Name: "first"},
		"same MAC":       {MAC: m.MAC()},
		"same IPv4":      {IPv4: netip.PrefixFrom(m.IPv4(), 24)},
		"same IPv6":      {IPv6: netip.PrefixFrom(m.IPv6(), 64)},
		"group MAC":      {MAC: net.HardwareAddr{1, 2, 3, 4, 5, 6}},
		"short MAC":      {MAC: net.HardwareAddr{2, 2}},
		"v6 as v4":       {IPv4: netip.MustParsePrefix("2001:db8::1/64")},
		"own gateway":    {IPv4: netip.MustParsePrefix("192.0.2.1/24"), Gateway: netip.MustParseAddr("192.0.2.1")},
		"no /64":         {IPv6: netip.MustParsePrefix("2001:db8:8::/56")},
		"scanner's":      {IPv4: netip.MustParsePrefix("45.79.3.4/24")},
		"scanner's IPv6": {IPv6: netip.MustParsePrefix("2600:3c02::/64")},
	} {
		if _, err := in.AddMachine(opts); err == nil {
			t.Errorf("%s: %+v was taken", name, opts)
		}
	}
}
