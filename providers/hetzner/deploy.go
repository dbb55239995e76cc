package hetzner

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"ingot/fault"
	"ingot/providers"
)

// Deploy implements providers.Provider. What the same entry of the journal has made
// before is taken up again; what another has made is not, as it may be in use.
func (p *Provider) Deploy(ctx context.Context, m providers.Machine) (providers.Server, error) {
	id := idOf(m.Journal)
	all, err := labels(m.Labels, providers.LabelID, id, providers.LabelServer, m.Name)
	if err != nil {
		return providers.Server{}, err
	}
	if !isHostname.MatchString(m.Name) {
		return providers.Server{}, fault.Input(fmt.Errorf("%q cannot be the name of a server here: letters, digits and dashes", m.Name))
	}
	switch {
	case len(m.UserData) > providers.MaxUserData:
		return providers.Server{}, fault.Input(fmt.Errorf("the instance config has %d bytes, and Hetzner takes %d", len(m.UserData), providers.MaxUserData))
	case !utf8.Valid(m.UserData):
		return providers.Server{}, fault.Input(errors.New("the instance config is not text, and Hetzner takes only that"))
	}
	image, err := p.image(ctx, m.Image.ID)
	if err != nil {
		return providers.Server{}, err
	}
	opts := hcloud.ServerCreateOpts{
		// No SSH key: the image has its own. Hetzner makes a password for root then,
		// which the image does not look at.
		Name: m.Name, Image: image, UserData: string(m.UserData), Labels: all,
		ServerType: &hcloud.ServerType{Name: m.Size}, Location: &hcloud.Location{Name: m.Location},
	}
	if m.Location == "" {
		opts.Location.Name = p.opts.Location
	}
	if m.Size == "" {
		types, err := p.serverTypes(ctx, opts.Location.Name, float64(image.DiskSize), cheapest(opts.Location.Name))
		if err != nil {
			return providers.Server{}, err
		}
		opts.ServerType = types[0]
	}
	wall, err := p.newFirewall(ctx, m.Journal, wallName(m.Name), all, m.Rules)
	if err != nil {
		return providers.Server{}, err
	}
	opts.Firewalls = []*hcloud.ServerCreateFirewall{{Firewall: hcloud.Firewall{ID: wall.ID}}}
	// What may fail and costs less than the server comes before it.
	state, err := p.ensureState(ctx, m, id, opts.Location.Name)
	if err != nil {
		return providers.Server{}, err
	}
	server, err := p.newRunning(ctx, m.Journal, opts, state)
	if err != nil {
		return providers.Server{}, err
	}
	return toServer(server), nil
}

// newRunning makes a server, waits until its firewall is in force and its volume is
// there, if it has one, and starts it then: the API would do all of that side by side,
// and a machine of ours that finds no state makes some on its own disk.
func (p *Provider) newRunning(ctx context.Context, e *providers.Entry, opts hcloud.ServerCreateOpts, v *hcloud.Volume) (*hcloud.Server, error) {
	no := false
	opts.StartAfterCreate = &no
	look := func() (*hcloud.Server, bool, error) {
		list, err := p.client.Server.AllWithOpts(ctx, hcloud.ServerListOpts{Name: opts.Name, ListOpts: byID(opts.Labels[providers.LabelID])})
		return one(list, err)
	}
	var actions []*hcloud.Action
	server, err := createOrFind(ctx, p, e, kindServer, opts.Name, func() (*hcloud.Server, error) {
		result, _, err := p.client.Server.Create(ctx, opts)
		actions = append([]*hcloud.Action{result.Action}, result.NextActions...)
		return result.Server, err
	}, look)
	if err != nil {
		return nil, err
	}
	if err := p.wait(ctx, "create the server "+opts.Name, actions...); err != nil {
		return nil, err
	}
	for _, f := range opts.Firewalls {
		if err := p.awaitFirewall(ctx, server.ID, f.Firewall.ID); err != nil {
			return nil, err
		}
	}
	if v != nil {
		if err := p.place(ctx, v, server); err != nil {
			return nil, err
		}
	}
	return p.on(ctx, server.ID)
}

// awaitFirewall waits until a firewall is in force before a server.
func (p *Provider) awaitFirewall(ctx context.Context, server, firewall int64) error {
	for n := 0; ; n++ {
		s, err := p.newServer(ctx, server)
		if err != nil || isBehind(s, firewall) {
			return err
		}
		if n == busyTries {
			return fault.Provider(fmt.Errorf("the firewall %d is not in force before the server %s, which was not started", firewall, s.Name))
		}
		if err := p.pause(ctx, n); err != nil {
			return err
		}
	}
}

func isBehind(s *hcloud.Server, firewall int64) bool {
	return slices.ContainsFunc(s.PublicNet.Firewalls, func(f *hcloud.ServerFirewallStatus) bool {
		return f.Firewall.ID == firewall && f.Status == hcloud.FirewallStatusApplied
	})
}

// createOrFind looks first.
func createOrFind[T any](ctx context.Context, p *Provider, e *providers.Entry, kind, name string, send func() (T, error), look func() (T, bool, error)) (T, error) {
	var there T
	var found bool
	if e != nil { // nothing has another's label
		err := p.call(ctx, fmt.Sprintf("look for the %s %s", kind, name), func() (err error) { there, found, err = look(); return err })
		if err != nil || found {
			return there, err
		}
	}
	return create(ctx, p, e, kind, name, send, look)
}

// image reads a snapshot that shall be deployed.
func (p *Provider) image(ctx context.Context, id string) (*hcloud.Image, error) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return nil, fault.Input(fmt.Errorf("%q is no number of an image here", id))
	}
	var image *hcloud.Image
	err = p.call(ctx, "read the image "+id, func() (err error) { image, _, err = p.client.Image.GetByID(ctx, n); return err })
	if err == nil && image == nil {
		err = fault.Input(fmt.Errorf("there is no image %s here: \"ingot upload\" it", id))
	}
	return image, err
}

// Servers implements providers.Provider.
func (p *Provider) Servers(ctx context.Context) ([]providers.Server, error) {
	var list []*hcloud.Server
	err := p.call(ctx, "list the servers", func() (err error) {
		list, err = p.client.Server.AllWithOpts(ctx, hcloud.ServerListOpts{ListOpts: hcloud.ListOpts{LabelSelector: providers.LabelServer}})
		return err
	})
	servers := []providers.Server{}
	for _, s := range list {
		servers = append(servers, toServer(s))
	}
	return servers, err
}

func toServer(s *hcloud.Server) providers.Server {
	return providers.Server{ID: number(s.ID), Name: s.Name, State: string(s.Status), Addresses: addresses(s), Labels: s.Labels}
}

// addresses are a server's. Of IPv6 it has a network of 64 bits, and its metadata
// gives it the first address of that.
func addresses(s *hcloud.Server) []netip.Addr {
	var list []netip.Addr
	if a, ok := netip.AddrFromSlice(s.PublicNet.IPv4.IP); ok && !a.IsUnspecified() {
		list = append(list, a.Unmap())
	}
	if a, ok := netip.AddrFromSlice(s.PublicNet.IPv6.IP.To16()); ok && !a.IsUnspecified() {
		list = append(list, a.Next())
	}
	return list
}
