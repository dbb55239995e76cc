package openstack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"

	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/volumes"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/volumeattach"

	"ingot/fault"
	"ingot/providers"
)

// Labels of a server that has taken something over, or is about to: the number of the
// one that had it and that of what moves, with a dot between. Whose a volume is changes
// on the way; what moves does not.
const (
	labelTookState   = "ingot-took-state"
	labelTookAddress = "ingot-took-address"
)

// Taken implements providers.Mover.
func (p *Provider) Taken(ctx context.Context, s providers.Server) (state, address bool, err error) {
	now, err := p.server(ctx, s.ID)
	return now.Labels[labelTookState] != "", now.Labels[labelTookAddress] != "", err
}

// noting has something moved, with a label on who takes it from before the first change
// until it is given back.
func (p *Provider) noting(ctx context.Context, label string, from, to providers.Server, what string, move func() error) error {
	if err := p.needCompute(); err != nil {
		return err
	}
	giver, err := p.server(ctx, from.ID)
	if err != nil {
		return err
	}
	had, _, _ := strings.Cut(giver.Labels[label], ".")
	givesBack := had == to.ID
	if !givesBack {
		_, err := servers.UpdateMetadata(ctx, p.compute, to.ID, servers.MetadataOpts{label: from.ID + "." + what}).Extract()
		if err != nil {
			return p.wrap("label the server "+to.Name, err)
		}
	}
	if err := move(); err != nil || !givesBack {
		return err
	}
	err = servers.DeleteMetadatum(ctx, p.compute, from.ID, label).ExtractErr()
	if isNotFound(err) {
		err = nil
	}
	return p.wrap("label the server "+from.Name, err)
}

// onItsWay is what one of two servers has taken from the other, or has begun to, or "".
func (p *Provider) onItsWay(ctx context.Context, label string, a, b providers.Server) (string, error) {
	for _, ends := range [][2]providers.Server{{a, b}, {b, a}} {
		now, err := p.server(ctx, ends[0].ID)
		if err != nil {
			return "", err
		}
		if what, ok := strings.CutPrefix(now.Labels[label], ends[1].ID+"."); ok {
			return what, nil
		}
	}
	return "", nil
}

// MoveVolume implements providers.Mover: the two servers change their volumes, so that
// neither is without one and the same once more brings them back. A server whose state
// is on the disk it boots from has nothing that could move, and could not be given
// another (docs/image.md: "There must be only one"). The second runs afterwards and
// the first does not: the two have one identity, and both would act.
//
// Whose a volume is, its labels say, and those change last: interrupted before, the
// same again goes on.
func (p *Provider) MoveVolume(ctx context.Context, from, to providers.Server) error {
	if p.compute == nil || p.volume == nil {
		return fmt.Errorf("this cloud has no volumes, and the state is on the server's own disk: %w", providers.ErrUnsupported)
	}
	moved, given, err := p.statesOf(ctx, from, to)
	if err != nil {
		return err
	}
	what, err := p.onItsWay(ctx, labelTookState, from, to)
	if err != nil {
		return err
	}
	if what != "" && what != moved.ID && what != given.ID {
		return fault.Input(fmt.Errorf("the state that moved between %s and %s is at neither of them now: roll that of its server back first", from.Name, to.Name))
	}
	if what == given.ID { // it has not come here, or is back already
		moved, given = given, moved
	}
	return p.noting(ctx, labelTookState, from, to, moved.ID, func() error { return p.exchange(ctx, from, to, moved, given) })
}

// exchange does what is not done yet.
func (p *Provider) exchange(ctx context.Context, from, to providers.Server, moved, given *volumes.Volume) error {
	err := p.switchedOff(ctx, from, to, func() error {
		for _, step := range []func() error{
			func() error { return p.detach(ctx, moved, from) },
			func() error { return p.detach(ctx, given, to) },
			func() error { return p.attach(ctx, moved, to) },
			func() error { return p.attach(ctx, given, from) },
		} {
			if err := step(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := p.relabel(ctx, moved, markOf(to.Labels)); err != nil {
		return err
	}
	return p.relabel(ctx, given, markOf(from.Labels))
}

// statesOf finds the volume of each server. When a move was interrupted between the
// two labels, both volumes have those of one server, and where they are says which is
// which.
func (p *Provider) statesOf(ctx context.Context, from, to providers.Server) (moved, given *volumes.Volume, err error) {
	all, err := p.listVolumes(ctx)
	if err != nil {
		return nil, nil, err
	}
	var ofFirst, ofSecond []*volumes.Volume
	for _, v := range all {
		switch markOf(v.Metadata) {
		case markOf(from.Labels):
			ofFirst = append(ofFirst, &v)
		case markOf(to.Labels):
			ofSecond = append(ofSecond, &v)
		}
	}
	// which is the one of two that is on a server, and the other one.
	which := func(two []*volumes.Volume, s providers.Server) (on, other *volumes.Volume, _ error) {
		if isOn(two[0], s.ID) {
			return two[0], two[1], nil
		}
		return two[1], two[0], nil
	}
	switch {
	case len(ofFirst) == 1 && len(ofSecond) == 1:
		return ofFirst[0], ofSecond[0], nil
	case len(ofFirst) == 0 && len(ofSecond) == 2: // this move, all but done
		return which(ofSecond, to)
	case len(ofFirst) == 2 && len(ofSecond) == 0: // the one the other way
		return which(ofFirst, from)
	}
	return nil, nil, fmt.Errorf("%s has %d volumes for its state and %s has %d, and each must have one; deploy both with one to be able to move it: %w",
		from.Name, len(ofFirst), to.Name, len(ofSecond), providers.ErrUnsupported)
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

// relabel makes a volume go with its new server when that is destroyed.
func (p *Provider) relabel(ctx context.Context, v *volumes.Volume, m mark) error {
	labels := maps.Clone(v.Metadata)
	labels[providers.LabelID], labels[providers.LabelServer] = m.id, m.server
	err := volumes.Update(ctx, p.volume, v.ID, volumes.UpdateOpts{Name: new(m.resourceName()), Metadata: labels}).Err
	return p.wrap("label the volume "+v.Name, err)
}

// switchedOff has something done while two servers are off, and starts the second. What
// goes wrong before leaves those on that were; once volumes are taken off, none: a
// server without its state would make itself another.
func (p *Provider) switchedOff(ctx context.Context, from, to providers.Server, do func() error) (err error) {
	var on []providers.Server
	parted := false
	for _, s := range []providers.Server{from, to} {
		now, err := p.server(ctx, s.ID)
		if err != nil {
			return err
		}
		if now.State == "ACTIVE" {
			on = append(on, s)
		}
	}
	defer func() {
		switch {
		case err == nil:
			on = []providers.Server{to}
		case parted:
			on, err = nil, fmt.Errorf("%w; a server without its state is not switched on: run it again, or the move the other way", err)
		}
		for _, s := range on {
			err = errors.Join(err, p.switchServer(context.WithoutCancel(ctx), s, "ACTIVE"))
		}
	}()
	for _, s := range []providers.Server{from, to} {
		if err := p.switchServer(ctx, s, "SHUTOFF"); err != nil {
			return err
		}
	}
	parted = true
	return do()
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
