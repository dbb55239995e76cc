package libvirt

import (
	"context"
	"errors"
	"fmt"
	"maps"

	api "github.com/digitalocean/go-libvirt"

	"ingot/fault"
	"ingot/providers"
)

// Deploy implements providers.Provider.
//
// The disk is a copy of the image and not an overlay on it: so the image can be
// deleted while servers made of it live, and a server is one file. libvirt makes the
// copy on its host, leaving the holes out.
func (p *Provider) Deploy(ctx context.Context, m providers.Machine) (providers.Server, error) {
	id, err := p.checkMachine(m)
	if err != nil {
		return providers.Server{}, err
	}
	labels := maps.Clone(m.Labels)
	labels[providers.LabelServer] = m.Name
	there, err := p.named(ctx, m.Name)
	if err != nil {
		return providers.Server{}, err
	}
	if there == nil {
		if there, err = p.make(ctx, m, id, labels); err != nil {
			return providers.Server{}, err
		}
	}
	if there.id() != id {
		return providers.Server{}, fault.Input(fmt.Errorf("libvirt has a server %s already; choose another name", m.Name))
	}
	if err := p.start(ctx, *there); err != nil {
		return providers.Server{}, err
	}
	return p.show(ctx, *there)
}

func (p *Provider) checkMachine(m providers.Machine) (id string, err error) {
	if id, err = labelID(m.Labels); err != nil {
		return "", err
	}
	switch {
	case !nameForm.MatchString(m.Name):
		err = fmt.Errorf("the name %q of the server must be of small letters, digits, dots and dashes", m.Name)
	case m.Location != "":
		err = errors.New("libvirt has no locations; name another host in the URI")
	case m.Size != "":
		err = errors.New("libvirt has no names for sizes; give memory, CPUs and disk instead")
	case len(m.UserData) == 0:
		err = errors.New("there is no instance config: a server without one answers no packet")
	case len(m.UserData) > providers.MaxUserData:
		err = fmt.Errorf("the instance config has %d bytes, and %d are the most that providers take", len(m.UserData), providers.MaxUserData)
	}
	return id, fault.Input(err)
}

// named is the domain of a name, nil when there is none.
func (p *Provider) named(ctx context.Context, name string) (*server, error) {
	d, err := ask(ctx, p, "look for the domain "+name, func(l *api.Libvirt) (api.Domain, error) {
		return l.DomainLookupByName(name)
	})
	if isGone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s, err := p.describe(ctx, d)
	return &s, err
}

// make makes everything that a server needs, and defines it last: what is there
// without a domain is of a try that was cut short.
func (p *Provider) make(ctx context.Context, m providers.Machine, id string, labels map[string]string) (*server, error) {
	accelerator, err := p.accelerator(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.makeVolumes(ctx, m, id); err != nil {
		return nil, err
	}
	mac := macOf(id, m.Name)
	if err := p.reserve(ctx, id, m.Name, mac, m.Journal); err != nil {
		return nil, err
	}
	if err := p.makeFilter(ctx, m, id); err != nil {
		return nil, err
	}
	text, err := marshal(p.definition(m, id, labels, mac, accelerator))
	if err != nil {
		return nil, err
	}
	if err := m.Journal.Creates(kindServer, m.Name); err != nil {
		return nil, err
	}
	d, err := ask(ctx, p, "define the server "+m.Name, func(l *api.Libvirt) (api.Domain, error) {
		return l.DomainDefineXMLFlags(text, api.DomainDefineValidate)
	})
	if err != nil {
		return nil, err
	}
	s, err := p.describe(ctx, d)
	return &s, err
}

// makeVolumes makes the server's disks anew.
func (p *Provider) makeVolumes(ctx context.Context, m providers.Machine, id string) error {
	volumes, err := p.volumes(ctx)
	if err != nil {
		return err
	}
	images, err := p.Images(ctx)
	if err != nil {
		return err
	}
	image, there := volumes[m.Image.ID]
	if whole := contains(images, m.Image.ID); !there || !whole {
		return fault.Input(fmt.Errorf("libvirt has no whole image %s; upload it again", m.Image.ID))
	}
	size, err := p.capacity(ctx, image)
	if err != nil {
		return err
	}
	if p.o.Disk < size {
		return fault.Input(fmt.Errorf("a disk of %d MiB is too small for an image of %d MiB", p.o.Disk>>20, size>>20))
	}
	config, err := seed(m.UserData)
	if err != nil {
		return fault.Machine(fmt.Errorf("make the volume with the instance config: %w", err))
	}
	if err := p.room(ctx, size+int64(len(config))); err != nil {
		return err
	}
	for _, s := range []struct {
		what string
		make func(name string) error
	}{
		{"disk.raw", func(name string) error {
			if err := m.Journal.Creates(kindVolume, name); err != nil {
				return err
			}
			return p.cloneVolume(ctx, name, p.o.Disk, image)
		}},
		{"config.iso", func(name string) error { return p.writeVolume(ctx, name, config, m.Journal) }},
		{"state.raw", func(name string) error {
			if p.o.State == 0 {
				return nil
			}
			return p.makeState(ctx, name, m.Journal)
		}},
	} {
		name := serverVolume(id, m.Name, s.what)
		if err := p.deleteVolume(ctx, name); err != nil {
			return err
		}
		if err := s.make(name); err != nil {
			return err
		}
	}
	return nil
}

func contains(images []providers.Image, id string) bool {
	for _, i := range images {
		if i.ID == id {
			return true
		}
	}
	return false
}

// start switches a server on, now and whenever the host starts.
func (p *Provider) start(ctx context.Context, s server) error {
	err := tell(ctx, p, "have the host start the server "+s.domain.Name, func(l *api.Libvirt) error {
		return l.DomainSetAutostart(s.domain, 1)
	})
	if err != nil {
		return err
	}
	state, err := p.stateOf(ctx, s.domain)
	if err != nil || state == api.DomainRunning {
		return err
	}
	return tell(ctx, p, "start the server "+s.domain.Name, func(l *api.Libvirt) error { return l.DomainCreate(s.domain) })
}
