package hetzner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"ingot/fault"
	"ingot/providers"
)

// Labels of a primary IP that moves: which move it is of, as "42-43", and the number
// of the server that shall have it then. All are there before the first moves, and
// stay: what was ended can be finished, and what is done is not done back.
const (
	labelMove   = "ingot-move"
	labelHolder = "ingot-holder"
)

// MoveAddress implements providers.Mover. The servers change their primary IPs: both
// keep an address, and none is left over that costs. They must be off for that; the
// one that gets the address runs afterwards, and the other stays off.
func (p *Provider) MoveAddress(ctx context.Context, from, to providers.Server) error {
	a, b, err := p.pair(ctx, from, to)
	if err != nil {
		return err
	}
	ips, err := p.planMove(ctx, a, b)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(ips, isAway) {
		if err := errors.Join(p.off(ctx, a.ID), p.off(ctx, b.ID)); err != nil {
			return err
		}
		if err := p.settle(ctx, ips); err != nil {
			return err
		}
	}
	return p.onWithState(ctx, b)
}

// isAway reports whether an address is not where it shall be.
func isAway(ip *hcloud.PrimaryIP) bool { return holder(ip) != ip.AssigneeID }

func holder(ip *hcloud.PrimaryIP) int64 {
	id, err := strconv.ParseInt(ip.Labels[labelHolder], 10, 64)
	if err != nil {
		return 0
	}
	return id
}

// planMove labels the addresses of two servers with where they shall be. One without
// this move's label has not moved yet.
func (p *Provider) planMove(ctx context.Context, from, to *hcloud.Server) ([]*hcloud.PrimaryIP, error) {
	move, back := fmt.Sprintf("%d-%d", from.ID, to.ID), fmt.Sprintf("%d-%d", to.ID, from.ID)
	var all []*hcloud.PrimaryIP
	err := p.call(ctx, "list the primary IPs", func() (err error) { all, err = p.client.PrimaryIP.All(ctx); return err })
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(ip *hcloud.PrimaryIP) bool {
		of := ip.Labels[labelMove]
		return ip.AssigneeID != from.ID && ip.AssigneeID != to.ID && (ip.AssigneeID != 0 || of != move && of != back)
	})
	if !slices.ContainsFunc(all, func(ip *hcloud.PrimaryIP) bool {
		return ip.AssigneeID == from.ID || ip.Labels[labelMove] == move || ip.Labels[labelMove] == back
	}) {
		return nil, fault.Input(fmt.Errorf("the server %s has no address to give", from.Name))
	}
	// Whoever failed to take an older server's address may ask to give it back, and that
	// one has it.
	if isOlder(to, from) && !slices.ContainsFunc(all, func(ip *hcloud.PrimaryIP) bool {
		of := ip.Labels[labelMove]
		return of == move || of == back || ip.AssigneeID == to.ID && strings.HasPrefix(of, number(to.ID)+"-")
	}) {
		return nil, nil
	}
	// What the move the other way has planned goes back to where it was then. When none of
	// it has moved, the plan may not have been whole, and what it does not name stays.
	origin := func(ip *hcloud.PrimaryIP) int64 {
		if holder(ip) == from.ID {
			return to.ID
		}
		return from.ID
	}
	planned := slices.ContainsFunc(all, func(ip *hcloud.PrimaryIP) bool { return ip.Labels[labelMove] == back })
	begun := slices.ContainsFunc(all, func(ip *hcloud.PrimaryIP) bool {
		of := ip.Labels[labelMove]
		return of == back && ip.AssigneeID != origin(ip) || of == move && isAway(ip)
	})
	for i, ip := range all {
		if ip.Labels[labelMove] == move {
			continue
		}
		label := maps.Clone(ip.Labels)
		if label == nil {
			label = map[string]string{}
		}
		label[labelMove], label[labelHolder] = move, number(from.ID)
		switch {
		case ip.Labels[labelMove] == back:
			label[labelHolder] = number(origin(ip))
		case planned && !begun:
			label[labelHolder] = number(ip.AssigneeID)
		case ip.AssigneeID == from.ID:
			label[labelHolder] = number(to.ID)
		}
		err := p.call(ctx, "label the address "+ip.IP.String(), func() (err error) {
			all[i], _, err = p.client.PrimaryIP.Update(ctx, ip, hcloud.PrimaryIPUpdateOpts{Labels: &label})
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// settle moves addresses until each is where it shall be: a server has one of each
// family, so that its own goes first.
func (p *Provider) settle(ctx context.Context, ips []*hcloud.PrimaryIP) error {
	var last error
	for n := range goneLooks {
		for _, ip := range ips {
			if ip.AssigneeID != 0 && isAway(ip) {
				last = p.act(ctx, "take the address "+ip.IP.String(), func() (*hcloud.Action, *hcloud.Response, error) { return p.client.PrimaryIP.Unassign(ctx, ip.ID) })
			}
		}
		if err := p.readIPs(ctx, ips); err != nil {
			return err
		}
		for _, ip := range ips {
			if ip.AssigneeID == 0 {
				last = p.act(ctx, "give the address "+ip.IP.String(), func() (*hcloud.Action, *hcloud.Response, error) {
					return p.client.PrimaryIP.Assign(ctx, hcloud.PrimaryIPAssignOpts{ID: ip.ID, AssigneeID: holder(ip), AssigneeType: "server"})
				})
			}
		}
		if err := p.readIPs(ctx, ips); err != nil {
			return err
		}
		if !slices.ContainsFunc(ips, isAway) {
			return nil
		}
		// What was read may have been late, and an error come of that.
		if last != nil && !isLost(last) && n >= looks {
			return last
		}
		if err := p.pause(ctx, n); err != nil {
			return err
		}
	}
	return fault.Provider(errors.Join(errors.New("the addresses do not get from one server to the other"), last))
}

func (p *Provider) readIPs(ctx context.Context, ips []*hcloud.PrimaryIP) error {
	for i, ip := range ips {
		err := p.call(ctx, "read the address "+ip.IP.String(), func() error {
			now, _, err := p.client.PrimaryIP.GetByID(ctx, ip.ID)
			if now != nil {
				now.Labels = ip.Labels // a late read has not ours yet
				ips[i] = now
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
