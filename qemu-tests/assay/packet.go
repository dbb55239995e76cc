package assay

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	plan "ingot/layers"
	"ingot/qemu-tests/internet"
)

// runner is [Shell.Run].
type runner func(ctx context.Context, argv ...string) (Output, error)

// packet looks at the uplink after a command.
func (r *run) packet(ctx context.Context, c plan.PacketCheck) (string, error) {
	patience := time.Duration(c.Seconds) * time.Second
	switch {
	case patience == 0 && c.Seen:
		patience = serviceTime
	case patience == 0:
		patience = notThroughTime
	}
	return watch(ctx, r.lab.Internet, r.machine.mark, r.shell.Run, r.lab.Timeout(patience), c)
}

// watch runs the command of a check and waits for its packets. since is a moment
// after which the machine has sent something over IPv4 and IPv6.
func watch(ctx context.Context, in *internet.Internet, since internet.Mark, run runner, patience time.Duration, c plan.PacketCheck) (string, error) {
	networks, err := parseNetworks(c.To)
	if err != nil {
		return "", err
	}
	mark := in.Mark()
	out, err := run(ctx, c.After...)
	if err != nil {
		return "", err
	}
	if didNotRun(out) {
		return "", fmt.Errorf("%s did not run: %s", c.After[0], clip(out.Stderr))
	}
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var seen []string
	for _, n := range networks {
		evidence, err := watchOne(ctx, wait, in, mark, n, c)
		if err != nil {
			return evidence, err
		}
		seen = append(seen, evidence)
	}
	if !c.Seen {
		err = recorderWorks(in, since, mark, networks)
	}
	return strings.Join(seen, ", "), err
}

// watchOne waits for a packet to one network until wait is over.
func watchOne(ctx, wait context.Context, in *internet.Internet, mark internet.Mark, n netip.Prefix, c plan.PacketCheck) (string, error) {
	f, err := in.Await(wait, mark, goesTo(c, n))
	what := fmt.Sprintf("%s to %v", c.Proto, n)
	if c.Port != 0 {
		what = fmt.Sprintf("%s/%d to %v", c.Proto, c.Port, n)
	}
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err == nil && c.Seen:
		return what + " was seen: " + flow(f), nil
	case err == nil:
		return "", unmet("%s left the machine: %s", what, flow(f))
	case !errors.Is(err, context.DeadlineExceeded):
		return "", err
	case c.Seen:
		return "", unmet("no packet of %s left the machine", what)
	}
	return "no packet of " + what, nil
}

// recorderWorks is the control of a packet that was not seen: the record has
// packets of the machine since the command began, those that carried its answer
// through the tunnel, and of each family since the machine was powered on.
func recorderWorks(in *internet.Internet, since, mark internet.Mark, networks []netip.Prefix) error {
	has := func(since internet.Mark, what gopacket.LayerClass) error {
		for f, err := range in.Frames(since) {
			if err != nil {
				return err
			}
			if f.Direction == internet.FromMachine && f.Packet.LayerClass(what) != nil {
				return nil
			}
		}
		return fmt.Errorf("the record has no packet of the machine in %v: that it lacks this one proves nothing", what.LayerTypes())
	}
	err := has(mark, layers.LayerClassIPNetwork)
	for _, n := range networks {
		if n.Addr().Is6() {
			err = errors.Join(err, has(since, layers.LayerTypeIPv6))
		} else {
			err = errors.Join(err, has(since, layers.LayerTypeIPv4))
		}
	}
	return err
}

func parseNetworks(to []string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, text := range to {
		n, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("packets to %q: %w", text, err)
		}
		list = append(list, n)
	}
	if len(list) == 0 {
		return nil, errors.New("the check does not say where the packets go")
	}
	return list, nil
}

// didNotRun tells a command that was never started from one that failed: a
// program that is not there sends nothing, and that would prove nothing.
func didNotRun(out Output) bool {
	return out.Exit == 126 || out.Exit == 127 || out.Exit == 1 && strings.HasPrefix(out.Stderr, "sudo: ")
}

// goesTo matches what the machine sends to a network.
func goesTo(c plan.PacketCheck, n netip.Prefix) func(internet.Frame) bool {
	return func(f internet.Frame) bool {
		return f.Direction == internet.FromMachine && n.Contains(destination(f)) && isOf(c, f.Packet)
	}
}

// isOf reports whether a packet has the protocol and the port of a check.
func isOf(c plan.PacketCheck, p gopacket.Packet) bool {
	switch c.Proto {
	case "tcp":
		t, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
		return ok && int(t.DstPort) == c.Port
	case "udp":
		u, ok := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
		return ok && int(u.DstPort) == c.Port
	case "icmp":
		if i, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok {
			return i.TypeCode.Type() == layers.ICMPv4TypeEchoRequest
		}
		i, ok := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
		return ok && i.TypeCode.Type() == layers.ICMPv6TypeEchoRequest
	}
	return false
}

// destination is where a frame's packet goes, the zero Addr for no IP packet.
func destination(f internet.Frame) netip.Addr {
	var to netip.Addr
	if ip, ok := f.Packet.Layer(layers.LayerTypeIPv4).(*layers.IPv4); ok {
		to, _ = netip.AddrFromSlice(ip.DstIP.To4())
	} else if ip, ok := f.Packet.Layer(layers.LayerTypeIPv6).(*layers.IPv6); ok {
		to, _ = netip.AddrFromSlice(ip.DstIP)
	}
	return to
}

// flow is a packet's sender and receiver, for people.
func flow(f internet.Frame) string { return f.Packet.NetworkLayer().NetworkFlow().String() }
