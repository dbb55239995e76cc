package openstack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/volumes"

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

func (p *Provider) findVolume(ctx context.Context, m mark) (string, bool, error) {
	all, err := p.listVolumes(ctx)
	for _, v := range all {
		if markOf(v.Metadata) == m {
			return v.ID, true, nil
		}
	}
	return "", false, err
}

// StateSize implements providers.Mover.
func (p *Provider) StateSize(ctx context.Context, server providers.Server) (int, error) {
	m, err := p.serverMark(ctx, server)
	if err != nil {
		return 0, err
	}
	all, err := p.listVolumes(ctx)
	for _, v := range all {
		if markOf(v.Metadata) == m {
			return v.Size, nil
		}
	}
	return 0, err
}

// ensureVolume makes the volume for the state, when one is wanted, of an image with
// nothing but its file system, which goes again.
func (p *Provider) ensureVolume(ctx context.Context, m mark, machine providers.Machine) (string, error) {
	if p.options.StateVolume == 0 {
		return "", nil
	}
	id, found, err := p.findVolume(ctx, m)
	if err != nil {
		return "", err
	}
	if found {
		return id, p.awaitVolume(ctx, id, "available", "in-use")
	}
	image, err := p.stateImage(ctx, m, machine.Journal)
	if err != nil {
		return "", err
	}
	id, err = ensure(ctx, p, machine.Journal, maker[string]{
		kind: kindVolume, name: m.resourceName(),
		look: func(ctx context.Context) (string, bool, error) { return p.findVolume(ctx, m) },
		make: func(ctx context.Context) (string, error) {
			v, err := volumes.Create(ctx, p.volume, volumes.CreateOpts{
				Name: m.resourceName(), Size: p.options.StateVolume, ImageID: image.ID, AvailabilityZone: machine.Location,
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
	if err := p.awaitVolume(ctx, id, "available"); err != nil {
		return "", err
	}
	return id, p.deleteImage(ctx, image.ID)
}

func (p *Provider) awaitVolume(ctx context.Context, id string, states ...string) error {
	return p.await(ctx, "the work on the volume "+id, volumeTime, func(ctx context.Context) (bool, error) {
		v, err := volumes.Get(ctx, p.volume, id).Extract()
		if err != nil {
			return false, p.wrap("look at the volume "+id, err)
		}
		if strings.HasPrefix(v.Status, "error") {
			return false, fault.Provider(fmt.Errorf("the volume %s is in the state %q; see how it stands at the provider", id, v.Status))
		}
		return slices.Contains(states, v.Status), nil
	})
}

func isOn(v *volumes.Volume, server string) bool {
	return slices.ContainsFunc(v.Attachments, func(a volumes.Attachment) bool { return a.ServerID == server })
}
