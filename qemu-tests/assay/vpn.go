package assay

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	plan "ingot/layers"
	"ingot/layers/vpn"
	"ingot/layers/wireguard"
	"ingot/qemu-tests/internet"
)

// A VPN provider with two servers, as the assay's file of the provider has them.
var (
	vpnServers = []struct {
		endpoint     netip.AddrPort
		exit4, exit6 netip.Addr
	}{
		{netip.MustParseAddrPort("45.76.1.1:51820"), netip.MustParseAddr("45.76.1.77"), netip.MustParseAddr("2600:3c04:1::77")},
		{netip.MustParseAddrPort("45.76.2.1:51820"), netip.MustParseAddr("45.76.2.77"), netip.MustParseAddr("2600:3c04:2::77")},
	}
	vpnCustomer = []netip.Addr{netip.MustParseAddr("10.64.0.2"), netip.MustParseAddr("fd00:64::2")}
	// vpnResolver answers within the VPN.
	vpnResolver = netip.MustParseAddr("10.64.0.1")
)

// provider is what the machine's secret slot says of the VPN, and the other half.
type provider struct {
	customer, public string   // key pair of the machine
	servers, publics []string // key pairs of the servers
	only4            bool     // the file has no address of IPv6
}

func newProvider() (*provider, error) {
	p := &provider{}
	var err error
	if p.customer, p.public, err = wireguard.NewKeyPair(rand.Reader); err != nil {
		return nil, err
	}
	for range vpnServers {
		private, public, err := wireguard.NewKeyPair(rand.Reader)
		if err != nil {
			return nil, err
		}
		p.servers, p.publics = append(p.servers, private), append(p.publics, public)
	}
	return p, nil
}

// file is what a provider hands out. It has what providers' files have that runs
// on other machines.
func (p *provider) file() []byte {
	var b strings.Builder
	address := fmt.Sprintf("%s/32, %s/128", vpnCustomer[0], vpnCustomer[1])
	if p.only4 {
		address = vpnCustomer[0].String()
	}
	fmt.Fprintf(&b, "[Interface]\nPrivateKey = %s\nAddress = %s\nDNS = %s\nPostUp = touch /run/ingot-assay-postup\n", p.customer, address, vpnResolver)
	for i, s := range vpnServers {
		fmt.Fprintf(&b, "\n[Peer]\nPublicKey = %s\nAllowedIPs = 0.0.0.0/0, ::/0\nEndpoint = %s\n", p.publics[i], s.endpoint)
	}
	return []byte(b.String())
}

// serve starts the provider's servers in the lab's internet, once.
func (l *Lab) serve(id Identity) error {
	if id.provider == nil || len(l.vpn) > 0 {
		return nil
	}
	for i, s := range vpnServers {
		v, err := l.Internet.NewVPN(internet.VPNOptions{
			PrivateKey: id.provider.servers[i], PeerPublicKey: id.provider.public, Endpoint: s.endpoint,
			Customer: vpnCustomer, Exits: []netip.Addr{s.exit4, s.exit6},
		})
		if err != nil {
			return err
		}
		l.vpn = append(l.vpn, v)
	}
	return l.serveNames()
}

// serveNames is the resolver within the VPN.
func (l *Lab) serveNames() error {
	conn, err := l.Internet.ListenPacket(netip.AddrPortFrom(vpnResolver, 53))
	if err != nil {
		return err
	}
	go func() { _ = dns.ActivateAndServe(nil, conn, dns.HandlerFunc(answerInVPN)) }() // returns when the internet is closed
	return nil
}

// names are those that only the VPN's resolver knows.
var names = map[string]netip.Addr{trackerName: trackerAddress.Addr()}

func answerInVPN(w dns.ResponseWriter, q *dns.Msg) {
	reply := new(dns.Msg).SetReply(q)
	reply.Rcode = dns.RcodeNameError
	for _, question := range q.Question {
		address, known := names[strings.ToLower(question.Name)]
		if !known {
			continue
		}
		reply.Rcode = dns.RcodeSuccess
		if question.Qtype == dns.TypeA {
			reply.Answer = append(reply.Answer, &dns.A{
				Hdr: dns.RR_Header{Name: question.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: address.AsSlice(),
			})
		}
	}
	_ = w.WriteMsg(reply) // the client asks again
}

// isExit reports an address that the VPN's customers are seen with.
func isExit(a netip.Addr) bool {
	for _, s := range vpnServers {
		if a == s.exit4 || a == s.exit6 {
			return true
		}
	}
	return false
}

// Hosts of the internet that only [run.exit] connects to.
var exitHosts = []netip.AddrPort{netip.MustParseAddrPort("45.77.81.81:8443"), netip.MustParseAddrPort("[2600:3c00:81::81]:8443")}

// exit connects from a namespace to a host of the internet, which must see the
// VPN's exit.
func (r *run) exit(ctx context.Context, c plan.ExitCheck) (string, error) {
	if r.id.provider == nil {
		return "", errors.New("the image has no slot for the VPN's file")
	}
	var seen []string
	for _, host := range exitHosts {
		evidence, err := r.exitTo(ctx, c, host)
		if err != nil {
			return evidence, err
		}
		seen = append(seen, evidence)
	}
	return strings.Join(seen, ", "), nil
}

func (r *run) exitTo(ctx context.Context, c plan.ExitCheck, host netip.AddrPort) (string, error) {
	l, err := r.lab.Internet.Listen(host)
	if err != nil {
		return "", err
	}
	defer l.Close()
	mark := r.lab.Internet.Mark()
	patience := r.lab.Timeout(serviceTime)
	ctx, cancel := context.WithTimeout(ctx, patience+10*time.Second)
	defer cancel()
	arrived := make(chan net.Addr, 1)
	go func() {
		if conn, err := l.Accept(); err == nil {
			arrived <- conn.RemoteAddr()
			conn.Close()
		}
		close(arrived)
	}()
	connect := fmt.Sprintf("timeout %.0f bash -c 'true <>/dev/tcp/%s/%d'", patience.Seconds(), host.Addr(), host.Port())
	out, err := r.shell.Run(ctx, "nsenter", "--net="+c.Namespace, "--", "sh", "-c", connect)
	if err != nil {
		return "", err
	}
	if didNotRun(out) {
		return "", fmt.Errorf("nsenter did not run: %s", clip(out.Stderr))
	}
	left, err := r.lab.Internet.Count(mark, leavesFor(host.Addr()))
	if err != nil {
		return "", err
	}
	if left > 0 {
		return "", unmet("%d packets to %v left the machine outside of the VPN", left, host)
	}
	if out.Exit != 0 {
		return "", unmet("nothing in the namespace can connect to %v: exit %d, %s", host, out.Exit, clip(out.Stderr))
	}
	from, err := netip.ParseAddrPort((<-arrived).String())
	if err != nil {
		return "", err
	}
	if !isExit(from.Addr()) {
		return "", unmet("%v sees %v, which is no exit of the VPN", host, from.Addr())
	}
	return fmt.Sprintf("%v sees the VPN's exit %v", host, from.Addr()), nil
}

// hasVPN reports whether there is a VPN namespace in a plan.
func hasVPN(p plan.Plan) bool {
	return slices.ContainsFunc(p.Secrets, func(s plan.SecretSlot) bool { return s.Name == vpn.ConfigSlot })
}
