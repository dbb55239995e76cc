package hetzner

import (
	"context"
	"fmt"
	"regexp"
	"strconv"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"ingot/fault"
	"ingot/providers"
)

// The kinds of what is made here, in the order in which they can be deleted.
const (
	kindServer    = "server"
	kindVolume    = "volume"
	kindPrimaryIP = "primary IP"
	kindFirewall  = "firewall"
	kindKey       = "ssh key"
	kindSnapshot  = "snapshot"
)

// isHostname is what the document wants of a server's name (RFC 1123).
var isHostname = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$`)

func number(id int64) string { return strconv.FormatInt(id, 10) }

// byID selects what was made under an entry of the journal.
func byID(id string) hcloud.ListOpts {
	return hcloud.ListOpts{LabelSelector: providers.LabelID + "=" + id}
}

// one is the first of a list, if it has any.
func one[T any](list []T, err error) (T, bool, error) {
	var none T
	if err != nil || len(list) == 0 {
		return none, false, err
	}
	return list[0], true, nil
}

// Find implements providers.Provider.
func (p *Provider) Find(ctx context.Context, id string) ([]providers.Resource, error) {
	if id == "" || !labelText.MatchString(id) {
		return nil, fault.Input(fmt.Errorf("%q is no number of an entry", id))
	}
	var found []providers.Resource
	add := func(kind string, id int64, name string) {
		found = append(found, providers.Resource{Kind: kind, ID: number(id), Name: name})
	}
	for _, list := range []func() error{
		func() error {
			all, err := p.client.Server.AllWithOpts(ctx, hcloud.ServerListOpts{ListOpts: byID(id)})
			for _, x := range all {
				add(kindServer, x.ID, x.Name)
			}
			return err
		},
		func() error {
			all, err := p.client.Volume.AllWithOpts(ctx, hcloud.VolumeListOpts{ListOpts: byID(id)})
			for _, x := range all {
				add(kindVolume, x.ID, x.Name)
			}
			return err
		},
		func() error {
			all, err := p.client.PrimaryIP.AllWithOpts(ctx, hcloud.PrimaryIPListOpts{ListOpts: byID(id)})
			for _, x := range all {
				add(kindPrimaryIP, x.ID, x.Name)
			}
			return err
		},
		func() error {
			all, err := p.client.Firewall.AllWithOpts(ctx, hcloud.FirewallListOpts{ListOpts: byID(id)})
			for _, x := range all {
				add(kindFirewall, x.ID, x.Name)
			}
			return err
		},
		func() error {
			all, err := p.client.SSHKey.AllWithOpts(ctx, hcloud.SSHKeyListOpts{ListOpts: byID(id)})
			for _, x := range all {
				add(kindKey, x.ID, x.Name)
			}
			return err
		},
		func() error {
			all, err := p.client.Image.AllWithOpts(ctx, hcloud.ImageListOpts{ListOpts: byID(id), Type: []hcloud.ImageType{hcloud.ImageTypeSnapshot}})
			for _, x := range all {
				add(kindSnapshot, x.ID, x.Description)
			}
			return err
		},
	} {
		before := len(found)
		err := p.call(ctx, "look for what was made under "+id, func() error {
			found = found[:before]
			return list()
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}
