package assay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ingot/layers"
)

// cuts is how often the power goes in each of the two scenarios.
const cuts = 25

// powerScenarios cut the power at random moments. The machine must come up each
// time, as itself.
func powerScenarios() []scenario {
	// A program that leaves a mark when it starts, takes it away when it ends in
	// good order, and will not start when it finds one.
	uncleanly := sabotage{what: "a service before the network that will not start after an unclean end", plan: func(p *layers.Plan) {
		addService(p, "sabotage.service", "systemd-networkd.service", "test ! -e /var/lib/ingot/sabotage && : >/var/lib/ingot/sabotage && sync")
	}}
	return []scenario{
		{id: "power-cut-first-boot", title: fmt.Sprintf("comes up after each of %d power cuts during the first boot", cuts), seconds: 45 * cuts, play: playCutFirstBoot, sabotage: uncleanly},
		{id: "power-cut-running", title: fmt.Sprintf("comes up as the same machine after each of %d power cuts while it works", cuts), seconds: 45 * cuts, play: playCutRunning, sabotage: uncleanly},
	}
}

// cut is the disk as it was when the power went.
type cut struct {
	at   time.Duration // after power-on, or after the work began
	disk string
}

// playCutFirstBoot lets one machine boot and keeps its disk at random moments;
// then a machine is booted from each. A machine that is frozen, and whose disk
// is copied, leaves the bytes behind that one leaves that was killed.
func playCutFirstBoot(ctx context.Context, s *scene) (string, error) {
	if err := s.boot(ctx, BootOptions{Instance: s.id.Instance}); err != nil {
		return "", err
	}
	// The moments are spread over the time that the boot of the standard assay
	// took, or a usual one.
	span := s.lab.Timeout(6 * time.Second)
	if ready := s.out.readyAfter(); ready > 0 {
		span = ready * 5 / 4
	}
	list, err := s.cutAtRandom(ctx, s.machine.Since, span)
	if err != nil {
		return "", err
	}
	// Once more as soon as it is up, however long that took.
	if _, err := s.machine.AwaitUp(ctx, 0); err != nil {
		return "", promised(err)
	}
	up, err := s.cut(ctx, s.machine.Since, len(list)+1)
	if err != nil {
		return "", err
	}
	if err := s.machine.Close(); err != nil {
		return "", err
	}
	return s.recover(ctx, append(list, up), nil)
}

// work keeps the machine writing: logs, bans, synced files.
const work = `systemd-run --quiet --unit=work sh -c 'while :; do n=$((n+1)); echo work $n; echo $n >/var/lib/ingot/work.new; sync /var/lib/ingot/work.new
mv /var/lib/ingot/work.new /var/lib/ingot/work; fail2ban-client set sshd banip 198.51.100.$((n%250+1)) >/dev/null; done'`

func playCutRunning(ctx context.Context, s *scene) (string, error) {
	if err := s.restored(ctx); err != nil {
		return "", err
	}
	before, err := s.remember(ctx)
	if err != nil {
		return "", err
	}
	if err := s.shell.must(ctx, work); err != nil {
		return "", err
	}
	start := time.Now()
	list, err := s.cutAtRandom(ctx, start, 10*time.Second)
	if err != nil {
		return "", err
	}
	end, err := s.cut(ctx, start, len(list)+1)
	if err != nil {
		return "", err
	}
	list = append(list, end)
	if err := s.machine.Close(); err != nil {
		return "", err
	}
	return s.recover(ctx, list, &before)
}

// cut keeps the disk as it is now.
func (s *scene) cut(ctx context.Context, since time.Time, n int) (cut, error) {
	c := cut{disk: s.path(fmt.Sprintf("cut-%02d.qcow2", n))}
	err := s.machine.Freeze(ctx, func() error {
		c.at = time.Since(since)
		return copyDisk(ctx, s.machine.Overlay(), c.disk)
	})
	return c, err
}

// cutAtRandom keeps the disk at random moments of a span, all cuts but the last.
func (s *scene) cutAtRandom(ctx context.Context, since time.Time, span time.Duration) ([]cut, error) {
	n := cuts - 1
	if s.spoiled {
		n = 1 // one that is not survived is enough, and that is the last
	}
	var list []cut
	for i := range n {
		// One in each part of the span.
		part := span / time.Duration(n)
		at := time.Duration(i)*part + time.Duration(s.random.Int64N(int64(part)))
		stall(ctx, time.Until(since.Add(at))) // the moment is what is random
		c, err := s.cut(ctx, since, i+1)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

// recover boots a machine from each disk. Those that had an identity must have
// the same one.
func (s *scene) recover(ctx context.Context, list []cut, before *memory) (string, error) {
	for i, c := range list {
		if err := s.comesUp(ctx, i, c, before); err != nil {
			return "", fmt.Errorf("power cut after %.2f s (seed %d): %w", c.at.Seconds(), s.seed, err)
		}
	}
	last := list[len(list)-1]
	return fmt.Sprintf("%d cuts up to %.1f s, each followed by a boot, seed %d", len(list), last.at.Seconds(), s.seed), nil
}

// comesUp boots the machine from what the power cut left.
func (s *scene) comesUp(ctx context.Context, n int, c cut, before *memory) (err error) {
	lab, err := s.lab.Another(fmt.Sprintf("%s/cut-%02d", s.name, n+1), nil)
	if err != nil {
		return err
	}
	r := *s.run
	r.lab, r.machine, r.tunnel, r.shell = lab, nil, nil, nil
	after := &scene{run: &r, spoiledImage: s.spoiledImage}
	defer func() {
		after.end()
		if err == nil {
			err = errors.Join(forgetDisks(lab.dir))
		}
	}()
	if err := after.up(ctx, BootOptions{Overlay: c.disk}); err != nil {
		return err
	}
	if err := after.well(ctx); err != nil {
		return err
	}
	if before == nil {
		return nil
	}
	now, err := after.remember(ctx)
	if err != nil {
		return err
	}
	was := *before
	if now != was {
		return unmet("the machine was %+v and is %+v", was, now)
	}
	return nil
}
