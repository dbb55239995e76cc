package openstack

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"

	"ingot/fault"
	"ingot/providers"
)

// startTime is how long a cloud may take to start a server, image copied and all.
const startTime = 15 * time.Minute

// Servers implements providers.Provider.
func (p *Provider) Servers(ctx context.Context) ([]providers.Server, error) {
	all, err := p.listServers(ctx)
	var list []providers.Server
	for _, s := range all {
		if s.Metadata[providers.LabelServer] != "" {
			list = append(list, serverOf(s))
		}
	}
	return list, err
}

// listServers are all of the project, which is nova's default.
func (p *Provider) listServers(ctx context.Context) ([]servers.Server, error) {
	if p.compute == nil {
		return nil, nil
	}
	pages, err := servers.List(p.compute, servers.ListOpts{}).AllPages(ctx)
	if err != nil {
		return nil, p.wrap("list the servers", err)
	}
	all, err := servers.ExtractServers(pages)
	return all, p.wrap("list the servers", err)
}

// server is one by its id.
func (p *Provider) server(ctx context.Context, id string) (providers.Server, error) {
	if err := p.needCompute(); err != nil {
		return providers.Server{}, err
	}
	s, err := servers.Get(ctx, p.compute, id).Extract()
	if err != nil {
		return providers.Server{}, p.wrap("look at the server "+id, err)
	}
	return serverOf(*s), nil
}

func serverOf(s servers.Server) providers.Server {
	return providers.Server{ID: s.ID, Name: s.Name, State: s.Status, Addresses: addressesOf(s), Labels: ourLabels(s.Metadata)}
}

// addressesOf are a server's, the floating ones first: those are reached from
// outside.
func addressesOf(s servers.Server) []netip.Addr {
	var fixed, floating []netip.Addr
	for _, network := range s.Addresses {
		entries, _ := network.([]any)
		for _, entry := range entries {
			fields, _ := entry.(map[string]any)
			text, _ := fields["addr"].(string)
			address, err := netip.ParseAddr(text)
			switch {
			case err != nil:
			case fields["OS-EXT-IPS:type"] == "floating":
				floating = append(floating, address)
			default:
				fixed = append(fixed, address)
			}
		}
	}
	slices.SortFunc(fixed, netip.Addr.Compare)
	slices.SortFunc(floating, netip.Addr.Compare)
	return append(floating, fixed...)
}

// ensureServer finds the server or asks for it. It is not started yet when this
// returns.
func (p *Provider) ensureServer(ctx context.Context, m providers.Machine, labels map[string]string, flavor, port, volume string) (string, error) {
	request := servers.CreateOpts{
		Name: m.Name, ImageRef: m.Image.ID, FlavorRef: flavor, AvailabilityZone: m.Location, Metadata: labels,
		Networks: []servers.Network{{Port: port}},
		// Encoded here: what looks encoded already the SDK would send as it is.
		UserData: []byte(base64.StdEncoding.EncodeToString(m.UserData)),
		// Ignition looks at the drive and the metadata service; clouds without the
		// latter have the drive.
		ConfigDrive: new(bool),
	}
	*request.ConfigDrive = true
	if volume != "" {
		request.BlockDevice = []servers.BlockDevice{
			{SourceType: servers.SourceImage, DestinationType: servers.DestinationLocal, UUID: m.Image.ID, BootIndex: 0, DeleteOnTermination: true},
			{SourceType: servers.SourceVolume, DestinationType: servers.DestinationVolume, UUID: volume, BootIndex: -1},
		}
	}
	return ensure(ctx, p, m.Journal, maker[string]{
		kind: kindServer, name: m.Name,
		look: func(ctx context.Context) (string, bool, error) {
			all, err := p.listServers(ctx)
			for _, s := range all {
				if markOf(s.Metadata) == markOf(labels) {
					return s.ID, true, nil
				}
			}
			return "", false, err
		},
		make: func(ctx context.Context) (string, error) {
			s, err := servers.Create(ctx, p.compute, request, nil).Extract()
			if err != nil {
				return "", err
			}
			return s.ID, nil
		},
	})
}

// awaitState waits until a server has a state.
func (p *Provider) awaitState(ctx context.Context, id, name, state string) (server providers.Server, err error) {
	err = p.await(ctx, "the way of the server "+name+" to "+state, startTime, func(ctx context.Context) (bool, error) {
		s, err := servers.Get(ctx, p.compute, id).Extract()
		if err != nil {
			return false, p.wrap("look at the server "+name, err)
		}
		if s.Status == "ERROR" {
			why := cmp.Or(s.Fault.Message, "no reason was given")
			return false, fault.Provider(errors.New(p.hide.clean(fmt.Sprintf("the provider could not run the server %s: %s", name, why))))
		}
		server = serverOf(*s)
		return s.Status == state, nil
	})
	return server, err
}
