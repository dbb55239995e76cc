package assay

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"ingot/layers/wireguard"
	"ingot/qemu-tests/internet"
	"ingot/qemu-tests/vm"
)

// Lab is a simulated internet with one place for a machine.
type Lab struct {
	Toolchain vm.Toolchain
	Accel     vm.Accel
	Internet  *internet.Internet
	Machine   *internet.Machine
	dir       string
	boots     int
	options   internet.Options
	place     internet.MachineOptions
	vpn       []*internet.VPN // the provider's servers, when the machine has a VPN
}

// NewLab makes the internet; artefacts go to dir. probeCache remembers which
// accelerator works, empty asks every time.
func NewLab(ctx context.Context, tc vm.Toolchain, dir, probeCache string) (*Lab, error) {
	accel, err := vm.Probe(ctx, tc, vm.ProbeOptions{CacheDir: probeCache})
	if err != nil {
		return nil, err
	}
	l := &Lab{Toolchain: tc, Accel: accel, dir: dir, place: internet.MachineOptions{Name: "server"}}
	l.options.ProbeWait = time.Duration(accel.TimeoutFactor * float64(200*time.Millisecond))
	return l, l.open()
}

// open makes the internet, in l.dir.
func (l *Lab) open() (err error) {
	l.vpn = nil
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return err
	}
	l.options.PCAP = filepath.Join(l.dir, "packets.pcapng")
	if l.Internet, err = internet.New(l.options); err != nil {
		return err
	}
	if l.Machine, err = l.Internet.AddMachine(l.place); err != nil {
		l.Internet.Close()
	}
	return err
}

// Another is a second internet with a place for the same machine. Its artefacts
// go to a folder of that name beside this one's. change may be nil.
func (l *Lab) Another(name string, change func(*internet.MachineOptions)) (*Lab, error) {
	n := &Lab{Toolchain: l.Toolchain, Accel: l.Accel, dir: filepath.Join(filepath.Dir(l.dir), name), options: l.options, place: l.place}
	if change != nil {
		change(&n.place)
	}
	return n, n.open()
}

// stretch multiplies all timeouts; 0 leaves them.
func (l *Lab) stretch(factor float64) {
	if factor > 0 {
		l.Accel.TimeoutFactor *= factor
	}
}

// Close ends the internet. Machines end with their context or by themselves.
func (l *Lab) Close() error { return l.Internet.Close() }

// Timeout scales a time chosen for KVM to this accelerator.
func (l *Lab) Timeout(kvm time.Duration) time.Duration {
	return time.Duration(float64(kvm) * l.Accel.TimeoutFactor)
}

// BootOptions says how a machine is powered on.
type BootOptions struct {
	Image    string
	Firmware vm.Firmware
	Instance []byte     // nil boots without an instance config
	Kernel   *vm.Kernel // nil boots by the image's own boot loader
	// After is a machine that has ended and whose disk this one goes on with.
	After   *Booted
	Disks   []vm.ExtraDisk
	SMBIOS  []string // values of -smbios: the provider the machine takes itself for
	Reboots bool
	// The machine's hardware, where it is not the usual: the time of its clock,
	// its memory, the size of its disk in bytes and what it hangs on, its network
	// card as QEMU calls it, and an overlay to go on with.
	Clock     time.Time
	MemoryMiB int
	DiskBytes int64
	Bus       vm.Bus
	NIC       string
	Overlay   string
}

// diskBytes is the size of the machine's disk: the image, a second slot and
// some state, as the smallest servers on the market have.
const diskBytes = 10 << 30

// Booted is a machine that was powered on.
type Booted struct {
	*vm.VM
	Since time.Time // of power-on
	lab   *Lab
	id    Identity
	mark  internet.Mark
	cfg   vm.Config
}

// Boot powers a machine on; it returns as soon as the guest runs.
func (l *Lab) Boot(ctx context.Context, id Identity, o BootOptions) (*Booted, error) {
	if err := l.serve(id); err != nil {
		return nil, err
	}
	l.boots++
	dir := filepath.Join(l.dir, fmt.Sprintf("boot-%d", l.boots))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	cfg := vm.Config{
		Kernel:    o.Kernel,
		Toolchain: l.Toolchain, Accel: l.Accel, Firmware: o.Firmware, Disk: o.Image, DiskBytes: cmp.Or(o.DiskBytes, diskBytes), Bus: o.Bus,
		Clock: o.Clock, MemoryMiB: o.MemoryMiB, Overlay: o.Overlay,
		Net: l.Machine.QEMUArgs(o.NIC), ExtraDisks: o.Disks, SMBIOS: o.SMBIOS, Dir: dir, Reboots: o.Reboots,
	}
	if o.Instance != nil {
		file := filepath.Join(dir, "instance.ign")
		if err := os.WriteFile(file, o.Instance, 0o600); err != nil {
			return nil, err
		}
		cfg.FwCfg = map[string]string{"opt/com.coreos/config": file}
	}
	if o.After != nil {
		cfg.Overlay, cfg.Vars = o.After.Overlay(), o.After.Vars()
	}
	b := &Booted{lab: l, id: id, Since: time.Now(), mark: l.Internet.Mark(), cfg: cfg}
	var err error
	b.VM, err = vm.Start(ctx, cfg)
	return b, err
}

// resume goes on from a snapshot, whose overlay was copied to disk.
func (l *Lab) resume(ctx context.Context, s Saved, disk string) (*Booted, error) {
	if err := l.serve(s.booted.id); err != nil {
		return nil, err
	}
	cfg := s.booted.cfg
	cfg.Net, cfg.Dir, cfg.Overlay, cfg.Snapshot = l.Machine.QEMUArgs(""), l.dir, disk, snapshotName
	b := &Booted{lab: l, id: s.booted.id, Since: time.Now(), mark: l.Internet.Mark(), cfg: cfg}
	var err error
	b.VM, err = vm.Start(ctx, cfg)
	return b, err
}

// statusLine is the last line of what the agent says at the end of a boot.
var statusLine = regexp.MustCompile(`ingot: host key (SHA256:[A-Za-z0-9+/]{43}|unknown)`)

// bootTime is how long a boot may take under KVM.
const bootTime = time.Minute

// AwaitUp waits until the machine says on its console what state it is in,
// which is the last thing of a boot, and returns its host key's fingerprint.
func (b *Booted) AwaitUp(ctx context.Context, afterLines int) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, b.lab.Timeout(bootTime))
	defer cancel()
	line, err := b.WaitConsoleAfter(ctx, afterLines, statusLine)
	if err != nil {
		return "", err
	}
	return statusLine.FindStringSubmatch(line)[1], nil
}

// Connect opens the tunnel the way the owner does and waits for the handshake.
func (b *Booted) Connect(ctx context.Context) (*internet.Tunnel, error) {
	return b.connectAs(ctx, b.id.owner, netip.Addr{})
}

// connectAs does the same as a peer, from an address of the internet; the zero
// Addr is some ordinary host's.
func (b *Booted) connectAs(ctx context.Context, c client, source netip.Addr) (*internet.Tunnel, error) {
	return b.connectTo(ctx, c, source, b.lab.Machine.IPv4())
}

// connectTo does the same at one of the machine's addresses.
func (b *Booted) connectTo(ctx context.Context, c client, source, address netip.Addr) (*internet.Tunnel, error) {
	port := uint16(wireguard.DefaultListenPort)
	for _, p := range b.id.Plan.Ports {
		if p.Silent && p.Proto == "udp" {
			port = uint16(p.Port)
		}
	}
	t, err := b.lab.Internet.NewTunnel(internet.TunnelOptions{
		PrivateKey: c.key, PeerPublicKey: b.id.serverPublic, PresharedKey: c.presharedKey,
		Endpoint:  netip.AddrPortFrom(address, port),
		Addresses: c.addresses, Source: source,
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, b.lab.Timeout(bootTime))
	defer cancel()
	if err := t.WaitHandshake(ctx); err != nil {
		t.Close()
		return nil, b.Failure(fmt.Errorf("no WireGuard handshake: %w", err))
	}
	return t, nil
}
