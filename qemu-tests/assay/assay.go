// Package assay proves an image: it boots the exact bytes on a simulated
// internet and tries to break the promises of the plan.
//
// Three witnesses are heard: a shell inside, reached through the tunnel as the
// owner would; the console and the journal; and a stranger outside.
package assay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"ingot/layers"
	sshlayer "ingot/layers/ssh"
	"ingot/qemu-tests/internet"
	"ingot/qemu-tests/verdict"
	"ingot/qemu-tests/vm"
)

// Options of an assay.
type Options struct {
	Image     string // raw image file
	Site      layers.Site
	Layers    []layers.Layer
	Locked    map[string]string // the lock's digests of container images, by their names
	Toolchain vm.Toolchain
	Dir       string // for console logs, packets and the machines' disks
	Cache     string // remembers which accelerator works; empty asks
	Firmware  vm.Firmware
	Selection Selection
	// TimeoutFactor multiplies every timeout, beside the accelerator's factor;
	// 0 is 1.
	TimeoutFactor float64
	// Audit is the tree with lynis and ssh-audit (images.AuditTree), which the
	// suite verdict.Deep needs.
	Audit string
	// Keep leaves the disks of the machines in Dir. They go when a check or a
	// scenario has passed, and stay when it has not.
	Keep bool
	// OnFailure gets a root shell on a machine on which a check has failed,
	// nil for nobody.
	OnFailure func(context.Context, *Shell, verdict.Result)
	Progress  func(verdict.Result) // each check as it is done, nil for none
	Say       func(string)         // what is going on, nil for none
}

// Run makes the assay. The error is for what keeps it from starting; what
// happens on the way is in the verdict.
func Run(ctx context.Context, o Options) (verdict.Verdict, error) {
	id, err := NewIdentity(o.Site, o.Layers)
	if err != nil {
		return verdict.Verdict{}, err
	}
	made, err := o.Selection.choose(catalogue(id.Plan))
	if err != nil {
		return verdict.Verdict{}, err
	}
	image, err := seal(o.Image)
	if err != nil {
		return verdict.Verdict{}, err
	}
	out := newRecord(o, made)
	out.v.ImageSHA256, out.v.RootHash = image.sha256, image.rootHash
	lab, err := NewLab(ctx, o.Toolchain, filepath.Join(o.Dir, "standard"), o.Cache)
	if err != nil {
		return verdict.Verdict{}, err
	}
	defer lab.Close()
	lab.stretch(o.TimeoutFactor)
	out.v.Accelerator, out.v.Reason = lab.Accel.Name, lab.Accel.Reason
	r := &run{opts: o, lab: lab, id: id, out: out, moment: &moment{}}
	r.say("booting the image with %s (%s)", lab.Accel.Name, lab.Accel.Reason)
	if err := r.all(ctx); err != nil {
		if ctx.Err() != nil {
			return verdict.Verdict{}, ctx.Err()
		}
		out.fail(err)
	}
	if err := image.unchanged(); err != nil {
		out.fail(err)
	}
	v := out.verdict()
	if v.Verdict == verdict.Passed && !o.Keep {
		err = forgetDisks(o.Dir)
	}
	return v, err
}

// run is an assay on one machine.
type run struct {
	opts Options
	out  *record
	lab  *Lab
	id   Identity

	machine     *Booted
	tunnel      *internet.Tunnel
	shell       *Shell
	fingerprint string
	before      memory // of the machine, before its reboot
	moment      *moment
	repeated    bool // scenarios that failed are played once more
}

func (r *run) say(format string, a ...any) {
	if r.opts.Say != nil {
		r.opts.Say(fmt.Sprintf(format, a...))
	}
}

// all is the assay: one boot, from which one machine is rebooted while its twin
// is looked at; then the scenarios.
func (r *run) all(ctx context.Context) error {
	if r.out.wants(standardStages...) {
		if err := r.standard(ctx); err != nil {
			return err
		}
	}
	r.scenarios(ctx)
	return ctx.Err()
}

var standardStages = []stage{outside, inside, flood, logins, rebooted, console, deep, deepLast}

// standard makes everything but the scenarios.
func (r *run) standard(ctx context.Context) error {
	if err := r.powerOn(ctx); err != nil {
		return err
	}
	defer r.machine.Close()
	defer r.disconnect()
	twin, err := r.twin(ctx)
	if err != nil {
		return err
	}
	defer twin.leave()

	var looking sync.WaitGroup
	looking.Go(func() { twin.look(ctx) })
	err = r.reboot(ctx)
	looking.Wait()
	if err != nil {
		return err
	}
	r.out.ask(ctx, r, console)
	if err := r.again(ctx, twin); err != nil {
		return err
	}
	r.measure(ctx, r.lab, twin.lab)
	return ctx.Err()
}

// look makes all checks of a machine that runs.
func (r *run) look(ctx context.Context) {
	var beside sync.WaitGroup
	beside.Go(func() { r.out.askMany(ctx, r, outside, scansAtOnce) })
	r.out.askMany(ctx, r, inside, insideWorkers)
	beside.Wait()
	r.out.ask(ctx, r, flood)
	r.out.ask(ctx, r, deep)
	r.out.ask(ctx, r, logins)
	r.out.ask(ctx, r, deepLast)
}

// powerOn boots the image and connects as the owner does.
func (r *run) powerOn(ctx context.Context) error {
	var err error
	r.machine, err = r.lab.Boot(ctx, r.id, BootOptions{Image: r.opts.Image, Firmware: r.opts.Firmware, Instance: r.id.Instance, Reboots: true})
	if err != nil {
		return err
	}
	if r.tunnel, err = r.machine.Connect(ctx); err != nil {
		return errors.Join(err, r.machine.Close())
	}
	r.out.ready(time.Since(r.machine.Since))
	r.say("WireGuard answered %.1f s after power-on", time.Since(r.machine.Since).Seconds())
	if r.fingerprint, err = r.machine.AwaitUp(ctx, 0); err != nil {
		return errors.Join(err, r.machine.Close())
	}
	if r.shell, err = r.machine.Shell(ctx, r.tunnel, r.fingerprint); err != nil {
		return errors.Join(err, r.machine.Close())
	}
	return nil
}

func (r *run) disconnect() {
	if r.shell != nil {
		r.shell.Close()
	}
	if r.tunnel != nil {
		r.tunnel.Close()
	}
}

// leave ends a machine of a lab of its own.
func (r *run) leave() {
	r.disconnect()
	r.machine.Close()
	r.lab.Close()
}

func (r *run) stranger() stranger { return stranger{r.lab, r.id.Plan, r.out} }

// forwardingCheck asks sshd to connect somewhere for us: to itself, which would
// surely answer.
func forwardingCheck() check {
	return check{
		id: "ssh.forwarding-refused", layer: "ssh", title: "a forwarding request is refused", stage: logins,
		sabotage: sshlayer.SabotageForwarding(),
		make:     func(ctx context.Context, r *run) (string, error) { return r.forwarding(ctx) },
	}
}

func (r *run) forwarding(ctx context.Context) (string, error) {
	shell, err := r.machine.Shell(ctx, r.tunnel, r.fingerprint)
	if err != nil {
		return "", err
	}
	defer shell.Close()
	conn, err := shell.client.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", r.id.sshPort))
	if err == nil {
		conn.Close()
		return "forwarded", unmet("sshd forwarded a connection")
	}
	var refused *ssh.OpenChannelError
	if !errors.As(err, &refused) || refused.Reason != ssh.Prohibited {
		return "", unmet("forwarding failed for another reason than being prohibited: %v", err)
	}
	return err.Error(), nil
}

// one makes a check that a layer brought.
func (r *run) one(ctx context.Context, c layers.Check) (string, error) {
	switch {
	case c.Ping != nil:
		return r.stranger().ping(ctx, *c.Ping)
	case c.SSHAuth != nil:
		return r.auth(ctx, *c.SSHAuth)
	case c.HTTP != nil:
		return r.http(ctx, *c.HTTP)
	case c.Reach != nil:
		return r.reach(ctx, *c.Reach)
	case c.Through != nil:
		return r.through(ctx, *c.Through)
	case c.Resolve != nil:
		return r.resolve(ctx)
	case c.DropLog != nil:
		return r.dropLog(ctx, *c.DropLog)
	case c.SSHOffer != nil:
		return r.offer(ctx, *c.SSHOffer)
	case c.Packet != nil:
		return r.packet(ctx, *c.Packet)
	case c.Exit != nil:
		return r.exit(ctx, *c.Exit)
	}
	return r.shell.inside(ctx, c, r.id.Plan.Ports)
}

// consoleCheck looks for what a healthy machine never says.
func consoleCheck() check {
	return check{
		id: "system.console", layer: "system", title: "nothing alarming on the console, both boots", stage: console,
		sabotage: "echo '<2>BUG: sabotage' >/dev/kmsg", sabotagedLate: true,
		make: func(_ context.Context, r *run) (string, error) {
			evidence := fmt.Sprintf("%d lines", r.machine.ConsoleLines())
			if alarms := vm.Alarms(r.machine.Console()); len(alarms) > 0 {
				return evidence, unmet("line %d, %s: %s", alarms[0].Number, alarms[0].Pattern, clip(alarms[0].Line))
			}
			return evidence, nil
		},
	}
}
