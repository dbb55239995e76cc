package assay

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"ingot/layers"
	"ingot/qemu-tests/internet"
)

// stranger is what somebody on the internet finds.
type stranger struct {
	lab  *Lab
	plan layers.Plan
	out  *record
}

// tcp scans all 65,535 TCP ports: those declared for the internet answer, open
// or closed, and the others are silent.
func (o stranger) tcp(ctx context.Context, target netip.Addr) (string, error) {
	var want []uint16
	for _, p := range o.plan.Ports {
		if p.Proto == "tcp" && p.From == layers.FromInternet {
			want = append(want, uint16(p.Port))
		}
	}
	// First the declared ports alone: a busy machine does not find its router's
	// address in a flood of 65,535. They come once more afterwards, when they were
	// lost in it.
	if _, err := o.patiently(ctx, target, want); err != nil {
		return "", err
	}
	scan, err := o.lab.Internet.ScanTCP(ctx, target, internet.AllPorts())
	if err != nil {
		return "", err
	}
	lost := slices.DeleteFunc(slices.Clone(want), func(port uint16) bool { return scan.State(port) != internet.Filtered })
	again, err := o.patiently(ctx, target, lost)
	if err != nil {
		return "", err
	}
	maps.Copy(scan.Answers, again.Answers)
	o.out.saw("tcp", scan)
	return compare(scan, want)
}

// patiently asks ports as often as a client would, until all have answered.
func (o stranger) patiently(ctx context.Context, target netip.Addr, ports []uint16) (scan internet.Scan, err error) {
	if len(ports) == 0 {
		return scan, nil
	}
	for range synTries {
		if scan, err = o.lab.Internet.ScanTCP(ctx, target, ports); err != nil || len(scan.Answers) == len(ports) {
			return scan, err
		}
	}
	return scan, nil
}

// synTries is Linux' net.ipv4.tcp_syn_retries.
const synTries = 6

// udp probes all UDP ports: none answers a stranger. Ports that speak to the
// right key only are silent, too.
func (o stranger) udp(ctx context.Context, target netip.Addr) (string, error) {
	scan, err := o.lab.Internet.ProbeUDP(ctx, target, internet.AllPorts(), []byte("ingot assay"))
	if err != nil {
		return "", err
	}
	o.out.saw("udp", scan)
	var want []uint16
	for _, p := range o.plan.Ports {
		if p.Proto == "udp" && p.From == layers.FromInternet && !p.Silent {
			want = append(want, uint16(p.Port))
		}
	}
	return compare(scan, want)
}

// compare wants exactly these ports to answer.
func compare(scan internet.Scan, want []uint16) (string, error) {
	var answered, extra []string
	for _, port := range scan.Ports {
		state := scan.State(port)
		if state == internet.Filtered {
			continue
		}
		answered = append(answered, fmt.Sprintf("%d %s", port, state))
		if !slices.Contains(want, port) {
			extra = append(extra, fmt.Sprintf("%d is %s", port, state))
		}
	}
	evidence := fmt.Sprintf("%d ports probed, answered: %s", len(scan.Ports), orNone(answered))
	if len(extra) > 0 {
		return evidence, unmet("not in the port table: %s", clip(strings.Join(extra, ", ")))
	}
	for _, port := range want {
		if s := scan.State(port); s != internet.Open && s != internet.Closed {
			return evidence, unmet("port %d is declared and %s", port, s)
		}
	}
	return evidence, nil
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

// ping asks as a stranger, over both protocols.
func (o stranger) ping(ctx context.Context, want layers.PingCheck) (string, error) {
	var both errgroup.Group
	for _, target := range []netip.Addr{o.lab.Machine.IPv4(), o.lab.Machine.IPv6()} {
		both.Go(func() error {
			answer, err := o.lab.Internet.Ping(ctx, target)
			// As with declared ports: what is lost in the flood of a scan is
			// asked for once more.
			for try := 1; err == nil && want.Answered && answer.State == internet.Filtered && try < synTries; try++ {
				answer, err = o.lab.Internet.Ping(ctx, target)
			}
			if answered := answer.State != internet.Filtered; err == nil && answered != want.Answered {
				err = unmet("a stranger's ping to %s is %s", target, answer.State)
			}
			return err
		})
	}
	if err := both.Wait(); err != nil {
		return "", err
	}
	if want.Answered {
		return "answered", nil
	}
	return "no answer", nil
}
