package assay

import (
	"strings"
	"testing"
	"time"

	"ingot/qemu-tests/internet"
	"ingot/qemu-tests/vm"
)

// Lines of a real boot, and of the one after it.
const bootLines = `[    0.000000] Linux version 6.12.118+deb13-cloud-amd64 (debian-kernel@lists.debian.org)
[    5.824214] systemd[1]: Queued start job for default target initrd.target.
[    6.024214] systemd[1]: Listening on systemd-udevd-control.socket - udev Control Socket.
[  OK  ] Found device dev-mapper-root.device - /dev/mapper/root.
[   10.979462] EXT4-fs (vda7): mounted filesystem bab6be73-0b7a-479e-9d9e-89b21a8e7b82 r/w with ordered data mode.
[  OK  ] Finished ingot-identity.service - Ingot: the identity of this machine.
[   20.743489] systemd[1]: initrd-switch-root.service: Deactivated successfully.
[  OK  ] Finished nftables.service - nftables.
[  OK  ] Started systemd-networkd.service - Network Configuration.
[   30.682272] ingot-agent[556]: ingot: host key SHA256:k4O5c79vsqBSvsWrzSha0/caKCPrcBvNnTYiVJWYiZM
[    0.000000] Linux version 6.12.118+deb13-cloud-amd64 (debian-kernel@lists.debian.org)`

func TestTimeline(t *testing.T) {
	t.Parallel()
	var lines []vm.TimedLine
	for i, text := range strings.Split(bootLines, "\n") {
		lines = append(lines, vm.TimedLine{At: time.Duration(i) * time.Second, Text: text})
	}
	want := []string{"0 the kernel starts", "1 the initrd runs", "3 dm-verity has opened the root", "4 the state volume is there", "5 the identity is made",
		"6 the sealed system starts", "7 the firewall is loaded", "8 the network starts", "8.5 WireGuard answers", "9 the machine says what state it is in"}
	got := timeline(lines, 8.5)
	if len(got) != len(want) {
		t.Fatalf("got %v", got)
	}
	for i, m := range got {
		seconds, text, _ := strings.Cut(want[i], " ")
		if (time.Duration(m.Seconds*float64(time.Second))).String() != seconds+"s" || m.Text != text {
			t.Errorf("got %v, want %s", m, want[i])
		}
	}
}

// A port that is open over one protocol and refused over the other is open.
func TestSaw(t *testing.T) {
	t.Parallel()
	out := newRecord(Options{}, choice{})
	refused := internet.Scan{Ports: []uint16{22, 443}, Answers: map[uint16]internet.Answer{443: {State: internet.Closed}}}
	open := internet.Scan{Ports: []uint16{22, 443}, Answers: map[uint16]internet.Answer{443: {State: internet.Open}}}
	for _, scan := range []internet.Scan{refused, open, refused} {
		out.saw("tcp", scan)
	}
	if len(out.ports) != 1 || out.ports.at("tcp", 443).Stranger != "open" {
		t.Errorf("got %+v", out.ports)
	}
	out.saw("udp", refused)
	if out.ports.at("udp", 443).Stranger != "closed" || out.ports.at("udp", 22).Stranger != "filtered" {
		t.Errorf("got %+v", out.ports)
	}
}
