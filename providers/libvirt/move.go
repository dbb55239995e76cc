package libvirt

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	api "github.com/digitalocean/go-libvirt"

	"ingot/fault"
	"ingot/providers"
)

// StateSize implements providers.Mover.
func (p *Provider) StateSize(ctx context.Context, s providers.Server) (int, error) {
	there, err := p.find(ctx, s)
	if err != nil || there.state() == "" {
		return 0, err
	}
	volumes, err := p.volumes(ctx)
	if err != nil {
		return 0, err
	}
	volume, found := volumes[there.state()]
	if !found {
		return 0, fault.Input(fmt.Errorf("the disk %s with the state of %s is not in the pool %s", there.state(), s.Name, p.o.Pool))
	}
	size, err := p.capacity(ctx, volume)
	return int((size + 1<<30 - 1) >> 30), err
}

// Taken implements providers.Mover: what a server was made with has names that follow
// from its labels.
func (p *Provider) Taken(ctx context.Context, s providers.Server) (state, address bool, err error) {
	there, err := p.find(ctx, s)
	if err != nil {
		return false, false, err
	}
	name := there.domain.Name
	born := serverVolume(there.id(), name, "state.raw")
	return there.state() != "" && there.state() != born, there.mac() != macOf(there.id(), name), nil
}

// MoveVolume implements providers.Mover: the two servers change their state disks, so
// that neither is without one and moving back is the same once more. A server whose
// state is on the disk it boots from has nothing that could move, and could not be
// given another (docs/image.md: "There must be only one"). The new one is switched on
// afterwards, the old one stays off: the two have one identity, and both would act.
func (p *Provider) MoveVolume(ctx context.Context, from, to providers.Server) error {
	a, b, err := p.both(ctx, from, to)
	if err != nil {
		return err
	}
	for _, s := range []server{a, b} {
		if s.state() == "" {
			return fault.Input(fmt.Errorf("the server %s keeps its state on the disk it boots from; deploy both servers with a disk for the state: %w", s.domain.Name, providers.ErrUnsupported))
		}
	}
	mine, theirs := a.state(), b.state()
	if mine == theirs {
		// An earlier move ended in the middle; what neither has is left.
		if mine, err = p.spare(ctx, a, b); err != nil {
			return err
		}
		a.text = strings.ReplaceAll(a.text, "'"+theirs+"'", "'"+mine+"'")
		return p.switched(ctx, a, b, true, func() error { return p.redefine(ctx, a.domain.Name, a.text) })
	}
	return p.switched(ctx, a, b, true, func() error { return p.swap(ctx, a, b, mine, theirs) })
}

// spare is the state volume of one of two servers that neither uses.
func (p *Provider) spare(ctx context.Context, a, b server) (string, error) {
	volumes, err := p.volumes(ctx)
	if err != nil {
		return "", err
	}
	for _, s := range []server{b, a} {
		name := serverVolume(s.id(), s.domain.Name, "state.raw")
		if _, there := volumes[name]; there && name != a.state() {
			return name, nil
		}
	}
	return "", fault.Input(fmt.Errorf("%s and %s use the same disk for their state, and there is no other; look at 'virsh edit'", a.domain.Name, b.domain.Name))
}

// MoveAddress implements providers.Mover: the two servers change the MAC addresses of
// their network cards, and with those what the DHCP server has reserved for them. A
// lease would not do: it belongs to who asked for it. The new one is switched on
// afterwards if it was before, the old one stays off.
func (p *Provider) MoveAddress(ctx context.Context, from, to providers.Server) error {
	a, b, err := p.both(ctx, from, to)
	if err != nil {
		return err
	}
	_, n, err := p.network(ctx)
	if err != nil {
		return err
	}
	d := readDHCP(n)
	for _, s := range []server{a, b} {
		if _, there := d.of(s.mac()); !there {
			return fault.Input(fmt.Errorf("the network %s has no address reserved for %s, so that its address is given out elsewhere: %w", p.o.Network, s.domain.Name, providers.ErrUnsupported))
		}
	}
	mine, theirs := a.mac(), b.mac()
	if mine == theirs {
		return p.switched(ctx, a, b, false, func() error {
			for _, r := range d.reserved {
				if m := reserved.FindStringSubmatch(r.name); m != nil && (m[1] == a.id() || m[1] == b.id()) && r.mac != theirs {
					return p.redefine(ctx, a.domain.Name, strings.ReplaceAll(a.text, "'"+theirs+"'", "'"+r.mac+"'"))
				}
			}
			return fault.Input(fmt.Errorf("%s and %s have the same MAC address; look at 'virsh edit'", a.domain.Name, b.domain.Name))
		})
	}
	return p.switched(ctx, a, b, false, func() error { return p.swap(ctx, a, b, mine, theirs) })
}

func (p *Provider) both(ctx context.Context, from, to providers.Server) (a, b server, err error) {
	if from.ID == to.ID {
		return a, b, fault.Input(errors.New("a server cannot take over from itself"))
	}
	if a, err = p.find(ctx, from); err == nil {
		b, err = p.find(ctx, to)
	}
	return a, b, err
}

// swap exchanges a value in the definitions of two servers that are switched off. The
// new one gets it first: if nothing else happens, both name it, none is without, and
// QEMU locks disks, so that only one starts.
func (p *Provider) swap(ctx context.Context, from, to server, mine, theirs string) error {
	if err := p.redefine(ctx, to.domain.Name, strings.ReplaceAll(to.text, "'"+theirs+"'", "'"+mine+"'")); err != nil {
		return err
	}
	return p.redefine(ctx, from.domain.Name, strings.ReplaceAll(from.text, "'"+mine+"'", "'"+theirs+"'"))
}

// redefine changes a domain. The text is libvirt's own, with nothing but one value
// exchanged: what others have changed in it stays.
func (p *Provider) redefine(ctx context.Context, name, text string) error {
	return tell(ctx, p, "change the server "+name, func(l *api.Libvirt) error {
		_, err := l.DomainDefineXMLFlags(text, 0)
		return err
	})
}

// switched has something done while two servers are off, and starts the new one when it
// was on, or in any case. What goes wrong leaves them as they were.
func (p *Provider) switched(ctx context.Context, from, to server, start bool, do func() error) error {
	var on []server
	for _, s := range []server{from, to} {
		state, err := p.stateOf(ctx, s.domain)
		if err == nil && state != api.DomainShutoff {
			on = append(on, s)
			err = p.switchOff(ctx, s)
		}
		if err != nil {
			return errors.Join(err, p.startAll(ctx, on))
		}
		start = start || state != api.DomainShutoff && s.domain.UUID == to.domain.UUID
	}
	if err := do(); err != nil {
		return errors.Join(err, p.startAll(ctx, on))
	}
	err := tell(ctx, p, "have the host not start the server "+from.domain.Name, func(l *api.Libvirt) error {
		return l.DomainSetAutostart(from.domain, 0)
	})
	if start {
		err = errors.Join(err, p.start(ctx, to))
	}
	return err
}

// startAll goes on when the command was interrupted: nobody is left switched off.
func (p *Provider) startAll(ctx context.Context, list []server) error {
	var errs []error
	for _, s := range list {
		errs = append(errs, p.start(context.WithoutCancel(ctx), s))
	}
	return errors.Join(errs...)
}

// switchOff presses a server's power button, and cuts the power of one that does not
// react: a server that hangs is what a move back is for, and a machine of ours survives
// that with what it has flushed.
func (p *Provider) switchOff(ctx context.Context, s server) error {
	limit := time.NewTimer(p.o.Patience)
	defer limit.Stop()
	for n := 0; ; n++ {
		state, err := p.stateOf(ctx, s.domain)
		if err != nil || state == api.DomainShutoff {
			return err
		}
		// A press is lost on a server that is not up yet.
		if n%pressEvery == 0 {
			err := tell(ctx, p, "switch off the server "+s.domain.Name, func(l *api.Libvirt) error { return l.DomainShutdown(s.domain) })
			if err != nil && !isCode(err, api.ErrOperationInvalid) {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-limit.C:
			return p.cutPower(ctx, s)
		case <-time.After(pollEvery):
		}
	}
}

// cutPower has QEMU write what the server has flushed, and end.
func (p *Provider) cutPower(ctx context.Context, s server) error {
	err := tell(ctx, p, "switch off the server "+s.domain.Name, func(l *api.Libvirt) error { return l.DomainDestroy(s.domain) })
	if isCode(err, api.ErrOperationInvalid) || isGone(err) { // it is off
		return nil
	}
	return err
}

const (
	pollEvery  = 250 * time.Millisecond
	pressEvery = 40 // polls: 10 s
)
