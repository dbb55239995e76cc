package ionos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	sdk "github.com/ionos-cloud/sdk-go/v6"

	"ingot/fault"
	"ingot/providers"
)

// labelTook is on a server that takes another's address over, from before the first
// change: the reserved block and the other's entry, with a dot between. When it has
// given the address back, all is done, and the block is [gaveBack].
const labelTook = "ingot-took-address"

// gaveBack has the same way back once more change nothing: it would be a move of the
// server's own address otherwise.
const gaveBack = "none"

// took reads [labelTook].
func took(labels map[string]string) (block, entry string) {
	block, entry, _ = strings.Cut(labels[labelTook], ".")
	return block, entry
}

// checkAddressAtRest refuses what cannot be done with a server while its address is
// between it and another: who takes it says so, and it is still the other's.
func (p *Provider) checkAddressAtRest(ctx context.Context, labels map[string]map[string]string, entry string) error {
	blocks, err := p.blocks(ctx)
	for _, l := range labels {
		id, giver := took(l)
		for _, b := range blocks {
			if *b.Id == id && marked(deref(b.Properties.Name), giver) && (giver == entry || l[providers.LabelID] == entry) {
				return fault.Input(errors.New("the address is on its way from one server to another, which was interrupted: run \"ingot rollback\" first"))
			}
		}
	}
	return err
}

// handover is a move of a reserved address from one server to another.
type handover struct {
	p        *Provider
	from, to end
	block    reserved // that moves
	spare    reserved // the first server's own, which it gets instead; none is none
	back     bool     // it undoes one the other way
	rests    bool     // the state of the second server is in its place
}

// reserved is a block of one reserved address.
type reserved struct{ id, address string }

// MoveAddress implements [providers.Mover], with a reserved address: see
// [Options.Reserve]. The block goes with the other server afterwards. The first one gets
// another of its own, when it has one, or any. Both are switched off meanwhile; the one
// that gets the address runs afterwards, unless its state is on its way, and the other
// stays off.
//
// Interrupted, the same again goes on, and the other way undoes; what is done already
// restarts nobody.
func (p *Provider) MoveAddress(ctx context.Context, from, to providers.Server) error {
	h, err := p.beginHandover(ctx, from, to)
	if err != nil || h == nil {
		return err
	}
	// While it is on its way the block goes with the server that had it first: whoever
	// destroys the new one keeps the address.
	steps := []func(context.Context) error{h.note, h.place, h.own, h.start}
	if h.back {
		steps = []func(context.Context) error{h.own, h.place, h.start, h.note}
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// beginHandover finds out what shall move. It is nil when that was given back already.
func (p *Provider) beginHandover(ctx context.Context, from, to providers.Server) (*handover, error) {
	a, b, err := endsOf(from, to)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, p.pace.request)
	defer cancel()
	for _, e := range []end{a, b} {
		if err := p.settledCenter(ctx, e.dc); err != nil {
			return nil, err
		}
	}
	labels, err := p.labels(ctx)
	if err != nil {
		return nil, err
	}
	h := &handover{p: p, from: a, to: b, rests: checkAtRest(labels, b.entry) == nil}
	block, giver := took(labels[a.server])
	if h.back = giver == b.entry; h.back && block == gaveBack {
		return nil, nil
	}
	if h.back && hasTaken(labels, a.entry) {
		h.rests = false // its state is still the other's: that move switches it on
	}
	if !h.back {
		if block, giver = took(labels[b.server]); giver != a.entry {
			block = gaveBack
		}
	}
	return h, h.choose(ctx, block)
}

// choose finds the blocks: the one with an id, or that of an address which has not begun
// to move.
func (h *handover) choose(ctx context.Context, id string) (err error) {
	if id == gaveBack {
		if h.block, err = h.p.reservedOf(ctx, h.from); err != nil {
			return err
		}
		id = h.block.id
	}
	list, err := h.p.blocks(ctx)
	for _, b := range list {
		one := reserved{*b.Id, only(b)}
		switch {
		case one.id == id:
			h.block = one
			if name := deref(b.Properties.Name); h.back && !marked(name, h.from.entry) && !marked(name, h.to.entry) {
				return fault.Input(fmt.Errorf("the address that %s took over from %s is now that of %s: that one gives it back first", h.from.name, h.to.name, name))
			}
		case one.address != "" && marked(deref(b.Properties.Name), h.from.entry):
			h.spare = one
		}
	}
	if err == nil && h.block.address == "" {
		err = fault.Input(fmt.Errorf("the reserved address that moves between %s and %s, %s, is not at IONOS any more", h.from.name, h.to.name, id))
	}
	if err != nil {
		return err
	}
	return h.p.settledBlock(ctx, id) // it may be about to get another name
}

// only is the address of a block of one, or "".
func only(b sdk.IpBlock) string {
	if ips := deref(b.Properties.Ips); len(ips) == 1 {
		return ips[0]
	}
	return ""
}

// reservedOf is the block of the address that a server has. It is an error when that was
// not reserved.
func (p *Provider) reservedOf(ctx context.Context, e end) (reserved, error) {
	has, err := p.addresses(ctx, e)
	if err != nil {
		return reserved{}, err
	}
	list, err := p.blocks(ctx)
	for _, b := range list {
		if a := only(b); marked(deref(b.Properties.Name), e.entry) && slices.Contains(has, a) {
			return reserved{*b.Id, a}, err
		}
	}
	if err == nil {
		err = fault.Input(fmt.Errorf("the address of %s (%s) was not reserved, and IONOS takes it away when the server is switched off; deploy with a reserved address to be able to move it: %w", e.name, strings.Join(has, ", "), providers.ErrUnsupported))
	}
	return reserved{}, err
}

// note writes down that the address is being taken over, or was given back.
func (h *handover) note(ctx context.Context) error {
	taker, value := h.to, h.block.id+"."+h.from.entry
	if h.back {
		taker, value = h.from, gaveBack+"."+h.to.entry
	}
	return h.p.label(ctx, h.p.serverLabels(taker.dc, taker.server), nil, map[string]string{labelTook: value})
}

// own has the block go with the server that gets it.
func (h *handover) own(ctx context.Context) error {
	change := sdk.IpBlockProperties{Name: ptr(h.to.name + mark(h.to.entry)), Location: ptr(h.p.opts.Location), Size: ptr(int32(1))}
	return h.p.repeat(ctx, "hand the address over", func(ctx context.Context) (*sdk.APIResponse, error) {
		_, response, err := h.p.api.IPBlocksApi.IpblocksPatch(ctx, h.block.id).Ipblock(change).Execute()
		return response, err
	})
}

// place has the addresses where they shall be. A machine keeps what it was told at its
// start (DHCP), so that both are off when something changes.
func (h *handover) place(ctx context.Context) error {
	off := func(e end) func() error {
		return func() error { return h.p.power(ctx, e, shutOff) }
	}
	steps := []func() error{off(h.from), off(h.to),
		func() error { return h.give(ctx, h.from, h.spare.address, h.isFreed) },
		func() error { return h.give(ctx, h.to, h.block.address, h.isGiven) },
	}
	there, err := h.isFreed(ctx)
	if err == nil && there {
		there, err = h.isGiven(ctx)
	}
	if err != nil {
		return err
	}
	if there {
		steps = steps[:1]
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (h *handover) start(ctx context.Context) error {
	if !h.rests {
		return nil
	}
	return h.p.power(ctx, h.to, running)
}

// isFreed reports whether the first server has what it shall have.
func (h *handover) isFreed(ctx context.Context) (bool, error) {
	has, err := h.p.addresses(ctx, h.from)
	return !slices.Contains(has, h.block.address) && (h.spare.address == "" || slices.Contains(has, h.spare.address)), err
}

// isGiven reports whether the second one has.
func (h *handover) isGiven(ctx context.Context) (bool, error) {
	has, err := h.p.addresses(ctx, h.to)
	return slices.Contains(has, h.block.address), err
}

// addresses are those of a server's card, of IPv4.
func (p *Provider) addresses(ctx context.Context, e end) ([]string, error) {
	card, err := p.card(ctx, e.dc, e.server)
	if err != nil {
		return nil, err
	}
	return deref(card.Properties.Ips), nil
}

// give has a server's card have an address, "" for any, until that is so.
func (h *handover) give(ctx context.Context, e end, address string, so func(context.Context) (bool, error)) error {
	card, err := h.p.card(ctx, e.dc, e.server)
	if err != nil {
		return err
	}
	ips := []string{} // IONOS gives one
	if address != "" {
		ips = []string{address}
	}
	change := sdk.NicProperties{Lan: card.Properties.Lan, Ips: &ips}
	return h.p.until(ctx, "change the address of "+e.name, func() (bool, error) { return so(ctx) }, func(ctx context.Context) (*sdk.APIResponse, error) {
		_, response, err := h.p.api.NetworkInterfacesApi.DatacentersServersNicsPatch(ctx, e.dc, e.server, deref(card.Id)).Nic(change).Execute()
		return response, err
	})
}
