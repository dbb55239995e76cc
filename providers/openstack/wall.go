package openstack

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/portsecurity"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/rules"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"

	"ingot/fault"
	"ingot/providers"
)

// wall is a security group of our own on all ports of a server. Other groups on them
// are others' as a whole: their rules are for other servers, too, so that removing
// one means taking the group off.
type wall struct {
	p      *Provider
	server string // its id
	mark   mark
}

// Wall implements providers.Provider.
func (p *Provider) Wall(ctx context.Context, server providers.Server) (providers.Wall, error) {
	m, err := p.serverMark(ctx, server)
	if err != nil {
		return nil, err
	}
	return &wall{p, server.ID, m}, nil
}

// serverMark is what is on all that belongs to a server.
func (p *Provider) serverMark(ctx context.Context, server providers.Server) (mark, error) {
	if server.Labels[providers.LabelServer] == "" {
		var err error
		if server, err = p.server(ctx, server.ID); err != nil {
			return mark{}, err
		}
	}
	m := markOf(server.Labels)
	if m.server == "" {
		return mark{}, fault.Input(fmt.Errorf("the server %s was not made by Ingot", server.Name))
	}
	return m, nil
}

// port is one of a server, with what the SDK keeps apart.
type port struct {
	ports.Port
	portsecurity.PortSecurityExt
}

// Read implements providers.Wall.
func (w *wall) Read(ctx context.Context) (providers.State, error) {
	all, err := w.ports(ctx)
	if err != nil {
		return providers.State{}, err
	}
	ours, found, err := w.group(ctx)
	if err != nil {
		return providers.State{}, err
	}
	state := providers.State{Active: found}
	var others []string
	for _, x := range all {
		state.Active = state.Active && x.PortSecurityEnabled && slices.Contains(x.SecurityGroups, ours)
		for _, id := range x.SecurityGroups {
			if id != ours && !slices.Contains(others, id) {
				others = append(others, id)
			}
		}
	}
	if found {
		list, err := w.p.groupRules(ctx, ours)
		if err != nil {
			return state, err
		}
		for _, r := range list {
			state.Rules = append(state.Rules, w.p.installed(r))
		}
	}
	for _, id := range others {
		foreign, err := w.p.foreignGroup(ctx, id)
		if err != nil {
			return state, err
		}
		state.Rules = append(state.Rules, foreign)
	}
	return state, nil
}

// Change implements providers.Wall.
func (w *wall) Change(ctx context.Context, add []providers.Rule, remove []providers.Installed) error {
	id, found, err := w.group(ctx)
	if err == nil && !found && len(add) > 0 {
		id, err = w.p.ensureGroup(ctx, w.mark, nil)
	}
	if err != nil {
		return err
	}
	for _, r := range add {
		if err := w.p.addRule(ctx, id, r); err != nil {
			return err
		}
	}
	var groups []string
	for _, i := range remove {
		if group, ok := strings.CutPrefix(i.ID, groupID); ok {
			groups = append(groups, group)
			continue
		}
		err := rules.Delete(ctx, w.p.network, i.ID).ExtractErr()
		if err != nil && !isNotFound(err) {
			return w.p.wrap("remove the rule "+i.String(), err)
		}
	}
	if len(groups) > 0 {
		return w.swap(ctx, groups)
	}
	return nil
}

// Activate implements providers.Wall.
func (w *wall) Activate(ctx context.Context) error { return w.swap(ctx, nil) }

// swap puts our group on every port and takes others off, in one request a port, so
// that there is no moment without a group.
func (w *wall) swap(ctx context.Context, off []string) error {
	ours, err := w.p.ensureGroup(ctx, w.mark, nil)
	if err != nil {
		return err
	}
	all, err := w.ports(ctx)
	if err != nil {
		return err
	}
	for _, x := range all {
		if err := w.p.setGroups(ctx, x, ours, off); err != nil {
			return err
		}
	}
	return nil
}

// setGroups changes the groups of a port, and looks again when somebody else has
// changed the port meanwhile.
func (p *Provider) setGroups(ctx context.Context, x port, ours string, off []string) error {
	for {
		list := []string{ours}
		for _, id := range x.SecurityGroups {
			if id != ours && !slices.Contains(off, id) {
				list = append(list, id)
			}
		}
		var request ports.UpdateOptsBuilder = ports.UpdateOpts{SecurityGroups: &list, RevisionNumber: &x.RevisionNumber}
		if !x.PortSecurityEnabled {
			on := true
			request = portsecurity.PortUpdateOptsExt{UpdateOptsBuilder: request, PortSecurityEnabled: &on}
		}
		err := ports.Update(ctx, p.network, x.ID, request).Err
		if status(err) != http.StatusPreconditionFailed {
			return p.wrap("put the security group on the port "+x.ID, err)
		}
		if err := ports.Get(ctx, p.network, x.ID).ExtractInto(&x); err != nil {
			return p.wrap("look at the port "+x.ID, err)
		}
	}
}

// ports are those of the server.
func (w *wall) ports(ctx context.Context) ([]port, error) {
	all, err := w.p.listPorts(ctx, ports.ListOpts{DeviceID: w.server})
	if err == nil && len(all) == 0 {
		err = fault.Provider(fmt.Errorf("the server %s has no port, so there is nothing to put a firewall on; see how it stands at the provider", w.mark.server))
	}
	return all, err
}

func (p *Provider) listPorts(ctx context.Context, o ports.ListOpts) ([]port, error) {
	pages, err := ports.List(p.network, o).AllPages(ctx)
	var all []port
	if err == nil {
		err = ports.ExtractPortsInto(pages, &all)
	}
	return all, p.wrap("list the ports", err)
}

// group is the id of ours.
func (w *wall) group(ctx context.Context) (id string, found bool, err error) {
	return w.p.findGroup(ctx, w.mark)
}

func (p *Provider) findGroup(ctx context.Context, m mark) (id string, found bool, err error) {
	all, err := p.listGroups(ctx)
	for _, g := range all {
		if m.hasMark(g.Description) {
			return g.ID, true, nil
		}
	}
	return "", false, err
}

func (p *Provider) listGroups(ctx context.Context) ([]groups.SecGroup, error) {
	pages, err := groups.List(p.network, groups.ListOpts{ProjectID: p.project, SortKey: "id", SortDir: "asc"}).AllPages(ctx)
	var all []groups.SecGroup
	if err == nil {
		all, err = groups.ExtractGroups(pages)
	}
	return all, p.wrap("list the security groups", err)
}

// ensureGroup finds our group or makes it. A new one comes with two rules that let
// out everything; they stay.
func (p *Provider) ensureGroup(ctx context.Context, m mark, journal *providers.Entry) (string, error) {
	return ensure(ctx, p, journal, maker[string]{
		kind: kindGroup, name: m.resourceName(),
		look: func(ctx context.Context) (string, bool, error) { return p.findGroup(ctx, m) },
		make: func(ctx context.Context) (string, error) {
			g, err := groups.Create(ctx, p.network, groups.CreateOpts{Name: m.resourceName(), Description: m.text()}).Extract()
			if err != nil {
				return "", err
			}
			return g.ID, nil
		},
	})
}
