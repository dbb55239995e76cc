package openstack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/external"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"

	"ingot/fault"
	"ingot/providers"
)

// Deploy implements providers.Provider. The port has the security group with all its
// rules before the server has the port.
func (p *Provider) Deploy(ctx context.Context, m providers.Machine) (providers.Server, error) {
	if err := p.needCompute(); err != nil {
		return providers.Server{}, err
	}
	if len(m.UserData) > providers.MaxUserData {
		return providers.Server{}, fault.Input(fmt.Errorf("the instance config has %d bytes, and %d are allowed; move large files into the image", len(m.UserData), providers.MaxUserData))
	}
	if p.options.StateVolume > 0 {
		if err := p.needVolume(); err != nil {
			return providers.Server{}, err
		}
	}
	labels := labelsOf(m.Labels, m.Journal)
	labels[providers.LabelServer] = m.Name
	if err := markOf(labels).check(); err != nil {
		return providers.Server{}, err
	}
	where, err := p.findPlace(ctx, m)
	if err != nil {
		return providers.Server{}, err
	}
	port, err := p.ensureFront(ctx, markOf(labels), where, m)
	if err != nil {
		return providers.Server{}, err
	}
	volume, err := p.ensureVolume(ctx, markOf(labels), m)
	if err != nil {
		return providers.Server{}, err
	}
	id, err := p.ensureServer(ctx, m, labels, where.flavor, port, volume)
	if err != nil {
		return providers.Server{}, err
	}
	return p.awaitState(ctx, id, m.Name, "ACTIVE")
}

// place is what a server is put on, by ids.
type place struct{ flavor, network, external string }

func (p *Provider) findPlace(ctx context.Context, m providers.Machine) (w place, err error) {
	if w.flavor, err = p.findFlavor(ctx, m); err != nil {
		return w, err
	}
	if w.network, err = p.findNetwork(ctx, p.options.Network, false); err != nil || p.options.ExternalNetwork == "" {
		return w, err
	}
	w.external, err = p.findNetwork(ctx, p.options.ExternalNetwork, true)
	return w, err
}

// ensureFront makes all that is before a server: group, rules, port, address.
func (p *Provider) ensureFront(ctx context.Context, m mark, where place, machine providers.Machine) (port string, err error) {
	group, err := p.ensureGroup(ctx, m, machine.Journal)
	if err != nil {
		return "", err
	}
	if err := p.fillGroup(ctx, group, machine.Rules); err != nil {
		return "", err
	}
	if port, err = p.ensurePort(ctx, m, where.network, group, machine.Journal); err != nil || where.external == "" {
		return port, err
	}
	return port, p.ensureAddress(ctx, m, where.external, port, machine.Journal)
}

// fillGroup adds the rules that are not there.
func (p *Provider) fillGroup(ctx context.Context, group string, want []providers.Rule) error {
	list, err := p.groupRules(ctx, group)
	if err != nil {
		return err
	}
	var have providers.State
	for _, r := range list {
		have.Rules = append(have.Rules, p.installed(r))
	}
	for _, r := range providers.Compare(want, have, false).Add {
		if err := p.addRule(ctx, group, r); err != nil {
			return err
		}
	}
	return nil
}

// ensurePort makes the port with our group only.
func (p *Provider) ensurePort(ctx context.Context, m mark, network, group string, journal *providers.Entry) (string, error) {
	made, err := ensure(ctx, p, journal, maker[port]{
		kind: kindPort, name: m.resourceName(),
		look: func(ctx context.Context) (port, bool, error) {
			all, err := p.listPorts(ctx, ports.ListOpts{ProjectID: p.project})
			for _, x := range all {
				if m.hasMark(x.Description) {
					return x, true, nil
				}
			}
			return port{}, false, err
		},
		make: func(ctx context.Context) (x port, err error) {
			err = ports.Create(ctx, p.network, ports.CreateOpts{
				NetworkID: network, Name: m.resourceName(), Description: m.text(), SecurityGroups: &[]string{group},
			}).ExtractInto(&x)
			return x, err
		},
	})
	if err != nil {
		return "", err
	}
	if !made.PortSecurityEnabled || !slices.Contains(made.SecurityGroups, group) {
		return "", fault.Input(errors.New("the network does not filter packets: its port security is off; use another network, or switch it on for this one"))
	}
	return made.ID, nil
}

// findFlavor chooses the size.
func (p *Provider) findFlavor(ctx context.Context, m providers.Machine) (string, error) {
	image, err := images.Get(ctx, p.image, m.Image.ID).Extract()
	if err != nil {
		return "", p.wrap("look at the image "+m.Image.Name, err)
	}
	if image.Status != images.ImageStatusActive {
		return "", fault.Input(fmt.Errorf("the image %s is not whole; upload it again", m.Image.Name))
	}
	pages, err := flavors.ListDetail(p.compute, flavors.ListOpts{}).AllPages(ctx)
	if err != nil {
		return "", p.wrap("list the flavors", err)
	}
	all, err := flavors.ExtractFlavors(pages)
	if err != nil {
		return "", p.wrap("list the flavors", err)
	}
	fits := func(f flavors.Flavor) bool { return f.Disk >= image.MinDiskGigabytes && f.RAM >= minMemory }
	slices.SortStableFunc(all, func(a, b flavors.Flavor) int {
		return cmp.Or(cmp.Compare(a.RAM, b.RAM), cmp.Compare(a.VCPUs, b.VCPUs), cmp.Compare(a.Disk, b.Disk), cmp.Compare(a.Name, b.Name))
	})
	wanted := cmp.Or(m.Size, p.options.Flavor)
	var names []string
	for _, f := range all {
		switch {
		case wanted == "" && fits(f), wanted != "" && (f.Name == wanted || f.ID == wanted) && f.Disk >= image.MinDiskGigabytes:
			return f.ID, nil
		case fits(f):
			names = append(names, f.Name)
		}
	}
	if wanted == "" {
		return "", fault.Input(fmt.Errorf("no flavor here has %d GiB of disk and %d MiB of memory, which the image needs", image.MinDiskGigabytes, minMemory))
	}
	return "", fault.Input(fmt.Errorf("there is no flavor %s here with %d GiB of disk; there are %s", wanted, image.MinDiskGigabytes, strings.Join(names, ", ")))
}

// minMemory is the least that a server gets that nobody chose a size for, in MiB.
const minMemory = 1024

// findNetwork finds one by its name or id, or the only one.
func (p *Provider) findNetwork(ctx context.Context, wanted string, outside bool) (string, error) {
	pages, err := networks.List(p.network, external.ListOptsExt{ListOptsBuilder: networks.ListOpts{}, External: &outside}).AllPages(ctx)
	if err != nil {
		return "", p.wrap("list the networks", err)
	}
	all, err := networks.ExtractNetworks(pages)
	if err != nil {
		return "", p.wrap("list the networks", err)
	}
	var ids, names []string
	for _, n := range all {
		names = append(names, n.Name)
		if wanted == "" || n.Name == wanted || n.ID == wanted {
			ids = append(ids, n.ID)
		}
	}
	switch {
	case len(ids) == 1:
		return ids[0], nil
	case len(ids) > 1 && wanted != "":
		return "", fault.Input(fmt.Errorf("there are %d networks called %s; name one by its id: %s", len(ids), wanted, strings.Join(ids, ", ")))
	case wanted == "":
		return "", fault.Input(fmt.Errorf("choose one of the networks: %s", cmp.Or(strings.Join(names, ", "), "there is none")))
	}
	return "", fault.Input(fmt.Errorf("there is no network %s here; there are %s", wanted, cmp.Or(strings.Join(names, ", "), "none")))
}
