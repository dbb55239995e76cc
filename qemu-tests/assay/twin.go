package assay

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	"ingot/qemu-tests/verdict"
)

// Saved is a running machine at one moment: memory and disk.
type Saved struct {
	booted      *Booted
	disk        string // the overlay that holds the snapshot
	fingerprint string
}

// snapshotName is the name of the one snapshot in an overlay.
const snapshotName = "up"

// steadyClock lets a machine read the time from the HPET. QEMU's TCG never lets
// the time stamp counter go back (cpu_ticks_prev): after a restore a kernel that
// reads the time from it would be thrown forward by all the time since the
// snapshot, and each of its timeouts would be over at once.
const steadyClock = "cd /sys/devices/system/clocksource/clocksource0 && if grep -qx tsc current_clocksource; then echo hpet >current_clocksource; fi"

// save keeps this moment of the machine in a file of its own.
func (r *run) save(ctx context.Context) (Saved, error) {
	if out, err := r.shell.Run(ctx, "sh", "-c", steadyClock); err != nil || out.Exit != 0 {
		return Saved{}, errors.Join(err, fmt.Errorf("choose a clock that can be set back: %s", clip(out.Stderr)))
	}
	if err := r.machine.Savevm(ctx, snapshotName); err != nil {
		return Saved{}, err
	}
	// A machine that stands still has written everything it has in QEMU's
	// caches.
	if err := r.machine.Stop(ctx); err != nil {
		return Saved{}, err
	}
	disk := filepath.Join(r.lab.dir, "up.qcow2")
	if err := copyDisk(ctx, r.machine.Overlay(), disk); err != nil {
		return Saved{}, err
	}
	return Saved{booted: r.machine, disk: disk, fingerprint: r.fingerprint}, r.machine.Cont(ctx)
}

// copyDisk copies a disk file without its holes.
func copyDisk(ctx context.Context, from, to string) error {
	out, err := exec.CommandContext(ctx, "cp", "--reflink=auto", "--sparse=always", from, to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("copy the machine's disk: %w: %s%w", err, out, errMachineLacks)
	}
	return nil
}

// restore brings the saved machine to life on an internet of its own, where it
// has the same addresses.
func (r *run) restore(ctx context.Context, s Saved, name string) (*run, error) {
	lab, err := r.lab.Another(name, nil)
	if err != nil {
		return nil, err
	}
	disk := filepath.Join(lab.dir, "disk.qcow2")
	if err := copyDisk(ctx, s.disk, disk); err != nil {
		return nil, errors.Join(err, lab.Close())
	}
	n := *r
	n.lab, n.fingerprint = lab, s.fingerprint
	if n.machine, err = lab.resume(ctx, s, disk); err != nil {
		return nil, errors.Join(err, lab.Close())
	}
	if n.tunnel, err = n.machine.Connect(ctx); err != nil {
		return nil, errors.Join(err, n.machine.Close(), lab.Close())
	}
	if n.shell, err = n.machine.Shell(ctx, n.tunnel, n.fingerprint); err != nil {
		n.tunnel.Close()
		return nil, errors.Join(err, n.machine.Close(), lab.Close())
	}
	return &n, nil
}

// twin saves the machine and brings a second one to life from it.
func (r *run) twin(ctx context.Context) (*run, error) {
	saved, err := r.save(ctx)
	if err != nil {
		return nil, r.machine.Failure(err)
	}
	r.moment.set(saved)
	start := time.Now()
	t, err := r.restore(ctx, saved, "twin")
	if err == nil {
		r.say("restored in %.1f s", time.Since(start).Seconds())
	}
	return t, err
}

// again makes what failed once more, on the twin as it was at first: a check
// that holds now is a flake, which tells its finder where to look.
func (r *run) again(ctx context.Context, twin *run) error {
	failed := r.out.failures(outside, inside, flood, logins)
	if len(failed) == 0 {
		return nil
	}
	r.say("%d checks failed; once more, from the snapshot", len(failed))
	if err := twin.machine.Loadvm(ctx, snapshotName); err != nil {
		return err
	}
	if err := twin.reconnect(ctx); err != nil {
		return err
	}
	for _, c := range failed {
		if twin.judge(ctx, c).Result == verdict.Passed {
			r.out.flaky(c.id)
		}
	}
	return ctx.Err()
}

// reconnect connects anew to a machine that was put back or rebooted.
func (r *run) reconnect(ctx context.Context) (err error) {
	r.disconnect()
	if r.tunnel, err = r.machine.Connect(ctx); err != nil {
		return err
	}
	r.shell, err = r.machine.Shell(ctx, r.tunnel, r.fingerprint)
	return err
}
