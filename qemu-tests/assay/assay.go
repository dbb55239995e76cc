// Package assay proves an image: it boots the exact bytes on a simulated
// internet and tries to break the promises of the plan.
//
// Three witnesses are heard: a shell inside, reached through the tunnel as the
// owner would; the console and the journal; and a stranger outside.
package assay

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/crypto/ssh"

	"ingot/layers"
	"ingot/qemu-tests/internet"
	"ingot/qemu-tests/verdict"
	"ingot/qemu-tests/vm"
)

// Options of an assay.
type Options struct {
	Image     string // raw image file
	Site      layers.Site
	Layers    []layers.Layer
	Toolchain vm.Toolchain
	Dir       string // for console logs, packets and the machines' disks
	Cache     string // remembers which accelerator works; empty asks
	Firmware  vm.Firmware
	// Audit is the tree with lynis and ssh-audit (images.AuditTree); empty
	// leaves the checks out that need it, and the minutes they take.
	Audit    string
	Progress func(verdict.Result) // each check as it is done, nil for none
	Say      func(string)         // what is going on, nil for none
}

// Run makes the assay. The error is for what keeps it from starting; what
// happens on the way is in the verdict.
func Run(ctx context.Context, o Options) (verdict.Verdict, error) {
	start := time.Now()
	id, err := NewIdentity(o.Site, o.Layers)
	if err != nil {
		return verdict.Verdict{}, err
	}
	lab, err := NewLab(ctx, o.Toolchain, o.Dir, o.Cache)
	if err != nil {
		return verdict.Verdict{}, err
	}
	defer lab.Close()
	sum, err := imageDigest(o.Image)
	if err != nil {
		return verdict.Verdict{}, err
	}
	r := &run{opts: o, lab: lab, id: id}
	r.verdict = verdict.Verdict{ImageSHA256: sum, Accelerator: lab.Accel.Name, Reason: lab.Accel.Reason}
	r.say("booting the image with %s (%s)", lab.Accel.Name, lab.Accel.Reason)
	if err := r.all(ctx); err != nil {
		if ctx.Err() != nil {
			return verdict.Verdict{}, ctx.Err()
		}
		r.verdict.Error = err.Error()
	}
	r.verdict.Seconds = time.Since(start).Seconds()
	r.verdict.Conclude()
	return r.verdict, nil
}

// run is one assay under way.
type run struct {
	opts    Options
	lab     *Lab
	id      Identity
	verdict verdict.Verdict

	machine     *Booted
	tunnel      *internet.Tunnel
	shell       *Shell
	fingerprint string
}

func (r *run) say(format string, a ...any) {
	if r.opts.Say != nil {
		r.opts.Say(fmt.Sprintf(format, a...))
	}
}

// all is the standard assay: one boot, the checks, one reboot.
func (r *run) all(ctx context.Context) error {
	if err := r.powerOn(ctx); err != nil {
		return err
	}
	defer r.machine.Close()
	defer r.disconnect()

	r.outside(ctx)
	r.planned(ctx)
	r.depth(ctx)
	// Last before the reboot: sshd shuts out an address after a few refusals.
	r.logins(ctx)
	r.sshAudit(ctx)
	if err := r.reboot(ctx); err != nil {
		return err
	}
	r.console(ctx)
	return ctx.Err()
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
	r.verdict.ReadySeconds = time.Since(r.machine.Since).Seconds()
	r.say("WireGuard answered %.1f s after power-on", r.verdict.ReadySeconds)
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

// check makes one check and records it.
func (r *run) check(ctx context.Context, layer, id, title string, f func() (string, error)) {
	if ctx.Err() != nil {
		return
	}
	start := time.Now()
	evidence, err := f()
	res := verdict.Result{ID: id, Layer: layer, Title: title, Evidence: clip(evidence), Seconds: time.Since(start).Seconds(), Result: verdict.Passed}
	if err != nil {
		res.Result, res.Problem = verdict.Errored, err.Error()
		if errors.Is(err, errUnmet) {
			res.Result = verdict.Failed
		}
	}
	r.verdict.Checks = append(r.verdict.Checks, res)
	if r.opts.Progress != nil {
		r.opts.Progress(res)
	}
}

// outside makes the stranger's checks.
func (r *run) outside(ctx context.Context) {
	o := outside{r.lab, r.id.Plan}
	for _, target := range []struct {
		name string
		addr netip.Addr
	}{{"ipv4", r.lab.Machine.IPv4()}, {"ipv6", r.lab.Machine.IPv6()}} {
		r.check(ctx, "internet", "internet.tcp-"+target.name, "TCP over "+target.name+": only declared ports answer", func() (string, error) {
			return o.tcp(ctx, target.addr)
		})
		r.check(ctx, "internet", "internet.udp-"+target.name, "UDP over "+target.name+": silent to strangers", func() (string, error) {
			return o.udp(ctx, target.addr)
		})
	}
	for _, c := range r.id.Plan.Checks {
		if c.Ping != nil {
			r.check(ctx, c.Layer, c.ID, c.Title, func() (string, error) { return o.ping(ctx, *c.Ping) })
		}
	}
}

// logins makes the checks that log in, or fail to.
func (r *run) logins(ctx context.Context) {
	for _, c := range r.id.Plan.Checks {
		if c.SSHAuth != nil {
			r.check(ctx, c.Layer, c.ID, c.Title, func() (string, error) { return r.auth(ctx, *c.SSHAuth) })
		}
	}
	r.check(ctx, "ssh", "ssh.forwarding-refused", "a forwarding request is refused", func() (string, error) {
		return r.forwarding(ctx)
	})
}

// forwarding asks sshd to connect somewhere for us: to itself, which would
// surely answer.
func (r *run) forwarding(ctx context.Context) (string, error) {
	conn, err := r.shell.client.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", r.id.sshPort))
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

// planned makes the checks that the layers brought and that need a shell.
func (r *run) planned(ctx context.Context) {
	for _, c := range r.id.Plan.Checks {
		if c.SSHAuth != nil || c.Ping != nil {
			continue
		}
		r.check(ctx, c.Layer, c.ID, c.Title, func() (string, error) {
			ctx, cancel := context.WithTimeout(ctx, r.lab.Timeout(bootTime))
			defer cancel()
			return r.one(ctx, c)
		})
	}
}

// one makes a check that needs a shell or the tunnel.
func (r *run) one(ctx context.Context, c layers.Check) (string, error) {
	switch {
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
	}
	return r.shell.inside(ctx, c, r.id.Plan.Ports)
}

// console looks for what a healthy machine never says.
func (r *run) console(ctx context.Context) {
	r.check(ctx, "system", "system.console", "nothing alarming on the console, both boots", func() (string, error) {
		text := r.machine.Console()
		evidence := fmt.Sprintf("%d lines", r.machine.ConsoleLines())
		if alarms := vm.Alarms(text); len(alarms) > 0 {
			return evidence, unmet("line %d, %s: %s", alarms[0].Number, alarms[0].Pattern, clip(alarms[0].Line))
		}
		return evidence, nil
	})
}

func imageDigest(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
