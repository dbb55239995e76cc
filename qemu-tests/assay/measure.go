package assay

import (
	"cmp"
	"context"
	"regexp"
	"slices"
	"strconv"

	"ingot/layers"
	"ingot/qemu-tests/internet"
	"ingot/qemu-tests/verdict"
	"ingot/qemu-tests/vm"
)

// portKey names a port.
type portKey struct {
	proto  string
	number int
}

// ports are what is known so far about the machine's ports.
type ports map[portKey]*verdict.Port

func (p ports) at(proto string, number int) *verdict.Port {
	key := portKey{proto, number}
	if p[key] == nil {
		p[key] = &verdict.Port{Proto: proto, Port: number, Stranger: "filtered"}
	}
	return p[key]
}

// saw notes what a stranger's scan has found. Of two protocols the more open
// counts.
func (out *record) saw(proto string, scan internet.Scan) {
	out.mu.Lock()
	defer out.mu.Unlock()
	for _, number := range scan.Ports {
		switch scan.State(number) {
		case internet.Filtered:
		case internet.Open:
			out.ports.at(proto, int(number)).Stranger = "open"
		default:
			if p := out.ports.at(proto, int(number)); p.Stranger == "filtered" {
				p.Stranger = "closed"
			}
		}
	}
}

// measure takes what the report shows beside the checks: the ports, how the boot
// went, and how many packets there were on these internets.
func (r *run) measure(ctx context.Context, labs ...*Lab) {
	sockets, err := r.shell.listening(ctx)
	if err != nil {
		r.say("the listening sockets are not in the report: %v", err)
	}
	var packets verdict.Packets
	for _, lab := range labs {
		t, err := lab.Internet.Totals(0)
		if err != nil {
			r.say("not all packets are in the report: %v", err)
		}
		packets.FromMachine += t.FromMachine
		packets.ToMachine += t.ToMachine
		packets.Probes += t.Probes
		packets.Answered += t.Answered
	}
	r.out.mu.Lock()
	defer r.out.mu.Unlock()
	for _, s := range sockets {
		if number, err := strconv.Atoi(s.port); err == nil && !s.isPrivate() {
			r.out.ports.at(s.proto, number).Listens = true
		}
	}
	for _, p := range r.id.Plan.Ports {
		if p.From == layers.FromLoopback || p.From == layers.FromContainers {
			continue
		}
		known := r.out.ports.at(p.Proto, p.Port)
		known.Declared, known.From, known.Why = true, string(p.From), p.Why
	}
	for _, p := range r.out.ports {
		r.out.v.Ports = append(r.out.v.Ports, *p)
	}
	slices.SortFunc(r.out.v.Ports, func(a, b verdict.Port) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Proto, b.Proto))
	})
	r.out.v.Timeline = timeline(r.machine.ConsoleTimes(), r.out.v.ReadySeconds)
	r.out.v.Packets = packets
}

// milestones of a boot, in words, and the console line that says so.
var milestones = []struct {
	text string
	line *regexp.Regexp
}{
	{"the kernel starts", regexp.MustCompile(`Linux version`)},
	{"the initrd runs", regexp.MustCompile(`Running in initrd|Queued start job for default target initrd`)},
	{"dm-verity has opened the root", regexp.MustCompile(`Found device dev-mapper-root|erofs: \(device dm-0\)`)},
	{"the state volume is there", regexp.MustCompile(`EXT4-fs \(\w+\): mounted filesystem`)},
	{"the identity is made", regexp.MustCompile(`Finished ingot-identity`)},
	{"the sealed system starts", regexp.MustCompile(`initrd-switch-root\.service: Deactivated|Stopped initrd-switch-root`)},
	{"the firewall is loaded", regexp.MustCompile(`Finished nftables\.service`)},
	{"the network starts", regexp.MustCompile(`Started systemd-networkd\.service`)},
	{"the machine says what state it is in", statusLine},
}

// timeline is the first boot and its handshake.
func timeline(lines []vm.TimedLine, ready float64) []verdict.Moment {
	var list []verdict.Moment
	for _, m := range milestones {
		i := slices.IndexFunc(lines, func(l vm.TimedLine) bool { return m.line.MatchString(l.Text) })
		if i >= 0 {
			list = append(list, verdict.Moment{Seconds: lines[i].At.Seconds(), Text: m.text})
		}
	}
	list = append(list, verdict.Moment{Seconds: ready, Text: "WireGuard answers"})
	slices.SortStableFunc(list, func(a, b verdict.Moment) int { return cmp.Compare(a.Seconds, b.Seconds) })
	return list
}
