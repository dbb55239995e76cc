package hetzner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"ingot/fault"
	"ingot/providers"
)

// pair reads the two servers of a move.
func (p *Provider) pair(ctx context.Context, from, to providers.Server) (a, b *hcloud.Server, err error) {
	for _, side := range []struct {
		server providers.Server
		out    **hcloud.Server
	}{{from, &a}, {to, &b}} {
		if *side.out, err = p.serverAs(ctx, side.server); err != nil {
			return nil, nil, err
		}
	}
	if a.ID == b.ID {
		return nil, nil, fault.Input(errors.New("the two servers are the same"))
	}
	return a, b, nil
}

// serverAs reads a server as it is now.
func (p *Provider) serverAs(ctx context.Context, s providers.Server) (*hcloud.Server, error) {
	id, err := strconv.ParseInt(s.ID, 10, 64)
	if err != nil {
		return nil, fault.Input(fmt.Errorf("%q is no number of a server here", s.ID))
	}
	return p.server(ctx, id)
}

// StateSize implements providers.Mover.
func (p *Provider) StateSize(ctx context.Context, server providers.Server) (int, error) {
	s, err := p.serverAs(ctx, server)
	if err != nil {
		return 0, err
	}
	v, err := p.stateOf(ctx, s)
	switch {
	case err != nil || v == nil:
		return 0, err
	case !isAt(v, s):
		return 0, elsewhere(v)
	}
	return v.Size, nil
}

// isOlder reports whether a server was made before another.
func isOlder(a, b *hcloud.Server) bool {
	return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID)) < 0
}

// Taken implements providers.Mover: whether a plan of a move names the server. The moves
// themselves know what there is to bring back.
func (p *Provider) Taken(ctx context.Context, server providers.Server) (state, address bool, err error) {
	s, err := p.serverAs(ctx, server)
	if err != nil {
		return false, false, err
	}
	volumes, err := p.stateVolumes(ctx)
	if err != nil {
		return false, false, err
	}
	var ips []*hcloud.PrimaryIP
	if err := p.call(ctx, "list the primary IPs", func() (err error) { ips, err = p.client.PrimaryIP.All(ctx); return err }); err != nil {
		return false, false, err
	}
	of := func(label map[string]string) bool {
		a, b, _ := strings.Cut(label[labelMove], "-")
		return a == number(s.ID) || b == number(s.ID)
	}
	state = slices.ContainsFunc(volumes, func(v *hcloud.Volume) bool { return of(v.Labels) })
	address = slices.ContainsFunc(ips, func(ip *hcloud.PrimaryIP) bool { return of(ip.Labels) })
	return state, address, nil
}

// MoveVolume implements providers.Mover: the servers exchange the volumes with their
// state, so that neither is ever started without one, and would make another on its
// own disk (docs/image.md: "There must be only one"). The one that gets the state runs
// afterwards, and the other stays off.
//
// The same again changes nothing more, and the move the other way brings all back, of a
// move that is done and of one that was ended at any moment: before its first change
// there is nothing to bring back.
func (p *Provider) MoveVolume(ctx context.Context, from, to providers.Server) error {
	a, b, err := p.pair(ctx, from, to)
	if err != nil {
		return err
	}
	e, err := p.planExchange(ctx, a, b)
	if err != nil {
		return err
	}
	if err := p.off(ctx, a.ID); err != nil {
		return err
	}
	if e != nil {
		if err := p.exchange(ctx, e); err != nil {
			return err
		}
	}
	_, err = p.on(ctx, b.ID)
	return err
}

// exchange is two servers and where their volumes go: the state to the second, and in
// exchange the second's to the first.
type exchange struct {
	from, to     *hcloud.Server
	moved, given *hcloud.Volume
}

// exchange does what is not done yet. Whose the volumes are, their labels say, and those
// change last: until then, whoever destroys the new server keeps the state. The moved
// one's comes first: meanwhile both go with the new server, and none with the old one.
func (p *Provider) exchange(ctx context.Context, e *exchange) error {
	if !isAt(e.moved, e.to) || !isAt(e.given, e.from) {
		if err := p.off(ctx, e.to.ID); err != nil {
			return err
		}
		// Both are taken away first: no server has two.
		for _, step := range []struct {
			volume *hcloud.Volume
			at     *hcloud.Server
		}{{e.moved, e.to}, {e.given, e.from}} {
			if isAt(step.volume, step.at) {
				continue
			}
			if err := p.place(ctx, step.volume, nil); err != nil {
				return err
			}
		}
		if err := errors.Join(p.place(ctx, e.moved, e.to), p.place(ctx, e.given, e.from)); err != nil {
			return err
		}
	}
	if err := p.give(ctx, e.moved, e.to); err != nil {
		return err
	}
	return p.give(ctx, e.given, e.from)
}

// give has a volume go with its new server when that is destroyed.
func (p *Provider) give(ctx context.Context, v *hcloud.Volume, s *hcloud.Server) error {
	id, name := s.Labels[providers.LabelID], s.Labels[providers.LabelServer]
	if v.Labels[providers.LabelID] == id && v.Labels[providers.LabelServer] == name {
		return nil
	}
	label := relabelled(v, providers.LabelID, id)
	label[providers.LabelServer] = name
	_, err := p.label(ctx, v, label)
	return err
}
