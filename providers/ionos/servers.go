package ionos

import (
	"context"
	"errors"
	"net/netip"
	"strings"

	sdk "github.com/ionos-cloud/sdk-go/v6"

	"ingot/fault"
	"ingot/providers"
)

// servers are all of a data center.
func (p *Provider) servers(ctx context.Context, dc string) ([]sdk.Server, error) {
	list, response, err := p.api.ServersApi.DatacentersServersGet(ctx, dc).Depth(1).Limit(pageSize).Execute()
	if err := checkAnswer("list the servers", response, err); err != nil {
		return nil, err
	}
	for _, s := range deref(list.Items) {
		if s.Properties == nil || s.Id == nil {
			return nil, fault.Provider(errors.New("list the servers: IONOS leaves out their properties"))
		}
	}
	return deref(list.Items), nil
}

// Servers implements [providers.Provider].
func (p *Provider) Servers(ctx context.Context) ([]providers.Server, error) {
	labels, err := p.labels(ctx)
	if err != nil {
		return nil, err
	}
	centers, err := p.datacenters(ctx)
	if err != nil {
		return nil, err
	}
	var mine []providers.Server
	for _, d := range centers {
		list, err := p.servers(ctx, *d.Id)
		if isGone(err) {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, err
		}
		for _, s := range list {
			if labels[*s.Id][providers.LabelServer] == "" {
				continue
			}
			one, err := p.serverOf(ctx, *d.Id, s, labels[*s.Id])
			if isGone(err) {
				continue
			}
			if err != nil {
				return nil, err
			}
			mine = append(mine, one)
		}
	}
	return mine, nil
}

// serverOf is a server in Ingot's words, with the addresses of its card.
func (p *Provider) serverOf(ctx context.Context, dc string, s sdk.Server, labels map[string]string) (providers.Server, error) {
	if s.Properties == nil || s.Id == nil {
		return providers.Server{}, fault.Provider(errors.New("look at the server: IONOS leaves out its properties"))
	}
	one := providers.Server{ID: join(dc, *s.Id), Name: labels[providers.LabelServer], State: deref(s.Properties.VmState), Labels: labels}
	if one.Name == "" {
		one.Name, _, _ = strings.Cut(deref(s.Properties.Name), mark(labels[providers.LabelID]))
	}
	card, err := p.card(ctx, dc, *s.Id)
	if err != nil {
		return providers.Server{}, err
	}
	for _, text := range append(deref(card.Properties.Ips), deref(card.Properties.Ipv6Ips)...) {
		if a, err := netip.ParseAddr(text); err == nil {
			one.Addresses = append(one.Addresses, a)
		}
	}
	return one, nil
}

// DropConfig takes the CD-ROM with the instance config out of a server and deletes it,
// as far as IONOS' API can; see the package's comment. It is for when the machine has
// proven that it has its config: it keeps a copy. Nothing to drop is no error.
func (p *Provider) DropConfig(ctx context.Context, s providers.Server) error {
	dc, server, err := split(s.ID)
	if err != nil {
		return err
	}
	list, err := p.discs(ctx, dc, server)
	if err != nil {
		return err
	}
	for _, d := range list {
		if d.Id == nil || d.Properties == nil || !strings.HasPrefix(deref(d.Properties.Name), s.Name+"-config-ingot-") {
			continue
		}
		err := p.submit(ctx, "take the CD-ROM out", func(ctx context.Context) (*sdk.APIResponse, error) {
			return p.api.ServersApi.DatacentersServersCdromsDelete(ctx, dc, server, *d.Id).Execute()
		})
		if err != nil && !isGone(err) {
			return err
		}
	}
	// By their names: an earlier try may have taken one out and not deleted it.
	images, err := p.images(ctx)
	for _, i := range images {
		if id := s.Labels[providers.LabelID]; strings.HasPrefix(deref(i.Properties.Name), s.Name+"-config") && marked(deref(i.Properties.Name), id) && !onDisk(i) && alive(i) {
			if err := p.deleteImage(ctx, *i.Id); err != nil {
				return err
			}
		}
	}
	return err
}
