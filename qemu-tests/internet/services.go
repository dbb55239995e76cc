package internet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// metadataAddr is where most clouds have the instance metadata service.
func metadataAddr() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{169, 254, 169, 254}), 80)
}

// SetMetadata serves h at http://169.254.169.254 to every machine, told apart
// by Request.RemoteAddr. With nil there is no such service and a connection is
// refused; BlackHole makes it silent.
func (in *Internet) SetMetadata(h http.Handler) error {
	in.mu.Lock()
	old := in.metadata
	in.metadata = nil
	in.mu.Unlock()
	if old != nil {
		in.untrack(old)
		if err := old.Close(); err != nil {
			return fmt.Errorf("stop the metadata service: %w", err)
		}
	}
	if h == nil {
		return nil
	}
	l, err := in.Listen(metadataAddr())
	if err != nil {
		return fmt.Errorf("start the metadata service: %w", err)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute, BaseContext: func(net.Listener) context.Context { return in.ctx }}
	service := &httpService{server: server, listener: l}
	if err := in.track(service); err != nil {
		return errors.Join(err, service.Close())
	}
	in.mu.Lock()
	in.metadata = service
	in.mu.Unlock()
	in.running.Go(func() { _ = server.Serve(l) }) // returns when closed, and only then
	return nil
}

// httpService closes its listener itself, because a server that has not begun
// to serve does not know it yet.
type httpService struct {
	server   *http.Server
	listener net.Listener
}

func (s *httpService) Close() error {
	return errors.Join(s.server.Close(), s.listener.Close())
}

// resolver answers from one zone and knows no other name.
type resolver struct {
	in      *Internet
	mu      sync.RWMutex
	records []dns.RR
	fault   DNSFault
}

// DNSFault is what is wrong with the resolver. The zero value is nothing. A
// resolver that is gone is a BlackHole for each of DNSAddrs.
type DNSFault struct {
	// ServFail answers every question with SERVFAIL.
	ServFail bool
	// Delay is how long every answer takes.
	Delay time.Duration
}

// SetDNSFault makes the resolver fail or slow until the next call.
func (in *Internet) SetDNSFault(f DNSFault) {
	in.dns.mu.Lock()
	defer in.dns.mu.Unlock()
	in.dns.fault = f
}

// newResolver serves DNS over UDP and TCP on the internet's resolver addresses.
func newResolver(in *Internet) (*resolver, error) {
	r := &resolver{in: in}
	for _, addr := range in.opts.DNS {
		at := netip.AddrPortFrom(addr, 53)
		pc, err := in.ListenPacket(at)
		if err != nil {
			return nil, fmt.Errorf("start the resolver: %w", err)
		}
		l, err := in.Listen(at)
		if err != nil {
			return nil, fmt.Errorf("start the resolver: %w", err)
		}
		in.running.Go(func() { _ = dns.ActivateAndServe(nil, pc, r) }) // both return when closed
		in.running.Go(func() { _ = dns.ActivateAndServe(l, nil, r) })
	}
	return r, nil
}

// SetDNS makes the resolver answer from these records, in the syntax of a zone
// file and with absolute names, in place of those before. Other names do not
// exist.
func (in *Internet) SetDNS(zone string) error {
	parser := dns.NewZoneParser(strings.NewReader(zone), ".", "")
	parser.SetDefaultTTL(60)
	var records []dns.RR
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		records = append(records, rr)
	}
	if err := parser.Err(); err != nil {
		return fmt.Errorf("the DNS records cannot be read: %w", err)
	}
	in.dns.mu.Lock()
	defer in.dns.mu.Unlock()
	in.dns.records = records
	return nil
}

// ServeDNS answers one query; it is the resolver's dns.Handler.
func (r *resolver) ServeDNS(w dns.ResponseWriter, req *dns.Msg) {
	reply := new(dns.Msg).SetReply(req)
	reply.RecursionAvailable = true
	r.mu.RLock()
	fault := r.fault
	r.mu.RUnlock()
	switch {
	case fault.ServFail:
		reply.Rcode = dns.RcodeServerFailure
	case len(req.Question) != 1:
		reply.Rcode = dns.RcodeFormatError
	default:
		reply.Answer, reply.Rcode = r.lookup(req.Question[0])
	}
	if req.IsEdns0() != nil {
		reply.SetEdns0(1232, false) // bytes; fits IPv6's minimum MTU
	}
	if r.in.wait(fault.Delay) {
		_ = w.WriteMsg(reply) // the client asks again
	}
}

// lookup returns the records of a name, with the target of an alias. A name
// without records of the type asked for exists but has no answer.
func (r *resolver) lookup(q dns.Question) ([]dns.RR, int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var answer []dns.RR
	name, code := q.Name, dns.RcodeNameError
	for range 8 { // aliases in a row; more would be a loop
		alias := ""
		for _, rr := range r.records {
			if !strings.EqualFold(rr.Header().Name, name) {
				continue
			}
			code = dns.RcodeSuccess
			cname, isAlias := rr.(*dns.CNAME)
			if rr.Header().Rrtype == q.Qtype || q.Qtype == dns.TypeANY || isAlias {
				answer = append(answer, rr)
			}
			if isAlias && q.Qtype != dns.TypeCNAME {
				alias = cname.Target
			}
		}
		if alias == "" {
			break
		}
		name = alias
	}
	return answer, code
}
