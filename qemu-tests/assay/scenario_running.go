package assay

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// runningScenarios go on from the moment when the machine was up.
func runningScenarios() []scenario {
	return []scenario{
		{
			id: "var-full", title: "with /var full the owner gets in, and a reboot brings the same machine back", seconds: 55, play: playFullVar,
			sabotage: sabotage{what: "the host key is deleted", command: "rm /var/lib/ingot/ssh/ssh_host_ed25519_key*"},
		},
		{
			id: "log-flood", title: "a day's logs in a minute neither fill the disk nor lock out the owner", seconds: 35, play: playLogFlood,
			sabotage: sabotage{what: "a journal of 300 MiB more", command: "fallocate --length 300M /var/log/journal/$(cat /etc/machine-id)/system@sabotage.journal"},
		},
		{
			id: "link-flaps", title: "the tunnel comes back after the cable was pulled ten times", seconds: 10, play: playLinkFlaps,
			sabotage: sabotage{what: "the cable stays out", world: true},
		},
		{
			id: "flood", title: "the tunnel stays usable under a SYN flood and 10,000 connections", seconds: 20, play: playFlood,
			sabotage: sabotage{what: "the tunnel's interface goes down", command: "systemd-run --quiet ip link set dev wg0 down"},
		},
		{
			id: "ban-expires", title: "a ban ends when its time is over", seconds: 10, play: playBanExpires,
			sabotage: sabotage{what: "bans are for ever", command: "fail2ban-client set sshd bantime -1"},
		},
	}
}

func playFullVar(ctx context.Context, s *scene) (string, error) {
	if err := s.restored(ctx); err != nil {
		return "", err
	}
	var err error
	if s.before, err = s.remember(ctx); err != nil {
		return "", err
	}
	// First what a program may take, then what only root may.
	const fill = "free=$(df --block-size=1 --output=avail /var | tail -n 1); fallocate --length $free /var/lib/ingot/full; " +
		"dd if=/dev/zero of=/var/lib/ingot/full2 bs=64k 2>/dev/null; dd if=/dev/zero of=/var/lib/ingot/full3 bs=1 2>/dev/null; sync; " +
		"df --block-size=1 --output=avail /var | tail -n 1"
	left, err := s.shell.output(ctx, fill)
	if err != nil {
		return "", err
	}
	if left != "0" {
		return "", fmt.Errorf("/var still has %s bytes free", left)
	}
	if err := s.spoil(ctx); err != nil {
		return "", err
	}
	if err := s.reconnect(ctx); err != nil {
		return "", promised(err)
	}
	if err := s.restart(ctx); err != nil {
		return "", promised(err)
	}
	after, err := s.remember(ctx)
	if err != nil {
		return "", promised(err)
	}
	if after != s.before {
		return "", unmet("before %+v, after the reboot %+v", s.before, after)
	}
	return "a new login and a reboot with 0 bytes free, the same machine", nil
}

// A day's log: a line a second.
const dayOfLines = 24 * 60 * 60

// maxJournal is what the journal may take, in MiB: SystemMaxUse of the system
// layer, and one file of it that is being written.
const maxJournal = 256 + 32

func playLogFlood(ctx context.Context, s *scene) (string, error) {
	if err := s.restored(ctx); err != nil {
		return "", err
	}
	start := time.Now()
	// From several units, since the journal limits each one.
	const flood = `for n in 1 2 3 4; do
	systemd-run --quiet --collect --unit=flood$n sh -c 'seq -f "%%.0f a line as programs write them, from a day that has many of them" %d'
done
while systemctl --quiet is-active 'flood*'; do sleep 0.2; done
journalctl --sync`
	if err := s.shell.must(ctx, fmt.Sprintf(flood, dayOfLines/4)); err != nil {
		return "", promised(err)
	}
	if err := s.spoil(ctx); err != nil {
		return "", err
	}
	flooded := time.Since(start)
	text, err := s.shell.output(ctx, "du --summarize --block-size=1M /var/log/journal | cut -f1")
	if err != nil {
		return "", err
	}
	if mib, err := strconv.Atoi(text); err != nil || mib > maxJournal {
		return "", unmet("the journal has %s MiB and may have %d", text, maxJournal)
	}
	if err := s.reconnect(ctx); err != nil {
		return "", promised(err)
	}
	return fmt.Sprintf("%d lines in %.0f s, the journal has %s MiB", dayOfLines, flooded.Seconds(), text), s.noAlarms()
}

const flaps = 10

func playLinkFlaps(ctx context.Context, s *scene) (string, error) {
	if err := s.restored(ctx); err != nil {
		return "", err
	}
	for i := range flaps {
		if err := s.machine.SetLink(ctx, "net0", false); err != nil {
			return "", err
		}
		if i == flaps-1 && s.otherwise() {
			break
		}
		stall(ctx, time.Duration(s.random.IntN(500))*time.Millisecond)
		if err := s.machine.SetLink(ctx, "net0", true); err != nil {
			return "", err
		}
		stall(ctx, time.Duration(s.random.IntN(500))*time.Millisecond)
	}
	start := time.Now()
	ctx, cancel := s.within(ctx, 15*time.Second)
	defer cancel()
	// The same connection lives on: nobody is logged out.
	if err := s.shell.must(ctx, "true"); err != nil {
		return "", promised(err)
	}
	evidence := fmt.Sprintf("the same SSH connection answered %.1f s after the last of %d flaps, seed %d", time.Since(start).Seconds(), flaps, s.seed)
	if err := s.reconnect(ctx); err != nil {
		return "", promised(err)
	}
	return evidence, s.noAlarms()
}

// banned is an attacker's address.
var banned = netip.MustParseAddr("45.77.13.37")

func playBanExpires(ctx context.Context, s *scene) (string, error) {
	if err := s.restored(ctx); err != nil {
		return "", err
	}
	if err := s.spoil(ctx); err != nil {
		return "", err
	}
	set := "nft list set inet f2b-table addr-set-sshd 2>/dev/null | grep -qwF " + banned.String()
	if err := s.shell.must(ctx, "fail2ban-client set sshd banip "+banned.String()); err != nil {
		return "", err
	}
	if err := s.await(ctx, set); err != nil {
		return "", unmet("the ban is not in the firewall: %v", err)
	}
	text, err := s.shell.output(ctx, "fail2ban-client get sshd bantime")
	if err != nil {
		return "", err
	}
	seconds, err := strconv.Atoi(text)
	if err != nil || seconds < 0 {
		return "", unmet("a ban lasts %s seconds", text)
	}
	lasts := time.Duration(seconds) * time.Second
	// The clock moves, nobody waits: first not far enough, then too far.
	almost := lasts - time.Minute
	if err := s.moveClock(ctx, almost); err != nil {
		return "", err
	}
	if err := s.shell.must(ctx, "sleep 3 && "+set); err != nil { // fail2ban looks every second
		return "", unmet("the ban is gone after %v of %v", almost, lasts)
	}
	if err := s.moveClock(ctx, 2*time.Minute); err != nil {
		return "", err
	}
	if err := s.await(ctx, "! "+set); err != nil {
		return "", unmet("the ban outlives its %v", lasts)
	}
	return fmt.Sprintf("banned, still banned after %v, free after %v", almost, almost+2*time.Minute), nil
}

func (s *scene) moveClock(ctx context.Context, d time.Duration) error {
	return s.shell.must(ctx, fmt.Sprintf("systemctl stop chrony.service; date --set='+%d seconds' >/dev/null", int(d.Seconds())))
}

// awaitTime is how long something may take that a program does by itself.
const awaitTime = 10 * time.Second

// await waits on the machine until a shell command succeeds.
func (s *scene) await(ctx context.Context, condition string) error {
	limit := strconv.Itoa(int(s.lab.Timeout(awaitTime).Seconds()))
	out, err := s.shell.Run(ctx, "timeout", limit, "sh", "-c", "until "+condition+"; do sleep 0.2; done")
	if err == nil && out.Exit != 0 {
		err = errors.New(strings.TrimSpace("not within " + limit + " s " + clip(out.Stderr)))
	}
	return err
}
