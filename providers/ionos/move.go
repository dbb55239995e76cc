package ionos

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	sdk "github.com/ionos-cloud/sdk-go/v6"

	"ingot/fault"
	"ingot/providers"
)

// MoveAddress implements [providers.Mover], with a reserved address: see
// [Options.Reserve]. The address and its block are the other server's afterwards; the
// first gets another address.
func (p *Provider) MoveAddress(ctx context.Context, from, to providers.Server) error {
	block, address, err := p.blockOf(ctx, from, to)
	if err != nil {
		return err
	}
	if err := p.setAddress(ctx, from, address, false); err != nil {
		return err
	}
	if err := p.setAddress(ctx, to, address, true); err != nil {
		return err
	}
	name := to.Name + mark(to.Labels[providers.LabelID])
	return p.repeat(ctx, "hand the address over", func(ctx context.Context) (*sdk.APIResponse, error) {
		change := sdk.IpBlockProperties{Name: ptr(name), Location: ptr(p.opts.Location), Size: ptr(int32(1))}
		_, response, err := p.api.IPBlocksApi.IpblocksPatch(ctx, block).Ipblock(change).Execute()
		return response, err
	})
}

// blockOf is the reserved address of a server. It is the other's when an earlier move
// was interrupted.
func (p *Provider) blockOf(ctx context.Context, from, to providers.Server) (block, address string, err error) {
	block, address, err = p.findBlock(ctx, from, to)
	if err != nil || block != "" {
		return block, address, err
	}
	var texts []string
	for _, a := range from.Addresses {
		texts = append(texts, a.String())
	}
	return "", "", fault.Input(fmt.Errorf("the address of %s (%s) was not reserved and cannot move: deploy with a reserved address", from.Name, strings.Join(texts, ", ")))
}

// findBlock is blockOf without an error when there is none.
func (p *Provider) findBlock(ctx context.Context, from, to providers.Server) (block, address string, err error) {
	list, err := p.blocks(ctx)
	if err != nil {
		return "", "", err
	}
	for _, s := range []providers.Server{from, to} {
		id := s.Labels[providers.LabelID]
		for _, b := range list {
			if ips := deref(b.Properties.Ips); marked(deref(b.Properties.Name), id) && len(ips) == 1 {
				return *b.Id, ips[0], nil
			}
		}
	}
	return "", "", nil
}

// setAddress gives a server's card an address, or takes it away. What is so already
// stays.
func (p *Provider) setAddress(ctx context.Context, s providers.Server, address string, want bool) error {
	dc, server, err := split(s.ID)
	if err != nil {
		return err
	}
	card, err := p.card(ctx, dc, server)
	if err != nil {
		return err
	}
	has := false
	for _, text := range deref(card.Properties.Ips) {
		a, err := netip.ParseAddr(text)
		has = has || err == nil && a.String() == address
	}
	if has == want {
		return nil
	}
	ips := []string{} // IONOS gives another one
	if want {
		ips = []string{address}
	}
	change := sdk.NicProperties{Lan: card.Properties.Lan, Ips: &ips}
	return p.repeat(ctx, "change the address of "+s.Name, func(ctx context.Context) (*sdk.APIResponse, error) {
		_, response, err := p.api.NetworkInterfacesApi.DatacentersServersNicsPatch(ctx, dc, server, deref(card.Id)).Nic(change).Execute()
		return response, err
	})
}
