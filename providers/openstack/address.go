package openstack

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"

	"ingot/fault"
	"ingot/providers"
)

func (p *Provider) listAddresses(ctx context.Context) ([]floatingips.FloatingIP, error) {
	pages, err := floatingips.List(p.network, floatingips.ListOpts{ProjectID: p.project}).AllPages(ctx)
	if isNotFound(err) {
		return nil, nil // a cloud without routers has none
	}
	var all []floatingips.FloatingIP
	if err == nil {
		all, err = floatingips.ExtractFloatingIPs(pages)
	}
	return all, p.wrap("list the floating IPs", err)
}

// ensureAddress gives a port a floating IP of an external network.
func (p *Provider) ensureAddress(ctx context.Context, m mark, outside, port string, journal *providers.Entry) error {
	_, err := ensure(ctx, p, journal, maker[bool]{
		kind: kindAddress, name: m.resourceName(),
		look: func(ctx context.Context) (bool, bool, error) {
			all, err := p.listAddresses(ctx)
			return true, slices.ContainsFunc(all, func(f floatingips.FloatingIP) bool { return m.hasMark(f.Description) && f.PortID == port }), err
		},
		make: func(ctx context.Context) (bool, error) {
			return true, floatingips.Create(ctx, p.network, floatingips.CreateOpts{
				Description: m.text(), FloatingNetworkID: outside, PortID: port,
			}).Err
		},
	})
	return err
}

// MoveAddress implements providers.Mover: the floating IP of one server goes to
// another, and its mark with it. What the other had goes the other way. The second runs
// afterwards and the first does not: the two have one identity, and both would act.
func (p *Provider) MoveAddress(ctx context.Context, from, to providers.Server) error {
	source, _, err := p.addressOf(ctx, from)
	if err != nil {
		return err
	}
	target, port, err := p.addressOf(ctx, to)
	if err != nil {
		return err
	}
	what, err := p.onItsWay(ctx, labelTookAddress, from, to)
	if err != nil {
		return err
	}
	if target != nil && target.ID == what { // an earlier try came as far as this, or further
		return p.noting(ctx, labelTookAddress, from, to, what, func() error { return p.handOver(ctx, from, to) })
	}
	if source == nil {
		if target != nil {
			return p.handOver(ctx, from, to) // an earlier try came as far as this
		}
		return fmt.Errorf("the server %s has no floating IP, and the address of a port stays with it; deploy servers with an external network to be able to move addresses: %w", from.Name, providers.ErrUnsupported)
	}
	if what != "" && what != source.ID {
		return fault.Input(fmt.Errorf("the address that moved between %s and %s is at neither of them now: roll that of its server back first", from.Name, to.Name))
	}
	return p.noting(ctx, labelTookAddress, from, to, source.ID, func() error {
		if target != nil {
			if err := p.associate(ctx, target, "", markOf(from.Labels)); err != nil {
				return err
			}
		}
		back := source.PortID
		err := p.associate(ctx, source, port, markOf(to.Labels))
		if err == nil && target != nil {
			err = p.associate(ctx, target, back, markOf(from.Labels))
		}
		if err != nil {
			return err
		}
		return p.handOver(ctx, from, to)
	})
}

// handOver has the second of two servers run, and the first not.
func (p *Provider) handOver(ctx context.Context, from, to providers.Server) error {
	if err := p.switchServer(ctx, from, "SHUTOFF"); err != nil {
		return err
	}
	now, err := p.server(ctx, from.ID)
	if had, _, _ := strings.Cut(now.Labels[labelTookState], "."); err != nil || had == to.ID {
		return err // its state is still the other's: that move switches it on
	}
	return p.switchServer(ctx, to, "ACTIVE")
}

// addressOf is a server's floating IP, or nil, and a port of it.
func (p *Provider) addressOf(ctx context.Context, s providers.Server) (*floatingips.FloatingIP, string, error) {
	w := &wall{p, s.ID, markOf(s.Labels)}
	all, err := w.ports(ctx)
	if err != nil {
		return nil, "", err
	}
	addresses, err := p.listAddresses(ctx)
	for _, f := range addresses {
		if slices.ContainsFunc(all, func(x port) bool { return x.ID == f.PortID }) {
			return &f, f.PortID, nil
		}
	}
	return nil, all[0].ID, err
}

// associate gives an address to a port, or to none.
func (p *Provider) associate(ctx context.Context, f *floatingips.FloatingIP, port string, m mark) error {
	request := floatingips.UpdateOpts{PortID: &port}
	if _, ours := readMark(f.Description); ours {
		text := m.text()
		request.Description = &text
	}
	err := floatingips.Update(ctx, p.network, f.ID, request).Err
	return p.wrap("move the floating IP "+f.FloatingIP, err)
}
