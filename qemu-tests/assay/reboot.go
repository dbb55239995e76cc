package assay

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// memory is what a machine must still be after a reboot.
type memory struct {
	MachineID, HostKey, WireGuard, Stamp string
}

// identityDir is where the agent keeps the identity on the state volume.
const identityDir = "/var/lib/ingot/identity"

func (r *run) remember(ctx context.Context) (memory, error) {
	var m memory
	for _, fact := range []struct {
		into *string
		argv []string
	}{
		{&m.MachineID, []string{"cat", "/etc/machine-id"}},
		{&m.HostKey, []string{"cat", "/var/lib/ingot/ssh/ssh_host_ed25519_key.pub"}},
		{&m.WireGuard, []string{"wg", "show", "wg0", "public-key"}},
		// The identity directory is replaced as a whole: the same inode and
		// time mean that nothing was applied again.
		{&m.Stamp, []string{"stat", "-c", "%i %y", identityDir + "/stamp.json"}},
	} {
		out, err := r.shell.Run(ctx, fact.argv...)
		if err != nil {
			return m, err
		}
		if out.Exit != 0 {
			return m, fmt.Errorf("%s: %s", strings.Join(fact.argv, " "), clip(out.Stderr))
		}
		*fact.into = strings.TrimSpace(out.Stdout)
	}
	return m, nil
}

// planted is what a root attacker would leave behind to come back.
const planted = identityDir + "/etc/systemd/system/planted.service"

// plant puts a unit there.
const plant = `mkdir -p "${1%/*}" && printf '[Service]\nExecStart=true\n' >"$1" && sync`

// rebootChecks are what is looked at after a reboot: the identity survives it,
// what root planted does not.
func rebootChecks() []check {
	return []check{
		{
			id: "system.identity-survives", layer: "system", title: "keys and machine-id survive a reboot", stage: rebooted,
			sabotage: "echo 00000000000000000000000000000001 >/run/sabotage && mount --bind /run/sabotage /etc/machine-id", sabotagedLate: true,
			make: func(ctx context.Context, r *run) (string, error) { return r.identitySurvives(ctx) },
		},
		{
			id: "system.second-boot", layer: "system", title: "the second boot applies nothing again", stage: rebooted,
			sabotage: "echo '{}' >" + identityDir + "/stamp.json",
			make:     func(ctx context.Context, r *run) (string, error) { return r.appliedOnce(ctx) },
		},
		{
			id: "system.planted-removed", layer: "system", title: "what root planted in the identity is gone and reported", stage: rebooted,
			sabotage: "mkdir -p " + identityDir + "/etc/systemd/system && : >" + planted, sabotagedLate: true,
			make: func(ctx context.Context, r *run) (string, error) { return r.plantedIsGone(ctx) },
		},
	}
}

// reboot restarts the machine and makes the checks that are about it.
func (r *run) reboot(ctx context.Context) error {
	if !r.out.wants(rebooted) {
		return nil
	}
	if err := r.plantAndRestart(ctx, nil); err != nil {
		return err
	}
	r.out.ask(ctx, r, rebooted)
	return nil
}

// plantAndRestart remembers what the machine is and leaves something behind;
// then meanwhile, if any, may change something.
func (r *run) plantAndRestart(ctx context.Context, meanwhile func() error) error {
	var err error
	if r.before, err = r.remember(ctx); err != nil {
		return r.machine.Failure(err)
	}
	if out, err := r.shell.Run(ctx, "sh", "-c", plant, "sh", planted); err != nil || out.Exit != 0 {
		return r.machine.Failure(errors.Join(err, fmt.Errorf("plant a unit: %s", clip(out.Stderr))))
	}
	if meanwhile != nil {
		if err := meanwhile(); err != nil {
			return err
		}
	}
	return r.restart(ctx)
}

func (r *run) identitySurvives(ctx context.Context) (string, error) {
	after, err := r.remember(ctx)
	if err != nil {
		return "", err
	}
	before := r.before
	before.Stamp, after.Stamp = "", ""
	if after != before {
		return "", unmet("before the reboot %+v, after it %+v", before, after)
	}
	return "machine-id " + after.MachineID, nil
}

func (r *run) appliedOnce(ctx context.Context) (string, error) {
	after, err := r.remember(ctx)
	if err != nil {
		return "", err
	}
	if after.Stamp != r.before.Stamp {
		return after.Stamp, unmet("the identity was made anew: %s, before %s", after.Stamp, r.before.Stamp)
	}
	return "unchanged since " + after.Stamp, nil
}

// restart reboots from inside, as an operator would, and connects again.
func (r *run) restart(ctx context.Context) error {
	lines := r.machine.ConsoleLines()
	r.say("rebooting")
	if err := r.shell.Leave(ctx, "reboot"); err != nil {
		return r.machine.Failure(err)
	}
	fingerprint, err := r.machine.AwaitUp(ctx, lines)
	if err != nil {
		return err
	}
	if fingerprint != r.fingerprint {
		return r.machine.Failure(fmt.Errorf("the host key changed from %s to %s", r.fingerprint, fingerprint))
	}
	return r.reconnect(ctx)
}

func (r *run) plantedIsGone(ctx context.Context) (string, error) {
	out, err := r.shell.Run(ctx, "test", "-e", planted)
	if err != nil {
		return "", err
	}
	if out.Exit == 0 {
		return "", unmet("%s is still there", planted)
	}
	if out, err = r.shell.Run(ctx, "test", "-e", "/etc/systemd/system/planted.service"); err != nil {
		return "", err
	}
	if out.Exit == 0 {
		return "", unmet("the planted unit is in /etc")
	}
	out, err = r.shell.Run(ctx, "journalctl", "--boot", "--no-pager", "--output=cat", "--unit=ingot-status.service")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out.Stdout) {
		if strings.Contains(line, "REMOVED FROM THE IDENTITY") && strings.Contains(line, "/etc/systemd") {
			return strings.TrimSpace(line), nil
		}
	}
	return "", unmet("the removal is not reported in the journal")
}
