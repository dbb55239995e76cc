package openstack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/volumes"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/volumeattach"

	"ingot/fault"
	"ingot/providers"
)

// volumeTime is how long a volume may take to be made, to be let go of or to come.
const volumeTime = 5 * time.Minute

func (p *Provider) needVolume() error {
	if p.volume == nil {
		return fault.Input(errors.New("this cloud has no block storage service in this region; leave out the volume for the state"))
	}
	return nil
}

func (p *Provider) listVolumes(ctx context.Context) ([]volumes.Volume, error) {
	if p.volume == nil {
		return nil, nil
	}
	pages, err := volumes.List(p.volume, volumes.ListOpts{}).AllPages(ctx)
	var all []volumes.Volume
	if err == nil {
		all, err = volumes.ExtractVolumes(pages)
	}
	return all, p.wrap("list the volumes", err)
}

// ensureVolume makes the volume for the state, when one is wanted, and waits for it.
// The image takes it for its own by its label, which it puts there itself.
func (p *Provider) ensureVolume(ctx context.Context, m mark, machine providers.Machine) (string, error) {
	if p.options.StateVolume == 0 {
		return "", nil
	}
	if err := p.needVolume(); err != nil {
		return "", err
	}
	id, err := ensure(ctx, p, machine.Journal, maker[string]{
		kind: kindVolume, name: m.resourceName(),
		look: func(ctx context.Context) (string, bool, error) {
			all, err := p.listVolumes(ctx)
			for _, v := range all {
				if markOf(v.Metadata) == m {
					return v.ID, true, nil
				}
			}
			return "", false, err
		},
		make: func(ctx context.Context) (string, error) {
			v, err := volumes.Create(ctx, p.volume, volumes.CreateOpts{
				Name: m.resourceName(), Size: p.options.StateVolume, AvailabilityZone: machine.Location,
				Metadata: map[string]string{providers.LabelID: m.id, providers.LabelServer: m.server},
			}, nil).Extract()
			if err != nil {
				return "", err
			}
			return v.ID, nil
		},
	})
	if err != nil {
		return "", err
	}
	return id, p.awaitVolume(ctx, id, "available", "in-use")
}

func (p *Provider) awaitVolume(ctx context.Context, id string, states ...string) error {
	return p.await(ctx, "the volume "+id, volumeTime, func(ctx context.Context) (bool, error) {
		v, err := volumes.Get(ctx, p.volume, id).Extract()
		if err != nil {
			return false, p.wrap("look at the volume "+id, err)
		}
		if len(v.Status) >= 5 && v.Status[:5] == "error" {
			return false, fault.Provider(fmt.Errorf("the volume %s is in the state %q; see how it stands at the provider", id, v.Status))
		}
		return slices.Contains(states, v.Status), nil
	})
}

// MoveVolume implements providers.Mover. Both servers are switched off; the one that
// has got the volume is started again, the other one stays off. A volume that the
// other had is taken off and goes with the first one from then on, so that the same
// the other way round brings all back.
func (p *Provider) MoveVolume(ctx context.Context, from, to providers.Server) error {
	if p.compute == nil || p.volume == nil {
		return fmt.Errorf("this cloud has no volumes, and the state is on the server's own disk: %w", providers.ErrUnsupported)
	}
	moved, given, err := p.statesOf(ctx, from, to)
	if err != nil {
		return err
	}
	for _, s := range []providers.Server{from, to} {
		if err := p.switchServer(ctx, s, "SHUTOFF"); err != nil {
			return err
		}
	}
	if given != nil {
		if err := p.detach(ctx, given, to); err != nil {
			return err
		}
	}
	if err := p.detach(ctx, moved, from); err != nil {
		return err
	}
	if err := p.attach(ctx, moved, to); err != nil {
		return err
	}
	if err := p.relabel(ctx, moved, markOf(to.Labels)); err != nil {
		return err
	}
	if given != nil {
		if err := p.relabel(ctx, given, markOf(from.Labels)); err != nil {
			return err
		}
	}
	return p.switchServer(ctx, to, "ACTIVE")
}

// statesOf finds the volume to move, and the one that the other server has of its
// own, if any. After an earlier try that was cut short both may have the mark of the
// other server.
func (p *Provider) statesOf(ctx context.Context, from, to providers.Server) (moved, given *volumes.Volume, err error) {
	all, err := p.listVolumes(ctx)
	if err != nil {
		return nil, nil, err
	}
	var of, others []*volumes.Volume
	for _, v := range all {
		switch markOf(v.Metadata) {
		case markOf(from.Labels):
			of = append(of, &v)
		case markOf(to.Labels):
			others = append(others, &v)
		}
	}
	// What is attached to the other server comes last.
	slices.SortStableFunc(others, func(a, b *volumes.Volume) int {
		return cmp.Compare(len(a.Attachments), len(b.Attachments))
	})
	switch {
	case len(of) > 0 && len(others) > 0:
		return of[0], others[0], nil
	case len(of) > 0:
		return of[0], nil, nil
	case len(others) > 1:
		return others[1], others[0], nil
	case len(others) == 1 && isOn(others[0], to.ID):
		return others[0], nil, nil
	}
	return nil, nil, fmt.Errorf("the server %s has no volume of its own for its state; deploy servers with one to be able to move it: %w", from.Name, providers.ErrUnsupported)
}

// detach takes a volume off a server, if it is on it, and waits until it is free.
func (p *Provider) detach(ctx context.Context, v *volumes.Volume, s providers.Server) error {
	if !isOn(v, s.ID) {
		return nil
	}
	err := volumeattach.Delete(ctx, p.compute, s.ID, v.ID).ExtractErr()
	if err != nil && !isNotFound(err) {
		return p.wrap("detach the volume "+v.Name, err)
	}
	return p.awaitVolume(ctx, v.ID, "available")
}

// attach puts a free volume on a server, if it is not on it, and waits until it is.
func (p *Provider) attach(ctx context.Context, v *volumes.Volume, s providers.Server) error {
	if !isOn(v, s.ID) {
		err := volumeattach.Create(ctx, p.compute, s.ID, volumeattach.CreateOpts{VolumeID: v.ID}).Err
		if err != nil {
			return p.wrap("attach the volume "+v.Name, err)
		}
	}
	return p.awaitVolume(ctx, v.ID, "in-use")
}

func isOn(v *volumes.Volume, server string) bool {
	return slices.ContainsFunc(v.Attachments, func(a volumes.Attachment) bool { return a.ServerID == server })
}

// relabel makes a volume go with its new server when that is destroyed.
func (p *Provider) relabel(ctx context.Context, v *volumes.Volume, m mark) error {
	labels := maps.Clone(v.Metadata)
	labels[providers.LabelID], labels[providers.LabelServer] = m.id, m.server
	err := volumes.Update(ctx, p.volume, v.ID, volumes.UpdateOpts{Metadata: labels}).Err
	return p.wrap("label the volume "+v.Name, err)
}

// switchServer brings a server to SHUTOFF or ACTIVE.
func (p *Provider) switchServer(ctx context.Context, s providers.Server, state string) error {
	now, err := p.server(ctx, s.ID)
	if err != nil || now.State == state {
		return err
	}
	if state == "ACTIVE" {
		err = servers.Start(ctx, p.compute, s.ID).ExtractErr()
	} else {
		err = servers.Stop(ctx, p.compute, s.ID).ExtractErr()
	}
	if err != nil && status(err) != http.StatusConflict { // on its way already
		return p.wrap("switch the server "+s.Name, err)
	}
	_, err = p.awaitState(ctx, s.ID, s.Name, state)
	return err
}
