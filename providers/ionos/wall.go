package ionos

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	sdk "github.com/ionos-cloud/sdk-go/v6"

	"ingot/fault"
	"ingot/providers"
)

// wall is the firewall of a server's network card.
type wall struct {
	p               *Provider
	dc, server, nic string
}

// Wall implements [providers.Provider]: it is that of the card that Ingot made, or of
// the only one.
func (p *Provider) Wall(ctx context.Context, s providers.Server) (providers.Wall, error) {
	dc, server, err := split(s.ID)
	if err != nil {
		return nil, err
	}
	nic, err := p.card(ctx, dc, server)
	if err != nil {
		return nil, err
	}
	return wall{p, dc, server, deref(nic.Id)}, nil
}

// cardName is what Ingot calls its network cards.
const cardName = "ingot"

// card is a server's network card.
func (p *Provider) card(ctx context.Context, dc, server string) (sdk.Nic, error) {
	list, response, err := p.api.NetworkInterfacesApi.DatacentersServersNicsGet(ctx, dc, server).Depth(1).Execute()
	if err := checkAnswer("list the network cards", response, err); err != nil {
		return sdk.Nic{}, err
	}
	cards := deref(list.Items)
	for _, c := range cards {
		if c.Properties == nil {
			return sdk.Nic{}, fault.Provider(errors.New("list the network cards: IONOS leaves out their properties"))
		}
		if deref(c.Properties.Name) == cardName {
			return c, nil
		}
	}
	if len(cards) != 1 {
		return sdk.Nic{}, fault.Input(fmt.Errorf("the server has %d network cards and none is called %q: call the one before the internet so", len(cards), cardName))
	}
	return cards[0], nil
}

// The directions that a card's firewall can have.
const (
	ingress = "INGRESS"
	egress  = "EGRESS"
)

// Read implements [providers.Wall].
func (w wall) Read(ctx context.Context) (providers.State, error) {
	nic, err := w.read(ctx)
	if err != nil {
		return providers.State{}, err
	}
	state := providers.State{Active: deref(nic.Properties.FirewallActive) && deref(nic.Properties.FirewallType) != egress}
	list, response, err := w.p.api.FirewallRulesApi.DatacentersServersNicsFirewallrulesGet(ctx, w.dc, w.server, w.nic).Depth(1).Execute()
	if err := checkAnswer("list the firewall's rules", response, err); err != nil {
		return providers.State{}, err
	}
	for _, r := range deref(list.Items) {
		if r.Properties == nil || r.Id == nil {
			return providers.State{}, fault.Provider(errors.New("list the firewall's rules: IONOS leaves out their properties"))
		}
		state.Rules = append(state.Rules, installed(r))
	}
	if nic.Entities != nil && nic.Entities.Securitygroups != nil {
		for _, g := range deref(nic.Entities.Securitygroups.Items) {
			state.Rules = append(state.Rules, providers.Installed{Opaque: "all that the security group " + deref(g.Id) + " lets in"})
		}
	}
	return state, nil
}

func (w wall) read(ctx context.Context) (sdk.Nic, error) {
	nic, response, err := w.p.api.NetworkInterfacesApi.DatacentersServersNicsFindById(ctx, w.dc, w.server, w.nic).Depth(1).Execute()
	if err := checkAnswer("look at the network card", response, err); err != nil {
		return sdk.Nic{}, err
	}
	if nic.Properties == nil {
		return sdk.Nic{}, fault.Provider(errors.New("look at the network card: IONOS leaves out its properties"))
	}
	return nic, nil
}

// Change implements [providers.Wall]. Each rule is in force before the next request:
// IONOS carries one out at a time.
func (w wall) Change(ctx context.Context, add []providers.Rule, remove []providers.Installed) error {
	for _, r := range add {
		if err := w.add(ctx, r); err != nil {
			return err
		}
	}
	for _, i := range remove {
		if i.ID == "" {
			return fault.Input(fmt.Errorf("%s is no rule of the card: change it at IONOS", i))
		}
		err := w.p.submit(ctx, "remove the rule "+i.String(), func(ctx context.Context) (*sdk.APIResponse, error) {
			return w.p.api.FirewallRulesApi.DatacentersServersNicsFirewallrulesDelete(ctx, w.dc, w.server, w.nic, i.ID).Execute()
		})
		if err != nil && !isGone(err) {
			return err
		}
	}
	return nil
}

// add makes a rule. When the answer is lost it looks whether the rule is there.
func (w wall) add(ctx context.Context, r providers.Rule) error {
	rule := sdk.FirewallRule{Properties: properties(r)}
	for n := 1; ; n++ {
		err := w.p.submit(ctx, "add the rule "+r.String(), func(ctx context.Context) (*sdk.APIResponse, error) {
			_, response, err := w.p.api.FirewallRulesApi.DatacentersServersNicsFirewallrulesPost(ctx, w.dc, w.server, w.nic).Firewallrule(rule).Execute()
			return response, err
		})
		if err == nil || !isLost(err) && !isStatus(err, http.StatusConflict, http.StatusUnprocessableEntity) {
			return err
		}
		there, e := w.p.look(ctx, func() (bool, error) {
			state, err := w.Read(ctx)
			for _, i := range state.Rules {
				if i.Owned && i.Does(r) {
					return true, err
				}
			}
			return false, err
		})
		switch {
		case e != nil:
			return e
		case there:
			return nil
		case !isLost(err) || n == createTries:
			return err
		}
	}
}

// createTries is how often something is made that is not there after the answer was
// lost.
const createTries = 3

// Activate implements [providers.Wall].
func (w wall) Activate(ctx context.Context) error {
	nic, err := w.read(ctx)
	if err != nil {
		return err
	}
	direction := deref(nic.Properties.FirewallType)
	if direction != "BIDIRECTIONAL" { // somebody wants to say what goes out, too
		direction = ingress
	}
	change := sdk.NicProperties{Lan: nic.Properties.Lan, FirewallActive: ptr(true), FirewallType: ptr(direction)}
	return w.p.repeat(ctx, "switch the firewall on", func(ctx context.Context) (*sdk.APIResponse, error) {
		_, response, err := w.p.api.NetworkInterfacesApi.DatacentersServersNicsPatch(ctx, w.dc, w.server, w.nic).Nic(change).Execute()
		return response, err
	})
}
