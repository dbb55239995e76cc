package openstack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/volumes"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"

	"ingot/fault"
	"ingot/providers"
)

// The kinds of things, by OpenStack's names.
const (
	kindServer  = "server"
	kindPort    = "port"
	kindAddress = "floating ip"
	kindGroup   = "security group"
	kindVolume  = "volume"
	kindImage   = "image"
	releaseTime = 5 * time.Minute // for a thing to be gone or to be let go of
)

// Find implements providers.Provider. The order is that in which things can be
// deleted: alarms watch a server, and a server uses all others.
func (p *Provider) Find(ctx context.Context, id string) ([]providers.Resource, error) {
	if id == "" {
		return nil, fault.Input(fmt.Errorf("nothing is looked for without the number of a journal's entry"))
	}
	if err := p.checkAtRest(ctx, id); err != nil {
		return nil, err
	}
	var found []providers.Resource
	for _, look := range []func(context.Context, string) ([]providers.Resource, error){
		p.findAlarms, p.findServers, p.findPorts, p.findAddresses, p.findGroups, p.findVolumes, p.findImages,
	} {
		some, err := look(ctx, id)
		if err != nil {
			return nil, err
		}
		found = append(found, some...)
	}
	return found, nil
}

// checkAtRest refuses what cannot be done with a server while its state is between it and
// another: who takes it says so, and the volume is still the other's.
func (p *Provider) checkAtRest(ctx context.Context, id string) error {
	list, err := p.listServers(ctx)
	if err != nil {
		return err
	}
	all, err := p.listVolumes(ctx)
	for _, taker := range list {
		giver, volume, _ := strings.Cut(taker.Metadata[labelTookState], ".")
		for _, s := range list {
			for _, v := range all {
				if s.ID == giver && v.ID == volume && markOf(v.Metadata) == markOf(s.Metadata) && (markOf(s.Metadata).id == id || markOf(taker.Metadata).id == id) {
					return fault.Input(errors.New("the state is on its way from one server to another, which was interrupted: run \"ingot rollback\" first"))
				}
			}
		}
	}
	return err
}

func (p *Provider) findServers(ctx context.Context, id string) (found []providers.Resource, err error) {
	all, err := p.listServers(ctx)
	for _, s := range all {
		if s.Metadata[providers.LabelID] == id {
			found = append(found, providers.Resource{Kind: kindServer, ID: s.ID, Name: s.Name})
		}
	}
	return found, err
}

func (p *Provider) findPorts(ctx context.Context, id string) (found []providers.Resource, err error) {
	all, err := p.listPorts(ctx, ports.ListOpts{ProjectID: p.project})
	for _, x := range all {
		if m, ok := readMark(x.Description); ok && m.id == id {
			found = append(found, providers.Resource{Kind: kindPort, ID: x.ID, Name: x.Name})
		}
	}
	return found, err
}

func (p *Provider) findAddresses(ctx context.Context, id string) (found []providers.Resource, err error) {
	all, err := p.listAddresses(ctx)
	for _, x := range all {
		if m, ok := readMark(x.Description); ok && m.id == id {
			found = append(found, providers.Resource{Kind: kindAddress, ID: x.ID, Name: x.FloatingIP})
		}
	}
	return found, err
}

func (p *Provider) findGroups(ctx context.Context, id string) (found []providers.Resource, err error) {
	all, err := p.listGroups(ctx)
	for _, x := range all {
		if m, ok := readMark(x.Description); ok && m.id == id {
			found = append(found, providers.Resource{Kind: kindGroup, ID: x.ID, Name: x.Name})
		}
	}
	return found, err
}

func (p *Provider) findVolumes(ctx context.Context, id string) (found []providers.Resource, err error) {
	all, err := p.listVolumes(ctx)
	for _, x := range all {
		if x.Metadata[providers.LabelID] == id {
			found = append(found, providers.Resource{Kind: kindVolume, ID: x.ID, Name: x.Name})
		}
	}
	return found, err
}

func (p *Provider) findImages(ctx context.Context, id string) (found []providers.Resource, err error) {
	all, err := p.listImages(ctx)
	for _, x := range all {
		if ourLabels(x.Properties)[providers.LabelID] == id {
			found = append(found, providers.Resource{Kind: kindImage, ID: x.ID, Name: x.Name})
		}
	}
	return found, err
}

// Delete implements providers.Provider. Something that is still let go of by what
// was deleted before it is asked for again.
func (p *Provider) Delete(ctx context.Context, r providers.Resource) error {
	remove, look, err := p.deletion(r)
	if err != nil {
		return err
	}
	var refused error
	err = p.await(ctx, "the deletion of the "+r.Kind+" "+r.Name, releaseTime, func(ctx context.Context) (bool, error) {
		err := remove(ctx)
		if status(err) == http.StatusConflict || r.Kind == kindVolume && status(err) == http.StatusBadRequest {
			refused = err // in use
			return false, nil
		}
		if isNotFound(err) {
			return true, nil
		}
		return err == nil, p.wrap("delete the "+r.Kind+" "+r.Name, err)
	})
	if err != nil {
		return errors.Join(err, p.wrap("delete the "+r.Kind+" "+r.Name, refused))
	}
	return p.await(ctx, "the end of the "+r.Kind+" "+r.Name, releaseTime, func(ctx context.Context) (bool, error) {
		err := look(ctx)
		if isNotFound(err) {
			return true, nil
		}
		return false, p.wrap("look at the "+r.Kind+" "+r.Name, err)
	})
}

type step func(context.Context) error

func (p *Provider) deletion(r providers.Resource) (remove, look step, err error) {
	switch r.Kind {
	case kindImage:
		return func(ctx context.Context) error { return p.deleteImage(ctx, r.ID) },
			func(ctx context.Context) error { return get(ctx, p.image, "images", r.ID) }, nil
	case kindPort:
		return func(ctx context.Context) error { return ports.Delete(ctx, p.network, r.ID).ExtractErr() },
			func(ctx context.Context) error { return get(ctx, p.network, "ports", r.ID) }, nil
	case kindAddress:
		return func(ctx context.Context) error { return floatingips.Delete(ctx, p.network, r.ID).ExtractErr() },
			func(ctx context.Context) error { return get(ctx, p.network, "floatingips", r.ID) }, nil
	case kindGroup:
		return func(ctx context.Context) error { return groups.Delete(ctx, p.network, r.ID).ExtractErr() },
			func(ctx context.Context) error { return get(ctx, p.network, "security-groups", r.ID) }, nil
	case kindServer:
		return func(ctx context.Context) error { return servers.Delete(ctx, p.compute, r.ID).ExtractErr() },
			func(ctx context.Context) error { return get(ctx, p.compute, "servers", r.ID) }, p.needCompute()
	case kindVolume:
		return func(ctx context.Context) error { return volumes.Delete(ctx, p.volume, r.ID, nil).ExtractErr() },
			func(ctx context.Context) error { return get(ctx, p.volume, "volumes", r.ID) }, p.needVolume()
	case kindAlarm:
		return func(ctx context.Context) error { return p.deleteAlarm(ctx, r.ID) },
			func(ctx context.Context) error { return get(ctx, p.alarming, "alarms", r.ID) }, p.needAlarming()
	}
	return nil, nil, fault.Input(fmt.Errorf("OpenStack has no %q that Ingot makes", r.Kind))
}

// get asks for one thing, to see whether it is there.
func get(ctx context.Context, client *gophercloud.ServiceClient, parts ...string) error {
	response, err := client.Get(ctx, client.ServiceURL(parts...), nil, nil)
	if err == nil {
		response.Body.Close()
	}
	return err
}
