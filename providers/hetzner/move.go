package hetzner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

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
		id, err := strconv.ParseInt(side.server.ID, 10, 64)
		if err != nil {
			return nil, nil, fault.Input(fmt.Errorf("%q is no number of a server here", side.server.ID))
		}
		if *side.out, err = p.server(ctx, id); err != nil {
			return nil, nil, err
		}
	}
	if a.ID == b.ID {
		return nil, nil, fault.Input(errors.New("the two servers are the same"))
	}
	return a, b, nil
}

// MoveVolume implements providers.Mover. The state volume is the one with a label of
// Ingot's that is attached to one of the two, or has lost its server. The server that
// gets it runs afterwards, and the other stays off.
func (p *Provider) MoveVolume(ctx context.Context, from, to providers.Server) error {
	a, b, err := p.pair(ctx, from, to)
	if err != nil {
		return err
	}
	volume, err := p.stateVolume(ctx, a, b)
	if err != nil {
		return err
	}
	if err := errors.Join(p.off(ctx, a.ID), p.off(ctx, b.ID)); err != nil {
		return err
	}
	var last error
	for n := range goneLooks {
		at := int64(0)
		if volume.Server != nil {
			at = volume.Server.ID
		}
		switch at {
		case b.ID:
			_, err := p.on(ctx, b.ID)
			return err
		case 0:
			last = p.act(ctx, "attach the volume "+volume.Name, func() (*hcloud.Action, *hcloud.Response, error) { return p.client.Volume.Attach(ctx, volume, b) })
		default:
			last = p.act(ctx, "detach the volume "+volume.Name, func() (*hcloud.Action, *hcloud.Response, error) { return p.client.Volume.Detach(ctx, volume) })
		}
		// What was read may have been late.
		if last != nil && !isLost(last) && !hcloud.IsError(last, hcloud.ErrorCodeVolumeAlreadyAttached, hcloud.ErrorCodeServerAlreadyAttached) && n > looks {
			return last
		}
		if err := p.pause(ctx, n); err != nil {
			return err
		}
		id := volume.ID
		err := p.call(ctx, "read the volume "+volume.Name, func() error {
			now, _, err := p.client.Volume.GetByID(ctx, id)
			if now != nil {
				volume = now
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return fault.Provider(errors.Join(fmt.Errorf("the volume %s does not get from the server %s to %s", volume.Name, a.Name, b.Name), last))
}

// stateVolume is the volume that moves.
func (p *Provider) stateVolume(ctx context.Context, a, b *hcloud.Server) (*hcloud.Volume, error) {
	var all []*hcloud.Volume
	err := p.call(ctx, "list the volumes", func() (err error) {
		all, err = p.client.Volume.AllWithOpts(ctx, hcloud.VolumeListOpts{ListOpts: hcloud.ListOpts{LabelSelector: providers.LabelServer}})
		return err
	})
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(v *hcloud.Volume) bool {
		if v.Server != nil {
			return v.Server.ID != a.ID && v.Server.ID != b.ID
		}
		return v.Labels[providers.LabelServer] != a.Name && v.Labels[providers.LabelServer] != b.Name
	})
	switch {
	case len(all) == 0:
		return nil, fault.Input(fmt.Errorf("the state of %s is on its own disk, not on a volume with the label %s: %w", a.Name, providers.LabelServer, providers.ErrUnsupported))
	case len(all) > 1:
		return nil, fault.Input(fmt.Errorf("%d volumes with the label %s are at the servers %s and %s, and it must be one: the state volume", len(all), providers.LabelServer, a.Name, b.Name))
	}
	return all[0], nil
}
