package hetzner

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"ingot/fault"
	"ingot/providers"
)

// The plan of an exchange is one label on one volume, so that it is there as a whole or
// not at all: labelMove, "42-43", on the one that goes to 42 when the state of 42 goes to
// 43. It stays there when all is done, so that the same once more changes nothing.

func moveOf(from, to *hcloud.Server) string { return fmt.Sprintf("%d-%d", from.ID, to.ID) }

// movers are the servers of a volume's last exchange; the volume goes to the first.
func movers(v *hcloud.Volume) (holder, other int64) {
	if n, _ := fmt.Sscanf(v.Labels[labelMove], "%d-%d", &holder, &other); n != 2 {
		return 0, 0
	}
	return holder, other
}

func serverOf(v *hcloud.Volume) int64 {
	if v.Server == nil {
		return 0
	}
	return v.Server.ID
}

// isOf reports whether a volume goes with a server by its labels.
func isOf(v *hcloud.Volume, s *hcloud.Server) bool {
	return v.Labels[providers.LabelID] == s.Labels[providers.LabelID]
}

// isBy reports whether a volume is a server's by where it is, or by its labels when it
// is nowhere.
func isBy(v *hcloud.Volume, s *hcloud.Server) bool {
	return isAt(v, s) || v.Server == nil && isOf(v, s)
}

// relabelled are a volume's labels with one changed.
func relabelled(v *hcloud.Volume, name, value string) map[string]string {
	label := maps.Clone(v.Labels)
	label[name] = value
	return label
}

// stateVolumes are those with a file system of ours.
func (p *Provider) stateVolumes(ctx context.Context) ([]*hcloud.Volume, error) {
	var all []*hcloud.Volume
	err := p.call(ctx, "list the volumes", func() (err error) {
		all, err = p.client.Volume.AllWithOpts(ctx, hcloud.VolumeListOpts{ListOpts: hcloud.ListOpts{LabelSelector: labelState}})
		return err
	})
	return all, err
}

// planExchange says where two servers' volumes go when the state of the first goes to
// the second, and labels them. It is nil when there is nothing to bring back.
func (p *Provider) planExchange(ctx context.Context, from, to *hcloud.Server) (*exchange, error) {
	all, err := p.stateVolumes(ctx)
	if err != nil {
		return nil, err
	}
	two, err := pairOf(all, from, to)
	if err != nil {
		return nil, err
	}
	e := &exchange{from: from, to: to}
	switch given := slices.IndexFunc(two, func(v *hcloud.Volume) bool {
		of := v.Labels[labelMove]
		// This move, or the one the other way, of which all goes back.
		return of == moveOf(from, to) || of == moveOf(to, from)
	}); {
	case given >= 0:
		e.given, e.moved = two[given], two[1-given]
	default:
		if !isBy(two[0], from) {
			slices.Reverse(two)
		}
		e.moved, e.given = two[0], two[1]
		// Whoever failed to take an older server's state may ask to give it back, and
		// has what it was made with.
		if isOlder(to, from) && e.moved.Labels[labelState] == from.Labels[providers.LabelID] {
			if !isAt(e.given, to) {
				return nil, elsewhere(e.given)
			}
			return nil, nil
		}
	}
	// What the first has was given to it for the state, which is with a third one now.
	if holder, other := movers(e.moved); isOlder(to, from) && holder == from.ID && other != to.ID {
		return nil, fault.Input(fmt.Errorf("the server %s has given its state to the server %d: give that back first", from.Name, other))
	}
	return e, p.keepPlan(ctx, e)
}

// keepPlan writes it down before anything moves.
func (p *Provider) keepPlan(ctx context.Context, e *exchange) (err error) {
	if _, ok := e.moved.Labels[labelMove]; ok { // of an exchange with another server
		label := maps.Clone(e.moved.Labels)
		delete(label, labelMove)
		if e.moved, err = p.label(ctx, e.moved, label); err != nil {
			return err
		}
	}
	if plan := moveOf(e.from, e.to); e.given.Labels[labelMove] != plan {
		e.given, err = p.label(ctx, e.given, relabelled(e.given, labelMove, plan))
	}
	return err
}

// pairOf finds the volumes of two servers, one of each. Nothing was changed yet, and
// nothing is when they cannot be exchanged.
func pairOf(all []*hcloud.Volume, from, to *hcloud.Server) ([]*hcloud.Volume, error) {
	servers := []*hcloud.Server{from, to}
	for _, s := range servers {
		if s.Labels[providers.LabelID] == "" {
			return nil, fault.Input(fmt.Errorf("the server %s has no label %s, so that Ingot did not make it", s.Name, providers.LabelID))
		}
	}
	var two []*hcloud.Volume
	planned := false
	for _, v := range all {
		holder, other := movers(v)
		ours := func(id int64) bool { return id == from.ID || id == to.ID }
		of := ours(holder) && ours(other)
		planned = planned || of
		if (ours(holder) || ours(other)) && !of && serverOf(v) != holder {
			return nil, elsewhere(v)
		}
		if isAt(v, from) || isAt(v, to) || isOf(v, from) || isOf(v, to) {
			two = append(two, v)
		}
	}
	for _, s := range servers {
		if !planned && !slices.ContainsFunc(two, func(v *hcloud.Volume) bool { return isBy(v, s) || isOf(v, s) }) {
			return nil, fault.Input(fmt.Errorf("the server %s keeps its state on its own disk, and it cannot be moved: deploy both servers with a volume for it: %w", s.Name, providers.ErrUnsupported))
		}
	}
	if i := slices.IndexFunc(two, func(v *hcloud.Volume) bool { return v.Server != nil && !isAt(v, from) && !isAt(v, to) }); i >= 0 {
		return nil, elsewhere(two[i])
	}
	if len(two) != 2 || !planned && (isBy(two[0], from) == isBy(two[1], from) || isBy(two[0], to) == isBy(two[1], to)) {
		return nil, fault.Input(fmt.Errorf("%d volumes with the label %s are at the servers %s and %s, and each must have one: look at them in the console", len(two), labelState, from.Name, to.Name))
	}
	if two[0].Location.Name != two[1].Location.Name {
		return nil, fault.Input(fmt.Errorf("the volumes of %s and %s are in %s and %s, and stay there: deploy both servers in one location: %w",
			from.Name, to.Name, two[0].Location.Name, two[1].Location.Name, providers.ErrUnsupported))
	}
	return two, nil
}

// elsewhere is the error about a volume that is not where it belongs.
func elsewhere(v *hcloud.Volume) error {
	err := fmt.Errorf("the volume %s is not at its server", v.Name)
	if of := v.Labels[labelMove]; of != "" {
		err = fmt.Errorf("%w: finish the move that its label %s=%s names the servers of, or remove the label when one of them is gone", err, labelMove, of)
	}
	return fault.Input(err)
}

// onWithState starts a server that an address was moved to, unless its state is on its
// way, of which it would make another, or with a server that took it over: who gives back
// both moves the state next, and that starts it.
func (p *Provider) onWithState(ctx context.Context, s *hcloud.Server) error {
	v, err := p.stateOf(ctx, s)
	if err != nil {
		return err
	}
	given := v != nil && v.Labels[labelState] != s.Labels[providers.LabelID] && strings.HasPrefix(v.Labels[labelMove], number(s.ID)+"-")
	if v != nil && !isAt(v, s) || given {
		p.say("%s stays off: its state is on its way to or from another server; move that, too", s.Name)
		return nil
	}
	_, err = p.on(ctx, s.ID)
	return err
}

// stateOf is the volume that a server has, or else the one that goes with it by its
// labels, wherever that is; nil when its state is on its own disk.
func (p *Provider) stateOf(ctx context.Context, s *hcloud.Server) (*hcloud.Volume, error) {
	all, err := p.stateVolumes(ctx)
	for _, v := range all {
		if isAt(v, s) {
			return v, err
		}
	}
	for _, v := range all {
		if isOf(v, s) && s.Labels[providers.LabelID] != "" {
			return v, err
		}
	}
	return nil, err
}
