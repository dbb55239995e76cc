package assay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"

	plan "ingot/layers"
	"ingot/qemu-tests/internet"
)

// Hosts of the internet that a peer sends to; nobody else of the assay does.
var (
	remote4 = netip.MustParseAddrPort("45.77.80.80:8443")
	remote6 = netip.MustParseAddrPort("[2600:3c00:80::80]:8443")
)

// notThroughTime is how long a packet is waited for that must not come, under
// KVM.
const notThroughTime = time.Second

// through lets a peer send to the internet.
func (r *run) through(ctx context.Context, c plan.ThroughCheck) (string, error) {
	// A tunnel that leads nowhere would let nothing through either.
	conn, err := r.tunnel.DialContext(ctx, "tcp", net.JoinHostPort(r.id.serverTunnel, r.id.sshPort))
	if err != nil {
		return "", fmt.Errorf("the server itself cannot be reached through the tunnel: %w", err)
	}
	conn.Close()
	var seen []string
	for _, path := range []struct{ to, from netip.AddrPort }{
		{remote4, netip.AddrPortFrom(r.lab.Machine.IPv4(), 0)}, {remote6, netip.AddrPortFrom(r.lab.Machine.IPv6(), 0)},
	} {
		if path.to.Addr().Is6() && !r.id.tunnels6 {
			continue
		}
		evidence, err := r.send(ctx, path.to, path.from.Addr(), c.Passes)
		if err != nil {
			return evidence, err
		}
		seen = append(seen, evidence)
	}
	return strings.Join(seen, ", "), nil
}

// send connects through the tunnel to a host of the internet, and looks at what
// arrives there and at what left the machine.
func (r *run) send(ctx context.Context, to netip.AddrPort, machine netip.Addr, passes bool) (string, error) {
	l, err := r.lab.Internet.Listen(to)
	if err != nil {
		return "", err
	}
	defer l.Close()
	patience := notThroughTime
	if passes {
		patience = serviceTime
	}
	ctx, cancel := context.WithTimeout(ctx, r.lab.Timeout(patience))
	defer cancel()
	mark := r.lab.Internet.Mark()
	conn, err := r.tunnel.DialContext(ctx, "tcp", to.String())
	if err == nil {
		defer conn.Close()
	}
	left, countErr := r.lab.Internet.Count(mark, leavesFor(to.Addr()))
	switch {
	case countErr != nil:
		return "", countErr
	case !passes && left > 0:
		return "", unmet("%d packets of a peer to %v left the machine", left, to)
	case !passes && err == nil:
		return "", unmet("a peer is connected to %v", to)
	case !passes && !errors.Is(err, context.DeadlineExceeded) && !strings.Contains(err.Error(), "refused") && ctx.Err() == nil:
		return "", fmt.Errorf("connect through the tunnel: %w", err)
	case !passes:
		return fmt.Sprintf("nothing left for %v", to), nil
	case err != nil:
		return "", unmet("a peer cannot reach %v, %d packets left the machine: %v", to, left, err)
	}
	return r.arrived(ctx, l, to, machine)
}

// arrived wants the connection at the host to be the machine's.
func (r *run) arrived(ctx context.Context, l net.Listener, to netip.AddrPort, machine netip.Addr) (string, error) {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	conn, err := l.Accept()
	if err != nil {
		return "", unmet("the connection of a peer to %v did not arrive: %v", to, err)
	}
	defer conn.Close()
	from, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return "", err
	}
	if from.Addr() != machine {
		return "", unmet("%v sees %v, not the server's address %v", to, from.Addr(), machine)
	}
	return fmt.Sprintf("%v sees %v", to, machine), nil
}

// leavesFor matches what the machine sends to a host.
func leavesFor(host netip.Addr) func(internet.Frame) bool {
	return func(f internet.Frame) bool { return f.Direction == internet.FromMachine && destination(f) == host }
}

// A name that only the simulated internet knows, and its address.
const (
	testName    = "ingot-assay.example."
	testAddress = "45.77.53.53"
)

// resolve asks the machine's resolver as a peer does.
func (r *run) resolve(ctx context.Context) (string, error) {
	if err := r.lab.Internet.SetDNS(testName + " IN A " + testAddress); err != nil {
		return "", err
	}
	servers := []string{r.id.serverTunnel}
	if r.id.tunnels6 {
		servers = append(servers, serverTunnel6)
	}
	for _, server := range servers {
		if err := r.ask(ctx, netip.AddrPortFrom(netip.MustParseAddr(server), 53)); err != nil {
			return "", err
		}
	}
	return strings.Join(servers, " and ") + " say that " + testName + " is " + testAddress, nil
}

func (r *run) ask(ctx context.Context, server netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, r.lab.Timeout(serviceTime))
	defer cancel()
	conn, err := r.tunnel.DialContext(ctx, "udp", server.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	client := dns.Client{Timeout: r.lab.Timeout(serviceTime)}
	answer, _, err := client.ExchangeWithConnContext(ctx, new(dns.Msg).SetQuestion(testName, dns.TypeA), &dns.Conn{Conn: conn})
	if err != nil {
		return unmet("the resolver %v does not answer: %v", server, err)
	}
	for _, rr := range answer.Answer {
		if a, ok := rr.(*dns.A); ok && a.A.String() == testAddress {
			return nil
		}
	}
	return unmet("the resolver %v says %s, %v", server, dns.RcodeToString[answer.Rcode], answer.Answer)
}
