package libvirt

import (
	"context"
	"fmt"
	"maps"
	"slices"

	api "github.com/digitalocean/go-libvirt"

	"ingot/fault"
	"ingot/providers"
)

// Kinds of what is made here, for the journal.
const (
	kindServer  = "server"
	kindVolume  = "volume"
	kindFilter  = "filter"
	kindAddress = "address"
)

// Find implements providers.Provider: the server, which lets go of the rest, comes
// first. A volume that another server uses is that one's.
func (p *Provider) Find(ctx context.Context, id string) ([]providers.Resource, error) {
	servers, err := p.domains(ctx)
	if err != nil {
		return nil, err
	}
	var found []providers.Resource
	users := map[string]string{} // volume or card → label of the server
	for _, s := range servers {
		users[s.mac()] = s.id()
		for _, v := range s.volumes(p.o.Pool) {
			users[v] = s.id()
		}
		if s.id() == id {
			found = append(found, providers.Resource{Kind: kindServer, ID: uuid(s.domain.UUID), Name: s.domain.Name})
		}
	}
	volumes, err := p.volumes(ctx)
	if err != nil {
		return nil, err
	}
	// In the order of the names a note comes before its image.
	for _, name := range slices.Sorted(maps.Keys(volumes)) {
		if owner(users, name, volumeID(name)) == id {
			found = append(found, providers.Resource{Kind: kindVolume, ID: name, Name: name})
		}
	}
	filters, err := p.findFilters(ctx, id)
	if err != nil {
		return nil, err
	}
	_, network, err := p.network(ctx)
	if err != nil {
		return nil, err
	}
	found = append(found, filters...)
	for _, r := range readDHCP(network).reserved {
		if m := reserved.FindStringSubmatch(r.name); m != nil && owner(users, r.mac, m[1]) == id {
			found = append(found, providers.Resource{Kind: kindAddress, ID: r.mac, Name: r.name})
		}
	}
	return found, nil
}

// owner is the label of who uses something, or without a user the label it has.
func owner(users map[string]string, what, label string) string {
	if user, used := users[what]; used {
		return user
	}
	return label
}

func (p *Provider) findFilters(ctx context.Context, id string) ([]providers.Resource, error) {
	list, err := ask(ctx, p, "list the filters", func(l *api.Libvirt) ([]api.Nwfilter, error) {
		filters, _, err := l.ConnectListAllNwfilters(1, 0)
		return filters, err
	})
	if err != nil {
		return nil, err
	}
	var found []providers.Resource
	for _, one := range list {
		f, err := p.filter(ctx, one.Name)
		if err != nil {
			return nil, err
		}
		if f != nil && filterID(*f) == id {
			found = append(found, providers.Resource{Kind: kindFilter, ID: uuid(one.UUID), Name: one.Name})
		}
	}
	return found, nil
}

// Delete implements providers.Provider. A server goes together with its volumes and
// its address, whatever label these have.
func (p *Provider) Delete(ctx context.Context, r providers.Resource) error {
	switch r.Kind {
	case kindServer:
		return p.deleteServer(ctx, r)
	case kindVolume:
		return p.deleteOurVolume(ctx, r.Name)
	case kindFilter:
		return p.deleteFilter(ctx, r.Name)
	case kindAddress:
		return p.deleteAddress(ctx, r.Name)
	}
	return fault.Input(fmt.Errorf("libvirt has no %s", r.Kind))
}

// deleteServer undefines the domain last: it is what says whose the rest is.
func (p *Provider) deleteServer(ctx context.Context, r providers.Resource) error {
	s, err := p.named(ctx, r.Name)
	if err != nil || s == nil {
		return err
	}
	if s.labels() == nil || r.ID != "" && r.ID != uuid(s.domain.UUID) {
		return fault.Input(fmt.Errorf("the domain %s was not made by Ingot, or is another one of this name", r.Name))
	}
	if err := p.elsewhere(*s); err != nil {
		return err
	}
	if err := p.cutPower(ctx, *s); err != nil {
		return err
	}
	others, err := p.users(ctx, s)
	if err != nil {
		return err
	}
	if others[s.mac()] == "" { // in the middle of a move the other one has it
		if err := p.release(ctx, s.mac()); err != nil {
			return err
		}
	}
	for _, name := range s.volumes(p.o.Pool) {
		if volumeID(name) == "" || others[name] != "" {
			continue // attached by hand, or in the middle of a move
		}
		if err := p.deleteVolume(ctx, name); err != nil {
			return err
		}
	}
	err = tell(ctx, p, "remove the server "+r.Name, func(l *api.Libvirt) error {
		return l.DomainUndefineFlags(s.domain, api.DomainUndefineManagedSave|api.DomainUndefineSnapshotsMetadata|api.DomainUndefineCheckpointsMetadata|api.DomainUndefineNvram)
	})
	if isGone(err) {
		return nil
	}
	return err
}

// users are the names of the domains that use a volume, or have a MAC address, but of one.
func (p *Provider) users(ctx context.Context, but *server) (map[string]string, error) {
	servers, err := p.domains(ctx)
	if err != nil {
		return nil, err
	}
	users := map[string]string{}
	for _, s := range servers {
		if but != nil && s.domain.UUID == but.domain.UUID {
			continue
		}
		users[s.mac()] = s.domain.Name
		for _, v := range s.volumes(p.o.Pool) {
			users[v] = s.domain.Name
		}
	}
	return users, nil
}

// elsewhere refuses a server whose disks or address are where this provider does not
// look: without the domain nothing would say whose they are.
func (p *Provider) elsewhere(s server) error {
	for _, d := range s.child("devices").children("disk") {
		source := d.child("source")
		if pool := source.attr("pool"); volumeID(source.attr("volume")) != "" && pool != p.o.Pool {
			return fault.Input(fmt.Errorf("the server %s has the disk %s in the pool %s; add --option pool=%[3]s", s.domain.Name, source.attr("volume"), pool))
		}
	}
	if network := s.child("devices", "interface", "source").attr("network"); network != "" && network != p.o.Network {
		return fault.Input(fmt.Errorf("the server %s is in the network %s; add --option network=%[2]s", s.domain.Name, network))
	}
	return nil
}

func (p *Provider) deleteOurVolume(ctx context.Context, name string) error {
	if volumeID(name) == "" {
		return fault.Input(fmt.Errorf("the volume %s was not made by Ingot", name))
	}
	users, err := p.users(ctx, nil)
	if err != nil {
		return err
	}
	if user := users[name]; user != "" {
		return fault.Input(fmt.Errorf("the server %s uses the volume %s", user, name))
	}
	return p.deleteVolume(ctx, name)
}

func (p *Provider) deleteAddress(ctx context.Context, name string) error {
	if !reserved.MatchString(name) {
		return fault.Input(fmt.Errorf("the reservation %s was not made by Ingot", name))
	}
	network, n, err := p.network(ctx)
	if err != nil {
		return err
	}
	for _, r := range readDHCP(n).reserved {
		if r.name == name {
			return p.changeReservation(ctx, network, api.NetworkUpdateCommandDelete, r)
		}
	}
	return nil
}
