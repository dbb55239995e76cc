package assay

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"ingot/layers"
	"ingot/qemu-tests/internet"
)

// crowdSize is how many connections are held at once.
const crowdSize = 10_000

// traveller is where the owner connects from while the flood goes on: a host
// that the machine has not heard of.
var traveller = netip.MustParseAddr("45.77.20.20")

// playFlood floods a port that is declared for the internet, or SSH's, which
// then is silent, holds a crowd of connections when it is open, and uses the
// tunnel meanwhile: a session that is there, and a new one from elsewhere.
func playFlood(ctx context.Context, s *scene) (string, error) {
	if err := s.restored(ctx); err != nil {
		return "", err
	}
	target, declared := s.target()
	crowded := "no port to crowd"
	if declared {
		crowd, err := s.crowd(ctx, target)
		if err != nil {
			return "", err
		}
		defer crowd.Close()
		crowded = fmt.Sprintf("%d connections", crowd.Established())
	}
	flooding, stop := context.WithCancel(ctx)
	defer stop()
	mark, start := s.lab.Internet.Mark(), time.Now()
	poured := make(chan internet.Flood, 1)
	failed := make(chan error, 1)
	go func() {
		flood, err := s.flood(flooding, target)
		poured <- flood
		failed <- err
	}()
	if err := s.pouring(ctx, mark); err != nil {
		return "", err
	}
	usable, err := s.usable(ctx)
	stop()
	flood := <-poured
	if err := errors.Join(err, <-failed); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s and %d SYNs from as many addresses at %v, %.0f a second, %d of them answered: %s", crowded, flood.Sent, target,
		float64(flood.Sent)/time.Since(start).Seconds(), flood.SYNACKs+flood.RSTs, usable), s.noAlarms()
}

// burst is how many SYNs come as fast as the link takes them; then the answers
// are awaited. Without pauses an emulated machine does nothing but take packets,
// as one does whose line is full: that would be a proof about the emulator.
const burst = 4000

// flood pours until ctx is done.
func (s *scene) flood(ctx context.Context, target netip.AddrPort) (internet.Flood, error) {
	var sum internet.Flood
	for ctx.Err() == nil {
		f, err := s.lab.Internet.Flood(ctx, target, burst)
		if err != nil {
			return sum, err
		}
		sum.Sent += f.Sent
		sum.SYNACKs += f.SYNACKs
		sum.RSTs += f.RSTs
	}
	return sum, nil
}

// target is a port for the internet; without one it is SSH's.
func (s *scene) target() (at netip.AddrPort, declared bool) {
	for _, p := range s.id.Plan.Ports {
		if p.Proto == "tcp" && p.From == layers.FromInternet {
			return netip.AddrPortFrom(s.lab.Machine.IPv4(), uint16(p.Port)), true
		}
	}
	return netip.AddrPortFrom(s.lab.Machine.IPv4(), 22), false
}

// crowd opens the port on the machine, for connections that wait to be accepted,
// and fills it.
func (s *scene) crowd(ctx context.Context, target netip.AddrPort) (*internet.Crowd, error) {
	const listen = `ss -Hltn sport = :%[1]d | grep -q . && exit
sysctl -qw net.core.somaxconn=%[2]d
systemd-run --quiet --unit=crowded systemd-socket-activate --listen=0.0.0.0:%[1]d sleep infinity
until ss -Hltn sport = :%[1]d | grep -q .; do sleep 0.1; done`
	if err := s.shell.must(ctx, fmt.Sprintf(listen, target.Port(), 2*crowdSize)); err != nil {
		return nil, err
	}
	crowd, err := s.lab.Internet.OpenCrowd(ctx, target, crowdSize)
	if err != nil {
		return nil, err
	}
	if n := crowd.Established(); n < crowdSize*9/10 {
		return nil, errors.Join(fmt.Errorf("only %d of %d connections came about", n, crowdSize), crowd.Close())
	}
	return crowd, nil
}

// pouring waits until the flood has sent more than a small machine's table of
// connections holds: 8,192 with 1 GiB.
func (s *scene) pouring(ctx context.Context, since internet.Mark) error {
	ctx, cancel := s.within(ctx, 10*time.Second)
	defer cancel()
	for {
		totals, err := s.lab.Internet.Totals(since)
		if err != nil || totals.ToMachine > 3*8192 {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the flood does not flow: %d packets", totals.ToMachine)
		}
	}
}

// usableTime is how long a command, or a new connection and login, may take
// under a flood and KVM.
const usableTime = 10 * time.Second

// usable works through the tunnel, then comes back from elsewhere.
func (s *scene) usable(ctx context.Context) (string, error) {
	if err := s.spoil(ctx); err != nil {
		return "", err
	}
	start := time.Now()
	working, cancel := s.within(ctx, usableTime)
	defer cancel()
	if err := s.shell.must(working, "true"); err != nil {
		return "", promised(err)
	}
	worked := time.Since(start)
	s.disconnect()
	start = time.Now()
	arriving, cancel := s.within(ctx, usableTime)
	defer cancel()
	var err error
	if s.tunnel, err = s.machine.connectAs(arriving, s.id.owner, traveller); err != nil {
		return "", promised(err)
	}
	if s.shell, err = s.machine.Shell(arriving, s.tunnel, s.fingerprint); err != nil {
		return "", promised(err)
	}
	return fmt.Sprintf("a command took %.1f s, a new tunnel and login %.1f s", worked.Seconds(), time.Since(start).Seconds()), nil
}
