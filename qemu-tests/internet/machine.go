package internet

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// gatewayMAC is the router on every link; the first byte marks it as locally
// administered.
const gatewayMAC tcpip.LinkAddress = "\x02INGOT"

// maxSocketPath is what sun_path holds on Linux, less the final zero byte.
const maxSocketPath = 107

// MachineOptions describes a machine's place on the internet. The zero value
// works and gives each machine addresses of its own.
type MachineOptions struct {
	// Name appears in errors and as the interface name in the pcapng file.
	Name string
	// MAC is the address of the machine's NIC.
	MAC net.HardwareAddr
	// IPv4 is the address DHCP leases, with the length of its subnet. A /32
	// is delivered the way some clouds do it, with option 121.
	IPv4 netip.Prefix
	// Gateway is the router and DHCP server, by default the subnet's first
	// address, or 172.31.1.1 for a /32.
	Gateway netip.Addr
	// IPv6 is the prefix that is advertised and routed to the machine, a /64.
	IPv6 netip.Prefix
	// NoIPv6 leaves the machine without router advertisements.
	NoIPv6 bool
	// Unadvertised routes the prefix and does not advertise it, as clouds do that
	// say in their metadata which address a machine has.
	Unadvertised bool
	// MTU of the link in bytes, which DHCP and router advertisements hand
	// out; by default the internet's, which is also the most.
	MTU int
}

func (o MachineOptions) withDefaults(n, mtu int) (MachineOptions, error) {
	if n > 200 {
		return o, errors.New("there is room for 200 machines: use several internets")
	}
	if o.Name == "" {
		o.Name = fmt.Sprintf("machine%d", n)
	}
	if o.MAC == nil {
		o.MAC = net.HardwareAddr{0x52, 0x54, 0, 0x10, 0, byte(n)} // QEMU's own prefix
	}
	if !o.IPv4.IsValid() {
		o.IPv4 = netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(9 + n)}), 24)
	}
	if !o.Gateway.IsValid() && o.IPv4.IsSingleIP() {
		o.Gateway = netip.AddrFrom4([4]byte{172, 31, 1, 1})
	}
	if !o.Gateway.IsValid() {
		o.Gateway = o.IPv4.Masked().Addr().Next()
	}
	if !o.IPv6.IsValid() && !o.NoIPv6 {
		o.IPv6 = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 7: byte(n)}), 64)
	}
	if o.NoIPv6 {
		o.IPv6 = netip.Prefix{}
	}
	o.IPv6 = o.IPv6.Masked()
	if o.MTU == 0 {
		o.MTU = mtu
	}
	return o, o.check(mtu)
}

func (o MachineOptions) check(mtu int) error {
	switch {
	case o.MTU < minMTU || o.MTU > mtu:
		return fmt.Errorf("an MTU of %d bytes does not work here: use %d to the internet's, %d", o.MTU, minMTU, mtu)
	case len(o.MAC) != 6 || o.MAC[0]&1 != 0:
		return fmt.Errorf("%v is not the address of one network card: use a unicast MAC of six bytes", o.MAC)
	case !o.IPv4.Addr().Is4():
		return fmt.Errorf("%v is not an IPv4 address with a prefix length, such as 203.0.113.10/24", o.IPv4)
	case !o.Gateway.Is4() || o.Gateway == o.IPv4.Addr():
		return fmt.Errorf("%v cannot be the gateway of %v: use another IPv4 address", o.Gateway, o.IPv4)
	case o.IPv6.IsValid() && (!o.IPv6.Addr().Is6() || o.IPv6.Bits() != 64):
		return fmt.Errorf("%v is not an IPv6 /64, which SLAAC needs (RFC 4862)", o.IPv6)
	}
	return nil
}

// Machine is one NIC on the internet, with a link of its own. QEMU may come and
// go: after a disconnect the next QEMU connects to the same machine.
type Machine struct {
	in     *Internet
	opts   MachineOptions
	socket string
	listen *net.UnixListener
	iface  int // of the pcapng file
	dhcp   dhcpFaults
	wire   wire
	path   atomic.Int32 // the MTU of a hop behind the gateway, 0 is none

	mu     sync.Mutex
	link   *link
	joined chan struct{} // closed when a QEMU connects; replaced when it leaves
}

// AddMachine puts a machine on the internet and listens for its QEMU.
func (in *Internet) AddMachine(opts MachineOptions) (*Machine, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return nil, fmt.Errorf("the simulated internet is closed: %w", net.ErrClosed)
	}
	number := len(in.machines) + 1
	opts, err := opts.withDefaults(number, in.opts.MTU)
	if err != nil {
		return nil, fmt.Errorf("add a machine: %w", err)
	}
	m := &Machine{in: in, opts: opts, joined: make(chan struct{})}
	m.wire.late = make(chan lateFrame, lateFrames)
	if err := in.checkUnique(m); err != nil {
		return nil, fmt.Errorf("add machine %s: %w", opts.Name, err)
	}
	if err := m.open(filepath.Join(in.dir, "nic"+strconv.Itoa(number))); err != nil {
		return nil, fmt.Errorf("add machine %s: %w", opts.Name, err)
	}
	if m.iface, err = in.record.addInterface(opts.Name); err != nil {
		return nil, errors.Join(err, m.listen.Close())
	}
	in.machines = append(in.machines, m)
	in.running.Go(m.acceptQEMU)
	in.running.Go(m.receiveLate)
	return m, nil
}

func (in *Internet) checkUnique(m *Machine) error {
	if in.isScanner(m.IPv4()) || m.opts.IPv6.Overlaps(in.opts.Scanners6) {
		return errors.New("its addresses are reserved for scans: choose others")
	}
	for _, other := range in.machines {
		if other.Name() == m.Name() || slices.Equal(other.MAC(), m.MAC()) ||
			other.IPv4() == m.IPv4() || other.opts.IPv6.Overlaps(m.opts.IPv6) {
			return fmt.Errorf("machine %s has the same name, MAC, IPv4 address or IPv6 prefix: change it", other.Name())
		}
	}
	return nil
}

func (m *Machine) open(socket string) (err error) {
	if len(socket) > maxSocketPath {
		return fmt.Errorf("the socket path %s has %d bytes and the kernel takes %d: use a shorter directory", socket, len(socket), maxSocketPath)
	}
	m.socket = socket
	m.listen, err = net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	return err
}

// acceptQEMU attaches each QEMU that connects; the newest one has the link.
func (m *Machine) acceptQEMU() {
	for {
		conn, err := m.listen.AcceptUnix()
		if err != nil {
			return // the listener was closed
		}
		l := newLink(conn)
		if !m.attach(l) {
			_ = conn.Close()
			return
		}
		m.in.log.Debug("machine connected", "machine", m.Name())
		m.in.running.Go(func() { l.write(m.record) })
		m.in.running.Go(func() {
			err := l.read(m.receive)
			m.in.log.Debug("machine disconnected", "machine", m.Name(), "reason", err)
			m.detach(l)
		})
	}
}

// attach makes l the machine's link, unless the internet is closing.
func (m *Machine) attach(l *link) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.in.ctx.Err() != nil {
		return false
	}
	if m.link != nil {
		m.link.close()
	} else {
		close(m.joined)
	}
	m.link = l
	return true
}

func (m *Machine) detach(l *link) {
	l.close()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.link == l {
		m.link, m.joined = nil, make(chan struct{})
	}
}

// Connected returns a channel that is closed as soon as a QEMU is connected.
func (m *Machine) Connected() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.joined
}

func (m *Machine) currentLink() *link {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.link
}

// send puts a frame on the wire to the machine, if one is connected and keeps
// up; else it is lost, as on any network.
func (m *Machine) send(frame []byte) {
	if l := m.currentLink(); l != nil {
		l.offer(frame)
	}
}

// record notes a frame about to be written and says whether a fault eats it.
func (m *Machine) record(o outbound) (pass bool) {
	return m.pass(o.frame, ToMachine, o.kind)
}

func (m *Machine) pass(frame []byte, d Direction, k kind) bool {
	// Every frame counts for the loss, or its order would hang on other faults.
	lost := m.wire.lose(d)
	dropped := m.in.faults.drop(frame) || lost
	m.in.record.add(m, d, k, dropped, frame)
	return !dropped
}

// owns reports whether packets to addr are routed to the machine.
func (m *Machine) owns(addr netip.Addr) bool {
	return addr == m.opts.IPv4.Addr() || m.opts.IPv6.IsValid() && m.opts.IPv6.Contains(addr)
}

func (m *Machine) close() error {
	err := m.listen.Close()
	if l := m.currentLink(); l != nil {
		l.close()
	}
	return err
}

// Name returns the machine's name.
func (m *Machine) Name() string { return m.opts.Name }

// MAC returns the address of the machine's NIC.
func (m *Machine) MAC() net.HardwareAddr { return slices.Clone(m.opts.MAC) }

// IPv4 returns the address that DHCP leases to the machine.
func (m *Machine) IPv4() netip.Addr { return m.opts.IPv4.Addr() }

// Gateway returns the machine's IPv4 router.
func (m *Machine) Gateway() netip.Addr { return m.opts.Gateway }

// IPv6Prefix returns what is routed to the machine, or the zero Prefix with NoIPv6.
func (m *Machine) IPv6Prefix() netip.Prefix { return m.opts.IPv6 }

// IPv6 returns the global address the machine forms from its MAC by SLAAC
// (EUI-64), or the zero Addr with NoIPv6. With Unadvertised it has another one.
func (m *Machine) IPv6() netip.Addr {
	if !m.opts.IPv6.IsValid() {
		return netip.Addr{}
	}
	return eui64(m.opts.IPv6.Addr(), m.opts.MAC)
}

// LinkLocal returns the machine's IPv6 link-local address (EUI-64).
func (m *Machine) LinkLocal() netip.Addr {
	return eui64(netip.AddrFrom16([16]byte{0xfe, 0x80}), m.opts.MAC)
}

// eui64 forms an address from a /64 and a MAC (RFC 4291, appendix A).
func eui64(prefix netip.Addr, mac net.HardwareAddr) netip.Addr {
	a := prefix.As16()
	copy(a[8:], []byte{mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
	return netip.AddrFrom16(a)
}

// Socket returns the path of the Unix socket that QEMU connects to.
func (m *Machine) Socket() string { return m.socket }

// QEMUArgs returns the arguments that give a QEMU this machine's NIC. Without
// an option ROM the BIOS does not try to boot from the network. The card is
// virtio-net-pci when nic is empty.
func (m *Machine) QEMUArgs(nic string) []string {
	socket := strings.ReplaceAll(m.socket, ",", ",,")
	return []string{
		"-netdev", "stream,id=net0,server=off,addr.type=unix,addr.path=" + socket,
		"-device", cmp.Or(nic, "virtio-net-pci") + ",netdev=net0,romfile=,mac=" + m.opts.MAC.String(),
	}
}

// frame wraps an IP packet for the machine.
func (m *Machine) frame(packet []byte) []byte {
	f := make([]byte, 0, etherHeader+len(packet))
	f = append(f, m.opts.MAC...)
	f = append(f, gatewayMAC...)
	f = binary.BigEndian.AppendUint16(f, etherType(packet))
	return append(f, packet...)
}
