package ionos

import (
	"context"
	"errors"
	"fmt"
	"strings"

	sdk "github.com/ionos-cloud/sdk-go/v6"

	"ingot/fault"
	"ingot/providers"
)

// labelMove is on the volume that a move is about, from before anything is changed until
// all is done: the numbers of the two servers' entries, with a dot between. This volume
// gets to the server that a move is to, so that the same move goes on with one that was
// interrupted, and the one the other way undoes it. Until then neither server is found
// to be deleted: see [Provider.Find].
const labelMove = "ingot-move"

// exchange is a move of the volumes for the state of two servers.
type exchange struct {
	p        *Provider
	dc       string
	from, to end
	// moved gets to the second server and given to the first, wherever they are now.
	moved, given sdk.Volume
	// begun is a move that an earlier one has begun and not ended, undoes one that gives
	// the first server back what it was made with.
	begun, undoes bool
	// parted is set before the first volume is asked to be taken off.
	parted bool
}

// end is one of the two servers.
type end struct {
	dc, server string // IONOS' ids
	name       string
	entry      string // that its volumes are labelled with
	on         bool   // it was, as the move of the volumes began
}

// MoveVolume implements [providers.Mover]: the two servers change their volumes for the
// state, so that neither is without one and the same once more brings them back. The
// second server runs afterwards, and the first stays off: the two have one identity,
// and both would act.
//
// IONOS has no button, only the power: what a machine has not written to its disk when
// it is switched off is lost.
//
// Interrupted, the same again goes on, and the other way undoes. A server that has lost
// its volume and has no other yet is never switched on: it would make itself a file
// system on the disk it starts from, and there must be only one (docs/image.md).
func (p *Provider) MoveVolume(ctx context.Context, from, to providers.Server) error {
	x, err := p.beginExchange(ctx, from, to)
	if err != nil {
		return err
	}
	if err := x.change(ctx); err != nil {
		return x.back(ctx, err)
	}
	if err := p.power(ctx, x.to, running); err != nil {
		return err
	}
	return p.unlabel(ctx, p.volumeLabels(x.dc, *x.moved.Id), labelMove)
}

// beginExchange finds out what shall move and marks it, whether ctx ends meanwhile or
// not: whoever is interrupted here undoes a move by the one the other way, which would
// be a move of its own if this one had not begun.
func (p *Provider) beginExchange(interrupted context.Context, from, to providers.Server) (*exchange, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(interrupted), p.pace.request)
	defer cancel()
	x := &exchange{p: p}
	if err := x.ends(from, to); err != nil {
		return nil, err
	}
	if err := p.settledCenter(ctx, x.dc); err != nil {
		return nil, err
	}
	// Lists may be of before an earlier move: labels and places must agree.
	agree, err := p.look(ctx, func() (bool, error) { return x.choose(ctx) })
	if err != nil {
		return nil, err
	}
	if !agree {
		return nil, fault.Input(fmt.Errorf("the labels of the volumes for the state of %s and %s say that each is on the other server, or they are on none; see how it stands at IONOS", from.Name, to.Name))
	}
	for _, e := range []*end{&x.from, &x.to} {
		state, err := x.p.stateOf(ctx, *e)
		if err != nil {
			return nil, err
		}
		e.on = state != shutOff
	}
	// One that was not reserved would be lost by switching off, for a move whose second
	// half, that of the address, cannot be. Whoever gives back has none of its own to lose.
	if !x.begun && !x.undoes {
		if _, err := p.reservedOf(ctx, x.from); err != nil {
			return nil, err
		}
	}
	way := map[string]string{labelMove: x.from.entry + "." + x.to.entry}
	if err := p.label(ctx, p.volumeLabels(x.dc, *x.moved.Id), nil, way); err != nil {
		return nil, err
	}
	return x, interrupted.Err()
}

// ends are the two servers.
func (x *exchange) ends(from, to providers.Server) (err error) {
	if x.from, x.to, err = endsOf(from, to); err != nil {
		return err
	}
	if x.dc = x.from.dc; x.dc != x.to.dc {
		return fault.Input(fmt.Errorf("%s and %s are in two data centers, and volumes move within one only: %w", from.Name, to.Name, providers.ErrUnsupported))
	}
	return nil
}

// endOf is a server of a move.
func endOf(s providers.Server) (end, error) {
	dc, server, err := split(s.ID)
	e := end{dc: dc, server: server, name: s.Name, entry: s.Labels[providers.LabelID]}
	if err == nil && e.entry == "" {
		err = fault.Input(fmt.Errorf("the server %s has no label %s, so that what is its own cannot be told from others'", s.Name, providers.LabelID))
	}
	return e, err
}

func endsOf(from, to providers.Server) (a, b end, err error) {
	if a, err = endOf(from); err != nil {
		return a, b, err
	}
	if b, err = endOf(to); err == nil && (a.server == b.server || a.entry == b.entry) {
		err = fault.Input(errors.New("a server cannot take over from itself"))
	}
	return a, b, err
}

// choose finds the volumes, and reports whether they are where their labels say. When a
// move was interrupted, its mark tells which one it is about, whatever else is.
func (x *exchange) choose(ctx context.Context) (agree bool, err error) {
	labels, err := x.p.labels(ctx)
	if err != nil {
		return false, err
	}
	all, err := x.p.volumes(ctx, x.dc)
	if err != nil {
		return false, err
	}
	var pair, marked []sdk.Volume
	owned := map[string]int{}
	for _, v := range all {
		mine := labels[*v.Id]
		if mine[labelState] == "" {
			continue
		}
		if a, b, ok := onItsWay(mine); ok {
			ours := a == x.from.entry && b == x.to.entry || a == x.to.entry && b == x.from.entry
			if !ours && (a == x.from.entry || a == x.to.entry || b == x.from.entry || b == x.to.entry) {
				return false, fault.Input(fmt.Errorf("the volume %s is on its way between other servers: run that move again, or the one the other way, first", deref(v.Properties.Name)))
			}
			if ours {
				marked = append(marked, v)
			}
		}
		if owner := mine[providers.LabelID]; owner == x.from.entry || owner == x.to.entry {
			owned[owner]++
			pair = append(pair, v)
		}
	}
	switch {
	case len(pair) == 2 && len(marked) == 1:
		x.moved, x.given = marked[0], pair[0]
		if *x.given.Id == *x.moved.Id {
			x.given = pair[1]
		}
		x.begun = true
		return true, nil
	case len(pair) == 2 && len(marked) == 0 && owned[x.from.entry] == 1:
		x.moved, x.given = pair[0], pair[1]
		if labels[*x.moved.Id][providers.LabelID] != x.from.entry {
			x.moved, x.given = x.given, x.moved
		}
		x.undoes = labels[*x.given.Id][labelBorn] == x.from.entry
		return x.isAsBefore(ctx)
	}
	return false, fault.Input(fmt.Errorf("%s has %d volumes for its state and %s has %d, and each must have one; deploy both with one to be able to move it: %w",
		x.from.name, owned[x.from.entry], x.to.name, owned[x.to.entry], providers.ErrUnsupported))
}

// onItsWay reads [labelMove]: the entries of the servers that a volume moves between.
func onItsWay(labels map[string]string) (one, other string, ok bool) {
	return strings.Cut(labels[labelMove], ".")
}

// checkAtRest refuses what cannot be done with a server while its state is between it
// and another.
func checkAtRest(all map[string]map[string]string, entry string) error {
	for _, labels := range all {
		if one, other, ok := onItsWay(labels); ok && (one == entry || other == entry) {
			return fault.Input(errors.New("the state is on its way from one server to another, which was interrupted: run \"ingot rollback\" first"))
		}
	}
	return nil
}

// change has the volumes where they shall be, with the labels of their new owners. What
// is so already stays.
func (x *exchange) change(ctx context.Context) error {
	steps := []func() error{
		func() error { return x.p.power(ctx, x.from, shutOff) },
		func() error { return x.p.power(ctx, x.to, shutOff) },
		func() error { x.parted = true; return x.detach(ctx, x.moved, x.from) },
		func() error { return x.detach(ctx, x.given, x.to) },
		func() error { return x.attach(ctx, x.moved, x.to) },
		func() error { return x.attach(ctx, x.given, x.from) },
	}
	there, err := x.isDone(ctx)
	if err != nil {
		return err
	}
	if there {
		steps = steps[:1] // the second one may run on
	}
	steps = append(steps,
		func() error { return x.own(ctx, x.moved, x.to) },
		func() error { return x.own(ctx, x.given, x.from) },
		func() error { return x.keepBoot(ctx, x.to, x.moved) },
		func() error { return x.keepBoot(ctx, x.from, x.given) },
	)
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	// Lists may have been of before.
	if there, err = x.isDone(ctx); err == nil && !there {
		err = fault.Provider(fmt.Errorf("IONOS does not show the state of %s and %s where it was moved to", x.from.name, x.to.name))
	}
	return err
}

// back switches on what was on, when a move that failed has come no further than to
// switch off.
func (x *exchange) back(ctx context.Context, failed error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), x.p.pace.request)
	defer cancel()
	as, err := x.isAsBefore(ctx)
	if err != nil || !as || x.parted {
		return errors.Join(fmt.Errorf("%w; a server without its state is not switched on: run it again, or the move the other way", failed), err)
	}
	errs := []error{failed}
	for _, e := range []end{x.from, x.to} {
		if e.on {
			errs = append(errs, x.p.power(ctx, e, running))
		}
	}
	return errors.Join(errs...)
}

// own gives a volume the name and the labels of its server, so that it goes with that.
func (x *exchange) own(ctx context.Context, v sdk.Volume, e end) error {
	change := sdk.VolumeProperties{Name: ptr(stateName(e.name, e.entry)), Size: v.Properties.Size, BootOrder: ptr(notBooted)}
	err := x.p.repeat(ctx, "rename the volume for the state", func(ctx context.Context) (*sdk.APIResponse, error) {
		_, response, err := x.p.api.VolumesApi.DatacentersVolumesPatch(ctx, x.dc, *v.Id).Volume(change).Execute()
		return response, err
	})
	if err != nil {
		return err
	}
	return x.p.relabel(ctx, x.p.volumeLabels(x.dc, *v.Id), map[string]string{providers.LabelID: e.entry, providers.LabelServer: e.name})
}
