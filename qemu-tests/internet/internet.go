// Package internet is the whole internet of a machine under test, inside the
// test process: no root, no tap device, no packet on the host's network.
//
// QEMU's NIC is a Unix socket (-netdev stream). Every frame is recorded, passes
// the fault rules, and is then answered at frame level (ARP, NDP, DHCP, ping,
// the answers to a scan), routed to another machine, or handed to a gVisor
// netstack that plays every other host of the internet at once.
package internet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"
)

// Options says how an Internet is made. The zero value works.
type Options struct {
	// Dir is where the machines' sockets are. Empty makes a short temporary
	// directory that Close removes.
	Dir string
	// PCAP is the pcapng file every frame is written to. Empty records into
	// a temporary file that Close removes.
	PCAP string
	// MTU of the internet and of every link without its own, in bytes, 1500
	// when zero.
	MTU int
	// DNS are the addresses of the resolver, which DHCP and router
	// advertisements hand out. One of each family when empty.
	DNS []netip.Addr
	// Scanners4 and Scanners6 are the addresses that ScanTCP, ProbeUDP and
	// Ping come from; nothing else may use them. The defaults are ordinary
	// unicast space, because a packet from a documentation range can be
	// dropped by a bogon filter and hide an open port.
	Scanners4, Scanners6 netip.Prefix
	// ProbeTries is how often an unanswered probe is sent, 3 when zero. Up
	// to 3 % of the answers are lost under load, so less than 2 is refused.
	ProbeTries int
	// ProbeWait is the silence after which a pass of a scan is over, 500 ms
	// when zero. Slow accelerators scale it.
	ProbeWait time.Duration
	// Logger gets what the package has to say; nil is silent.
	Logger *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	if o.MTU == 0 {
		o.MTU = 1500
	}
	if len(o.DNS) == 0 {
		o.DNS = []netip.Addr{netip.MustParseAddr("45.78.0.53"), netip.MustParseAddr("2600:3c01::53")}
	}
	if !o.Scanners4.IsValid() {
		o.Scanners4 = netip.MustParsePrefix("45.79.0.0/16")
	}
	if !o.Scanners6.IsValid() {
		o.Scanners6 = netip.MustParsePrefix("2600:3c02::/64")
	}
	if o.ProbeTries == 0 {
		o.ProbeTries = 3
	}
	if o.ProbeWait == 0 {
		o.ProbeWait = 500 * time.Millisecond
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, o.check()
}

func (o Options) check() error {
	switch {
	case o.MTU < minMTU || o.MTU > 9000:
		return fmt.Errorf("an MTU of %d bytes does not work: use %d (IPv6's minimum) to 9000", o.MTU, minMTU)
	case o.ProbeTries < 2:
		return fmt.Errorf("%d probe tries miss answers: use at least 2", o.ProbeTries)
	case !o.Scanners4.Addr().Is4() || o.Scanners4.Bits() > 24:
		return fmt.Errorf("scanner prefix %v is too small: use an IPv4 prefix of /24 or wider", o.Scanners4)
	case !o.Scanners6.Addr().Is6() || o.Scanners6.Bits() > 64:
		return fmt.Errorf("scanner prefix %v is too small: use an IPv6 prefix of /64 or wider", o.Scanners6)
	}
	return nil
}

// Internet is a running simulated internet. Its methods may be called from any
// goroutine.
type Internet struct {
	opts    Options
	log     *slog.Logger
	dir     string
	ownDir  bool
	hosts   *hosts
	record  *recorder
	faults  faults
	probes  probes
	dns     *resolver
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu       sync.RWMutex
	machines []*Machine
	attached []*attached
	closers  []io.Closer
	metadata io.Closer
	closed   bool
}

// New starts an internet with a resolver and no machine on it. Close must be
// called.
func New(opts Options) (*Internet, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	in := &Internet{opts: opts, log: opts.Logger, dir: opts.Dir}
	in.ctx, in.cancel = context.WithCancel(context.Background())
	if err := in.start(); err != nil {
		return nil, errors.Join(err, in.Close())
	}
	return in, nil
}

func (in *Internet) start() (err error) {
	if in.dir == "" {
		if in.dir, err = os.MkdirTemp("", "net"); err != nil {
			return fmt.Errorf("make a directory for the network sockets: %w", err)
		}
		in.ownDir = true
	}
	if in.record, err = newRecorder(in.opts.PCAP, in.dir); err != nil {
		return err
	}
	if in.hosts, err = newHosts(in.opts.MTU); err != nil {
		return err
	}
	if err = in.hosts.impersonateAll(); err != nil {
		return err
	}
	in.running.Go(in.deliverFromHosts)
	in.dns, err = newResolver(in)
	return err
}

// deliverFromHosts carries what the netstack sends to the machine it is for.
func (in *Internet) deliverFromHosts() {
	for {
		packet := in.hosts.read(in.ctx)
		if packet == nil {
			return
		}
		_, dst, ok := addresses(packet)
		if !ok {
			continue
		}
		if m := in.machineAt(dst); m != nil {
			m.sendPacket(packet)
		} else if a := in.attachedAt(dst); a != nil {
			a.deliver(packet)
		}
	}
}

// machineAt returns the machine that packets to addr are routed to, or nil.
func (in *Internet) machineAt(addr netip.Addr) *Machine {
	in.mu.RLock()
	defer in.mu.RUnlock()
	for _, m := range in.machines {
		if m.owns(addr) {
			return m
		}
	}
	return nil
}

// isScanner reports whether addr is reserved for probes.
func (in *Internet) isScanner(addr netip.Addr) bool {
	return in.opts.Scanners4.Contains(addr) || in.opts.Scanners6.Contains(addr)
}

// DNSAddrs returns the addresses of the resolver.
func (in *Internet) DNSAddrs() []netip.Addr { return slices.Clone(in.opts.DNS) }

// track makes Close close c, unless the internet is closed already.
func (in *Internet) track(c io.Closer) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return fmt.Errorf("the simulated internet is closed: %w", net.ErrClosed)
	}
	in.closers = append(in.closers, c)
	return nil
}

// untrack forgets c.
func (in *Internet) untrack(c io.Closer) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closers = slices.DeleteFunc(in.closers, func(other io.Closer) bool { return other == c })
}

// Close ends every listener, tunnel and connection, completes the pcapng file
// and removes the sockets. A second Close does nothing.
func (in *Internet) Close() error {
	in.mu.Lock()
	if in.closed {
		in.mu.Unlock()
		return nil
	}
	in.closed = true
	closers, machines := slices.Clone(in.closers), in.machines
	in.mu.Unlock()

	var errs []error
	for _, c := range slices.Backward(closers) {
		errs = append(errs, c.Close())
	}
	in.cancel()
	for _, m := range machines {
		errs = append(errs, m.close())
	}
	if in.hosts != nil {
		in.hosts.abort()
	}
	in.running.Wait()
	if in.hosts != nil {
		in.hosts.close()
	}
	if in.record != nil {
		errs = append(errs, in.record.close())
	}
	if in.ownDir {
		errs = append(errs, os.RemoveAll(in.dir))
	}
	return errors.Join(errs...)
}
