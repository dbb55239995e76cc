package ionos

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	sdk "github.com/ionos-cloud/sdk-go/v6"

	"ingot/fault"
	"ingot/providers"
)

// pageSize is the largest page that the API gives of data centers, servers, volumes and
// LANs (its OpenAPI document).
const pageSize = 10000

// datacenters are all of this location.
func (p *Provider) datacenters(ctx context.Context) ([]sdk.Datacenter, error) {
	list, response, err := p.api.DataCentersApi.DatacentersGet(ctx).Depth(1).Limit(pageSize).Execute()
	if err := checkAnswer("list the data centers", response, err); err != nil {
		return nil, err
	}
	var here []sdk.Datacenter
	for _, d := range deref(list.Items) {
		if d.Properties == nil || d.Id == nil {
			return nil, fault.Provider(errors.New("list the data centers: IONOS leaves out their properties"))
		}
		if deref(d.Properties.Location) == p.opts.Location {
			here = append(here, d)
		}
	}
	return here, nil
}

// datacenter is the one that servers are in. It is made when it is not there.
func (p *Provider) datacenter(ctx context.Context, m providers.Machine, id string) (string, error) {
	name := p.opts.Datacenter
	find := func() (string, error) {
		list, err := p.datacenters(ctx)
		var found []string
		for _, d := range list {
			if deref(d.Properties.Name) == name {
				found = append(found, *d.Id)
			}
		}
		switch {
		case err != nil || len(found) == 0:
			return "", err
		case len(found) > 1:
			return "", fault.Input(fmt.Errorf("%d data centers in %s are called %q: name another", len(found), p.opts.Location, name))
		}
		return found[0], nil
	}
	if found, err := find(); found != "" || err != nil {
		return found, err
	}
	if err := m.Journal.Creates("datacenter", name); err != nil {
		return "", err
	}
	want := sdk.DatacenterPost{Properties: &sdk.DatacenterPropertiesPost{
		Name: ptr(name), Location: ptr(p.opts.Location),
		Description: ptr(describe(name, withID(nil, id))),
	}}
	return p.create(ctx, "make the data center", find, func(ctx context.Context) (*string, *sdk.APIResponse, error) {
		d, response, err := p.api.DataCentersApi.DatacentersPost(ctx).Datacenter(want).Execute()
		return d.Id, response, err
	})
}

func (p *Provider) lans(ctx context.Context, dc string) ([]sdk.Lan, error) {
	list, response, err := p.api.LANsApi.DatacentersLansGet(ctx, dc).Depth(1).Limit(pageSize).Execute()
	if err := checkAnswer("list the networks", response, err); err != nil {
		return nil, err
	}
	for _, l := range deref(list.Items) {
		if l.Properties == nil || l.Id == nil {
			return nil, fault.Provider(errors.New("list the networks: IONOS leaves out their properties"))
		}
	}
	return deref(list.Items), nil
}

// lan makes a public network for one server: nobody else's machines are in it.
func (p *Provider) lan(ctx context.Context, dc string, m providers.Machine, id string) (int32, error) {
	name := m.Name + mark(id)
	find := func() (string, error) {
		list, err := p.lans(ctx, dc)
		for _, l := range list {
			if id != "" && deref(l.Properties.Name) == name {
				return *l.Id, err
			}
		}
		return "", err
	}
	found, err := find()
	if err != nil {
		return 0, err
	}
	if found == "" {
		if err := m.Journal.Creates("lan", name); err != nil {
			return 0, err
		}
		want := sdk.Lan{Properties: &sdk.LanProperties{Name: ptr(name), Public: ptr(true)}}
		if p.opts.IPv6 {
			want.Properties.Ipv6CidrBlock = ptr("AUTO")
		}
		found, err = p.create(ctx, "make the network", find, func(ctx context.Context) (*string, *sdk.APIResponse, error) {
			l, response, err := p.api.LANsApi.DatacentersLansPost(ctx, dc).Lan(want).Execute()
			return l.Id, response, err
		})
		if err != nil {
			return 0, err
		}
	}
	number, err := strconv.ParseInt(found, 10, 32)
	if err != nil {
		return 0, fault.Provider(fmt.Errorf("IONOS' network %q has no number", found))
	}
	return int32(number), nil
}

func (p *Provider) blocks(ctx context.Context) ([]sdk.IpBlock, error) {
	list, response, err := p.api.IPBlocksApi.IpblocksGet(ctx).Depth(1).Limit(1000).Execute()
	if err := checkAnswer("list the reserved addresses", response, err); err != nil {
		return nil, err
	}
	for _, b := range deref(list.Items) {
		if b.Properties == nil || b.Id == nil {
			return nil, fault.Provider(errors.New("list the reserved addresses: IONOS leaves out their properties"))
		}
	}
	return deref(list.Items), nil
}

// reserve takes an address that can move, when that is wanted, or returns "".
func (p *Provider) reserve(ctx context.Context, m providers.Machine, id string) (string, error) {
	if !p.opts.Reserve {
		return "", nil
	}
	name := m.Name + mark(id)
	var address string
	find := func() (string, error) {
		list, err := p.blocks(ctx)
		for _, b := range list {
			if ips := deref(b.Properties.Ips); id != "" && deref(b.Properties.Name) == name && len(ips) > 0 {
				address = ips[0]
				return *b.Id, err
			}
		}
		return "", err
	}
	if found, err := find(); found != "" || err != nil {
		return address, err
	}
	if err := m.Journal.Creates("ipblock", name); err != nil {
		return "", err
	}
	want := sdk.IpBlock{Properties: &sdk.IpBlockProperties{Name: ptr(name), Location: ptr(p.opts.Location), Size: ptr(int32(1))}}
	_, err := p.create(ctx, "reserve an address", find, func(ctx context.Context) (*string, *sdk.APIResponse, error) {
		b, response, err := p.api.IPBlocksApi.IpblocksPost(ctx).Ipblock(want).Execute()
		if b.Properties != nil && len(deref(b.Properties.Ips)) > 0 {
			address = (*b.Properties.Ips)[0]
		}
		return b.Id, response, err
	})
	if err == nil && address == "" {
		err = fault.Provider(errors.New("reserve an address: IONOS does not say which one"))
	}
	return address, err
}
