package assay

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ingot/layers"
	"ingot/qemu-tests/internet"
	"ingot/qemu-tests/vm"
)

// The addresses of the host that nmap runs on: ordinary unicast space.
var (
	nmapIPv4 = netip.MustParsePrefix("45.80.0.7/24")
	nmapIPv6 = netip.MustParsePrefix("2600:3c03::7/64")
)

// The real nmap, from outside, sees what the port table says and nothing else.
// That the silent port is WireGuard's is proven by the handshake that brought
// the machine up.
func TestNmap(t *testing.T) {
	b := image(t)
	turn(t, b, 3)
	needNmap(t)
	lab, id := newLab(t, b)
	m := boot(t, lab, id, BootOptions{Image: b.Image, Firmware: vm.BIOS, Instance: id.Instance})
	up(t, m)

	declared, silent := internetPorts(id.Plan)
	scans := []struct {
		name string
		args []string
		want map[string]bool // ports that answer; nil for the silent one
	}{
		{"tcp-ipv4", []string{"-sS", "-p-", lab.Machine.IPv4().String()}, declared},
		{"tcp-ipv6", []string{"-6", "-sS", "-p-", lab.Machine.IPv6().String()}, declared},
		{"udp-ipv4", []string{"-sU", "-p", silent, lab.Machine.IPv4().String()}, nil},
	}
	for _, s := range scans {
		t.Run(s.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), lab.Timeout(2*time.Minute))
			defer cancel()
			seen, err := nmap(ctx, lab.Internet, s.args...)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("nmap %s: %v", strings.Join(s.args, " "), seen)
			if s.want == nil {
				if want := "udp/" + silent + " open|filtered"; !slices.Equal(seen, []string{want}) {
					t.Errorf("nmap sees %v, want %s", seen, want)
				}
				return
			}
			for _, port := range seen {
				name, state, _ := strings.Cut(port, " ")
				if !s.want[name] || state != "open" && state != "closed" {
					t.Errorf("nmap sees %s", port)
				}
			}
			if len(seen) != len(s.want) {
				t.Errorf("nmap sees %v and the port table has %v", seen, s.want)
			}
		})
	}
}

// needNmap skips the test where nmap cannot be run.
func needNmap(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("nmap"); err != nil {
		t.Skip("nmap is not installed; ./setup.sh does it")
	}
	if os.Geteuid() != 0 {
		t.Skip("a network namespace with a TUN device of its own needs root")
	}
}

// nmap can see ports: what it does not see on the machine is not there.
func TestNmapSees(t *testing.T) {
	t.Parallel()
	needNmap(t)
	in, err := internet.New(internet.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	for _, at := range []string{"45.81.0.1:443", "[2600:3c04::1]:22"} {
		addr := netip.MustParseAddrPort(at)
		if _, err := in.Listen(addr); err != nil {
			t.Fatal(err)
		}
		args := []string{"-sS", "-p", "20-500", addr.Addr().String()}
		if addr.Addr().Is6() {
			args = append([]string{"-6"}, args...)
		}
		seen, err := nmap(t.Context(), in, args...)
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("tcp/%d open", addr.Port())
		if !slices.Contains(seen, want) || !slices.Contains(seen, "480 ports closed") {
			t.Errorf("nmap sees %v at %v, want %s and the others closed", seen, addr, want)
		}
	}
}

// internetPorts are the TCP ports that answer a stranger and the UDP port that
// is silent.
func internetPorts(plan layers.Plan) (tcp map[string]bool, silent string) {
	tcp = map[string]bool{}
	for _, p := range plan.Ports {
		switch {
		case p.From != layers.FromInternet:
		case p.Silent:
			silent = fmt.Sprint(p.Port)
		case p.Proto == "tcp":
			tcp[fmt.Sprintf("tcp/%d", p.Port)] = true
		}
	}
	return tcp, silent
}

// nmap runs in a network namespace that has a TUN device and nothing else,
// whose other end is a host on the simulated internet. It returns the ports
// that are not plainly filtered, as "tcp/443 closed".
func nmap(ctx context.Context, in *internet.Internet, args ...string) ([]string, error) {
	type result struct {
		out []byte
		err error
	}
	done := make(chan result, 1)
	go func() {
		// The namespace is this thread's, and its children's. It is not given
		// back: the thread ends with the goroutine, the namespace with both.
		runtime.LockOSThread()
		out, err := nmapHere(ctx, in, args)
		done <- result{out, err}
	}()
	r := <-done
	if r.err != nil {
		return nil, r.err
	}
	return parseNmap(r.out)
}

func nmapHere(ctx context.Context, in *internet.Internet, args []string) ([]byte, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	tun, err := openTUN("nmap0")
	if err != nil {
		return nil, err
	}
	for _, line := range []string{
		"link set lo up",
		"addr add " + nmapIPv4.String() + " dev nmap0",
		"link set nmap0 up",
		"-6 addr add " + nmapIPv6.String() + " dev nmap0 nodad",
		"route add default dev nmap0",
		"-6 route add default dev nmap0",
	} {
		if out, err := exec.CommandContext(ctx, "ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("ip %s: %w: %s", line, err, out)
		}
	}
	leave, err := in.Attach(tun, nmapIPv4.Addr(), nmapIPv6.Addr())
	if err != nil {
		return nil, err
	}
	defer leave()
	// -Pn -n: the machine answers no ping and there is no DNS. The rate is
	// what the guest keeps up with under TCG, with each probe sent twice.
	cmd := exec.CommandContext(ctx, "nmap", append([]string{"-Pn", "-n", "--min-rate", "3000", "--max-retries", "1", "-oX", "-"}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("nmap: %w: %s", err, stderr.String())
	}
	return out, nil
}

// openTUN makes a TUN device in this thread's namespace (Linux'
// Documentation/networking/tuntap.rst). It goes when it is closed.
func openTUN(name string) (io.ReadWriteCloser, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return nil, errors.Join(fmt.Errorf("make a TUN device: %w", err), unix.Close(fd))
	}
	// Before os.NewFile: only a file that does not block can be closed while
	// somebody reads from it.
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "/dev/net/tun"), nil
}

// parseNmap reads the part of nmap's XML that says what a port is. Ports that
// nmap lumps together must be filtered.
func parseNmap(b []byte) ([]string, error) {
	var run struct {
		Hosts []struct {
			Extra []struct {
				State string `xml:"state,attr"`
				Count int    `xml:"count,attr"`
			} `xml:"ports>extraports"`
			Ports []struct {
				Proto string `xml:"protocol,attr"`
				ID    string `xml:"portid,attr"`
				State struct {
					State string `xml:"state,attr"`
				} `xml:"state"`
			} `xml:"ports>port"`
		} `xml:"host"`
		Finished struct {
			Exit string `xml:"exit,attr"`
		} `xml:"runstats>finished"`
	}
	if err := xml.Unmarshal(b, &run); err != nil {
		return nil, fmt.Errorf("read nmap's answer: %w", err)
	}
	if len(run.Hosts) != 1 || run.Finished.Exit != "success" {
		return nil, fmt.Errorf("nmap did not get through: %s", clip(string(b)))
	}
	var seen []string
	for _, e := range run.Hosts[0].Extra {
		if e.State != "filtered" {
			seen = append(seen, fmt.Sprintf("%d ports %s", e.Count, e.State))
		}
	}
	for _, p := range run.Hosts[0].Ports {
		if p.State.State != "filtered" {
			seen = append(seen, p.Proto+"/"+p.ID+" "+p.State.State)
		}
	}
	return seen, nil
}

func TestParseNmap(t *testing.T) {
	t.Parallel()
	const head, tail = `<?xml version="1.0"?><nmaprun><host><ports>`, `</ports></host><runstats><finished exit="success"/></runstats></nmaprun>`
	port := func(proto, id, state string) string {
		return `<port protocol="` + proto + `" portid="` + id + `"><state state="` + state + `" reason="x"/></port>`
	}
	for _, c := range []struct {
		body string
		want []string
	}{
		{`<extraports state="filtered" count="65534"/>` + port("tcp", "443", "closed"), []string{"tcp/443 closed"}},
		{`<extraports state="closed" count="9"/>` + port("tcp", "22", "filtered"), []string{"9 ports closed"}},
		{port("udp", "51820", "open|filtered"), []string{"udp/51820 open|filtered"}},
	} {
		got, err := parseNmap([]byte(head + c.body + tail))
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v, want %v", c.body, got, err, c.want)
		}
	}
	for _, bad := range []string{"", "<nmaprun></nmaprun>", head + tail[:len("</ports></host>")] + "</nmaprun>"} {
		if seen, err := parseNmap([]byte(bad)); err == nil {
			t.Errorf("%q gives %v and no error", bad, seen)
		}
	}
}
