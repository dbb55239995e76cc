package hetzner

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"ingot/fault"
	"ingot/providers"
)

// wall is the firewall before one server: ours, named after the server, and those
// that others have applied to it. What any of them lets in comes in; as soon as there
// is one, nothing else does. What goes out is let out unless somebody adds a rule for
// that.
type wall struct {
	*Provider
	server int64
	name   string // of the server
}

func wallName(server string) string { return "ingot-" + server }

// Wall implements providers.Provider.
func (p *Provider) Wall(ctx context.Context, server providers.Server) (providers.Wall, error) {
	id, err := strconv.ParseInt(server.ID, 10, 64)
	if err != nil {
		return nil, fault.Input(fmt.Errorf("%q is no number of a server here", server.ID))
	}
	s, err := p.server(ctx, id)
	if err != nil {
		return nil, err
	}
	return &wall{p, id, s.Name}, nil
}

// newFirewall makes a firewall with its rules, applied to nothing.
func (p *Provider) newFirewall(ctx context.Context, e *providers.Entry, name string, label map[string]string, rules []providers.Rule) (*hcloud.Firewall, error) {
	grouped, err := group(rules)
	if err != nil {
		return nil, err
	}
	if err := checkCount(name, grouped); err != nil {
		return nil, err
	}
	return createOrFind(ctx, p, e, kindFirewall, name, func() (*hcloud.Firewall, error) {
		result, _, err := p.client.Firewall.Create(ctx, hcloud.FirewallCreateOpts{Name: name, Labels: label, Rules: grouped})
		return result.Firewall, err
	}, func() (*hcloud.Firewall, bool, error) {
		list, err := p.client.Firewall.AllWithOpts(ctx, hcloud.FirewallListOpts{Name: name, ListOpts: byID(label[providers.LabelID])})
		return one(list, err)
	})
}

// own is our firewall, nil when there is none.
func (w *wall) own(ctx context.Context) (*hcloud.Firewall, error) {
	name := wallName(w.name)
	var list []*hcloud.Firewall
	err := w.call(ctx, "read the firewall "+name, func() (err error) {
		list, err = w.client.Firewall.AllWithOpts(ctx, hcloud.FirewallListOpts{Name: name})
		return err
	})
	if err != nil || len(list) == 0 {
		return nil, err
	}
	if list[0].Labels[providers.LabelServer] != w.name {
		return nil, fault.Input(fmt.Errorf("the firewall %s was not made by Ingot, and has the name that Ingot's would have: rename it", name))
	}
	return list[0], nil
}

// Read implements providers.Wall.
func (w *wall) Read(ctx context.Context) (providers.State, error) {
	s, err := w.Provider.server(ctx, w.server)
	if err != nil {
		return providers.State{}, err
	}
	own, err := w.own(ctx)
	if err != nil {
		return providers.State{}, err
	}
	var state providers.State
	if own != nil {
		state.Active = isBehind(s, own.ID)
		for _, r := range own.Rules {
			state.Rules = append(state.Rules, installed(r)...)
		}
	}
	for _, f := range s.PublicNet.Firewalls {
		if own != nil && f.Firewall.ID == own.ID {
			continue
		}
		other, err := w.firewall(ctx, f.Firewall.ID)
		if err != nil {
			return providers.State{}, err
		}
		if other != nil {
			state.Rules = append(state.Rules, providers.Installed{ID: foreignPrefix + number(other.ID), Opaque: describeWall(other)})
		}
	}
	return state, nil
}

func (w *wall) firewall(ctx context.Context, id int64) (*hcloud.Firewall, error) {
	var f *hcloud.Firewall
	err := w.call(ctx, fmt.Sprintf("read the firewall %d", id), func() (err error) { f, _, err = w.client.Firewall.GetByID(ctx, id); return err })
	return f, err
}

// foreignPrefix and its number are how another's firewall as a whole is known in a
// state.
const foreignPrefix = "firewall/"

func describeWall(f *hcloud.Firewall) string {
	var rules []string
	for _, r := range f.Rules {
		rules = append(rules, describe(r))
	}
	if len(rules) == 0 {
		rules = []string{"nothing"}
	}
	return fmt.Sprintf("the firewall %s: %s", f.Name, strings.Join(rules, "; "))
}

// Change implements providers.Wall. The rules of a firewall are replaced at once, so
// that none is missing for a moment.
func (w *wall) Change(ctx context.Context, add []providers.Rule, remove []providers.Installed) error {
	var others []int64
	remove = slices.DeleteFunc(slices.Clone(remove), func(i providers.Installed) bool {
		text, ok := strings.CutPrefix(i.ID, foreignPrefix)
		id, err := strconv.ParseInt(text, 10, 64)
		if ok && err == nil {
			others = append(others, id)
		}
		return ok
	})
	if err := w.replace(ctx, add, remove); err != nil {
		return err
	}
	if len(others) == 0 {
		return nil
	}
	// A server without any firewall lets all in.
	if err := w.Activate(ctx); err != nil {
		return err
	}
	for _, id := range others {
		if err := w.leave(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// replace sets the rules of our firewall, which is made when there is none. When the
// answer is lost, it looks again what is there.
func (w *wall) replace(ctx context.Context, add []providers.Rule, remove []providers.Installed) error {
	var last error
	for n := range tries {
		if n > 0 {
			if err := w.pause(ctx, n); err != nil {
				return err
			}
		}
		own, err := w.own(ctx)
		if err != nil {
			return err
		}
		if own == nil {
			return w.make(ctx, add)
		}
		rules, err := changed(own.Rules, add, remove)
		if err != nil {
			return err
		}
		if err := checkCount(own.Name, rules); err != nil {
			return err
		}
		if equal(rules, own.Rules) {
			return nil
		}
		last = w.actAll(ctx, "set the rules of the firewall "+own.Name, func() ([]*hcloud.Action, *hcloud.Response, error) {
			return w.client.Firewall.SetRules(ctx, own, hcloud.FirewallSetRulesOpts{Rules: rules})
		})
		if !isLost(last) {
			return last
		}
	}
	return last
}

// make is for a server that has lost its firewall. It gets the label of the work that
// has made the server, so that it goes when the server does.
func (w *wall) make(ctx context.Context, add []providers.Rule) error {
	s, err := w.Provider.server(ctx, w.server)
	if err != nil {
		return err
	}
	label := map[string]string{providers.LabelServer: w.name}
	if id := s.Labels[providers.LabelID]; id != "" {
		label[providers.LabelID] = id
	}
	_, err = w.newFirewall(ctx, nil, wallName(w.name), label, add)
	return err
}

// Activate implements providers.Wall: our firewall is applied to the server.
func (w *wall) Activate(ctx context.Context) error {
	own, err := w.own(ctx)
	if err != nil {
		return err
	}
	if own == nil {
		if err := w.make(ctx, nil); err != nil {
			return err
		}
		if own, err = w.own(ctx); err != nil || own == nil {
			return err
		}
	}
	var last error
	for n := range tries {
		s, err := w.Provider.server(ctx, w.server)
		if err != nil || isBehind(s, own.ID) {
			return err
		}
		last = w.actAll(ctx, fmt.Sprintf("apply the firewall %s to the server %s", own.Name, w.name), func() ([]*hcloud.Action, *hcloud.Response, error) {
			return w.client.Firewall.ApplyResources(ctx, own, w.resources())
		})
		if hcloud.IsError(last, hcloud.ErrorCodeFirewallAlreadyApplied) {
			return nil // and is not seen yet, or is only asked for
		}
		if !isLost(last) {
			return last
		}
		if err := w.pause(ctx, n); err != nil {
			return err
		}
	}
	return last
}

// leave takes another's firewall from the server; it stays where else it is.
func (w *wall) leave(ctx context.Context, id int64) error {
	err := w.actAll(ctx, fmt.Sprintf("remove the firewall %d from the server %s", id, w.name), func() ([]*hcloud.Action, *hcloud.Response, error) {
		return w.client.Firewall.RemoveResources(ctx, &hcloud.Firewall{ID: id}, w.resources())
	})
	switch {
	case hcloud.IsError(err, hcloud.ErrorCodeFirewallResourceNotFound, hcloud.ErrorCodeNotFound):
		return nil
	case hcloud.IsError(err, hcloud.ErrorCodeFirewallManagedByLabelSelector):
		return fault.Input(fmt.Errorf("%w; it is applied by a label of the server: change that in the console", err))
	}
	return err
}

func (w *wall) resources() []hcloud.FirewallResource {
	return []hcloud.FirewallResource{{Type: hcloud.FirewallResourceTypeServer, Server: &hcloud.FirewallResourceServer{ID: w.server}}}
}

// actAll is act for requests with several actions.
func (p *Provider) actAll(ctx context.Context, what string, request func() ([]*hcloud.Action, *hcloud.Response, error)) error {
	var list []*hcloud.Action
	var sent error
	err := p.call(ctx, what, func() error { list, _, sent = request(); return sent })
	if uncertain(ctx, sent) {
		return lost{err}
	}
	if err != nil {
		return err
	}
	return p.wait(ctx, what, list...)
}
