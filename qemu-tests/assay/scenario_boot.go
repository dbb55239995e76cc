package assay

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"ingot/layers"
	"ingot/layers/system"
	"ingot/qemu-tests/internet"
	"ingot/qemu-tests/vm"
)

// bootScenarios are boots on unusual hardware or into an unusual world.
func bootScenarios() []scenario {
	return []scenario{
		{
			id: "uefi", title: "boots by UEFI firmware", seconds: 45, play: playUEFI,
			sabotage: sabotage{what: "systemd-run --quiet --unit=sabotage false", command: "systemd-run --quiet --wait --unit=sabotage false || true"},
		},
		{
			id: "clock-in-the-past", title: "comes up when the hardware clock says 2001", seconds: 50, play: playOldClock,
			sabotage: sabotage{what: "date --set=2001-01-02", command: "systemctl stop chrony.service; date --set=2001-01-02"},
		},
		{
			id: "dhcp-late", title: "comes up as soon as DHCP answers, and is silent until then", seconds: 55, play: playLateDHCP,
			sabotage: sabotage{what: "the image does not ask for DHCP", plan: func(p *layers.Plan) { edit(p, "/etc/systemd/network/", "DHCP=", "DHCP=no\n#") }},
		},
		{
			id: "dns-dead", title: "comes up without DNS", seconds: 50, play: playDeadDNS,
			sabotage: sabotage{what: "a service that must resolve a name before SSH listens", plan: func(p *layers.Plan) {
				addService(p, "sabotage.service", "ssh.socket", "getent hosts www.debian.org")
			}},
		},
		{
			id: "mtu-1280", title: "data passes the tunnel when the network carries 1,280 bytes only", seconds: 50, play: playSmallMTU,
			sabotage: sabotage{what: "a firewall that drops large datagrams", command: "nft insert rule inet ingot inbound udp length gt 1000 drop"},
		},
		{
			id: "memory-512", title: "comes up with 512 MiB of memory", seconds: 50, play: playSmallMemory,
			sabotage: sabotage{what: "tail /dev/zero", command: "tail /dev/zero || true"},
		},
		{
			id: "disk-minimum", title: "comes up on the smallest disk", seconds: 50, play: playSmallDisk,
			sabotage: sabotage{what: "a disk that is 300 MiB smaller", world: true},
		},
		{
			id: "disk-40g", title: "the state volume grows to a disk of 40 GiB", seconds: 55, play: playLargeDisk,
			sabotage: sabotage{what: "a disk of 10 GiB", world: true},
		},
	}
}

func playUEFI(ctx context.Context, s *scene) (string, error) {
	if err := s.up(ctx, BootOptions{Firmware: vm.UEFI}); err != nil {
		return "", err
	}
	if err := s.shell.must(ctx, "test -d /sys/firmware/efi"); err != nil {
		return "", promised(err)
	}
	return s.readyEvidence(), s.well(ctx)
}

func (s *scene) readyEvidence() string {
	return fmt.Sprintf("up %.0f s after power-on", time.Since(s.machine.Since).Seconds())
}

// oldClock is before every build of Ingot.
var oldClock = time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)

func playOldClock(ctx context.Context, s *scene) (string, error) {
	if err := s.up(ctx, BootOptions{Clock: oldClock}); err != nil {
		return "", err
	}
	if err := s.well(ctx); err != nil {
		return "", err
	}
	text, err := s.shell.output(ctx, "date --utc +%s")
	if err != nil {
		return "", err
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return text, err
	}
	now := time.Unix(seconds, 0).UTC()
	// systemd sets the clock forward to the time of its own build at least.
	if now.Before(oldClock.AddDate(20, 0, 0)) {
		return "", unmet("the machine believes that it is %s", now.Format(time.DateOnly))
	}
	return "the machine says " + now.Format(time.DateOnly), nil
}

func playLateDHCP(ctx context.Context, s *scene) (string, error) {
	s.lab.Machine.SetDHCP(false)
	if err := s.boot(ctx, BootOptions{Instance: s.id.Instance}); err != nil {
		return "", err
	}
	if _, err := s.machine.AwaitUp(ctx, 0); err != nil {
		return "", promised(err)
	}
	waited := time.Since(s.machine.Since)
	if scan, err := s.lab.Internet.ScanTCP(ctx, s.lab.Machine.IPv4(), internet.AllPorts()); err != nil {
		return "", err
	} else if len(scan.Answers) > 0 {
		return "", unmet("%d ports of an address that it does not have answer", len(scan.Answers))
	}
	s.lab.Machine.SetDHCP(true)
	start := time.Now()
	if err := s.connected(ctx); err != nil {
		return "", err
	}
	if err := s.well(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("up without an address %.0f s after power-on, reachable %.0f s after DHCP answered", waited.Seconds(), time.Since(start).Seconds()), nil
}

func playDeadDNS(ctx context.Context, s *scene) (string, error) {
	for _, addr := range s.lab.Internet.DNSAddrs() {
		s.lab.Internet.BlackHole(addr, true)
	}
	if err := s.up(ctx, BootOptions{}); err != nil {
		return "", err
	}
	return s.readyEvidence(), s.well(ctx)
}

// bulk is how many bytes go through the tunnel in each direction: some hundred
// full packets.
const bulk = 1 << 19

func playSmallMTU(ctx context.Context, s *scene) (string, error) {
	if err := s.inInternet(func(o *internet.Options) { o.MTU = 1280 }); err != nil {
		return "", err
	}
	if err := s.up(ctx, BootOptions{}); err != nil {
		return "", err
	}
	if err := s.spoil(ctx); err != nil {
		return "", err
	}
	ctx, cancel := s.within(ctx, 20*time.Second)
	defer cancel()
	out, err := s.shell.Run(ctx, "head", "-c", strconv.Itoa(bulk), "/dev/zero")
	if err != nil || len(out.Stdout) != bulk {
		return "", unmet("%d of %d bytes came through the tunnel: %v", len(out.Stdout), bulk, err)
	}
	out, err = s.shell.Feed(ctx, strings.NewReader(out.Stdout), "wc", "-c")
	if got := strings.TrimSpace(out.Stdout); err != nil || got != strconv.Itoa(bulk) {
		return "", unmet("%s of %d bytes went through the tunnel: %v", got, bulk, err)
	}
	mtu, err := s.shell.output(ctx, "cat /sys/class/net/wg0/mtu")
	return fmt.Sprintf("%d bytes each way, MTU of the tunnel %s", bulk, mtu), err
}

func playSmallMemory(ctx context.Context, s *scene) (string, error) {
	if err := s.up(ctx, BootOptions{MemoryMiB: 512}); err != nil {
		return "", err
	}
	if err := s.well(ctx); err != nil {
		return "", err
	}
	free, err := s.shell.output(ctx, "sed -n 's/MemAvailable: *//p' /proc/meminfo")
	return free + " available when up", err
}

// minimumDisk is what the image needs at least: itself with its root grown to
// the slot, the second slot with its hash tree, the smallest state volume
// (docs/image.md).
func (s *scene) minimumDisk() (int64, error) {
	table, d, err := partitions(s.opts.Image)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	root := named(table, "root-a")
	if root == nil {
		return 0, errors.New("the image has no partition root-a")
	}
	slot := s.id.Plan.Site.SlotBytes
	return d.Size - root.GetSize() + 2*slot + layers.VerityBytes(slot) + system.MinVarBytes, nil
}

func playSmallDisk(ctx context.Context, s *scene) (string, error) {
	size, err := s.minimumDisk()
	if err != nil {
		return "", err
	}
	if s.otherwise() {
		size -= 300 << 20
	}
	if err := s.up(ctx, BootOptions{DiskBytes: size}); err != nil {
		return "", err
	}
	volume, err := s.shell.output(ctx, "df --block-size=1M --output=size,avail /var | tail -n 1")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("disk of %d MiB, /var and what is free there: %s MiB", size>>20, volume), s.well(ctx)
}

func playLargeDisk(ctx context.Context, s *scene) (string, error) {
	size := int64(40 << 30)
	if s.otherwise() {
		size = diskBytes
	}
	if err := s.up(ctx, BootOptions{DiskBytes: size}); err != nil {
		return "", err
	}
	if err := s.well(ctx); err != nil {
		return "", err
	}
	text, err := s.shell.output(ctx, "df --block-size=1G --output=size /var | tail -n 1")
	if err != nil {
		return "", err
	}
	// Two slots of 2 GiB, the ESP, and what ext4 takes for itself.
	if gib, err := strconv.Atoi(strings.TrimSpace(text)); err != nil || gib < 33 {
		return "", unmet("/var has %s GiB of a disk of 40 GiB", text)
	}
	return "/var has " + strings.TrimSpace(text) + " GiB", nil
}

// edit is a fault in the plan: in the image's files below a prefix, old becomes
// new.
func edit(p *layers.Plan, prefix, old, replacement string) {
	for i, f := range p.Image.Files {
		if strings.HasPrefix(f.Path, prefix) {
			p.Image.Files[i].Contents = strings.ReplaceAll(f.Contents, old, replacement)
		}
	}
}

// addService is a fault in the plan: a service that must succeed before another
// unit starts.
func addService(p *layers.Plan, name, before, command string) {
	on := true
	p.Image.Units = append(p.Image.Units, layers.Unit{Name: name, Enabled: &on, Contents: "[Unit]\nDescription=Sabotage\nDefaultDependencies=no\nAfter=var.mount\nRequiresMountsFor=/var\nBefore=" + before +
		"\nConflicts=shutdown.target\nBefore=shutdown.target\n\n[Service]\nType=oneshot\nRemainAfterExit=yes\nTimeoutStartSec=30\nExecStart=/bin/sh -c '" + command + "'\n" +
		"ExecStop=/bin/rm -f /var/lib/ingot/sabotage\n\n[Install]\nRequiredBy=" + before + "\n"})
	p.Owner["unit "+name] = "custom/sabotage"
}
