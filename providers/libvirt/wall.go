package libvirt

import (
	"context"
	"fmt"
	"slices"

	api "github.com/digitalocean/go-libvirt"

	"ingot/fault"
	"ingot/providers"
)

// wall is the filter of a server's network card. libvirt takes filters whole, and
// changes those of running servers in one step.
type wall struct {
	p    *Provider
	name string
}

// Wall implements providers.Provider.
func (p *Provider) Wall(ctx context.Context, of providers.Server) (providers.Wall, error) {
	s, err := p.find(ctx, of)
	if err != nil {
		return nil, err
	}
	w := wall{p, s.filter()}
	if w.name == "" {
		return nil, fault.Input(fmt.Errorf("the server %s has a network card without a filter; add <filterref filter='%s'/> with 'virsh edit %[1]s'", of.Name, filterName(of.Name)))
	}
	_, err = w.read(ctx)
	return w, err
}

// read is the filter, which must be one of ours.
func (w wall) read(ctx context.Context) (node, error) {
	f, err := w.p.filter(ctx, w.name)
	if err != nil {
		return node{}, err
	}
	if f == nil || filterID(*f) == "" {
		return node{}, fault.Input(fmt.Errorf("the filter %s was not made by Ingot; change it by hand", w.name))
	}
	return *f, nil
}

// Read implements providers.Wall.
func (w wall) Read(ctx context.Context) (providers.State, error) {
	f, err := w.read(ctx)
	if err != nil {
		return providers.State{}, err
	}
	return readFilter(f)
}

// Change implements providers.Wall.
func (w wall) Change(ctx context.Context, add []providers.Rule, remove []providers.Installed) error {
	f, err := w.read(ctx)
	if err != nil {
		return err
	}
	have, err := readFilter(f)
	if err != nil {
		return err
	}
	for _, r := range add {
		if slices.ContainsFunc(have.Rules, func(i providers.Installed) bool { return i.Owned && i.Does(r) }) {
			continue
		}
		n, err := ruleNode(r)
		if err != nil {
			return fault.Input(err)
		}
		f = f.with(n)
	}
	for _, i := range remove {
		f.Nodes = without(f.Nodes, i.ID)
	}
	return w.p.defineFilter(ctx, f)
}

// without leaves out the first element that has this text.
func without(nodes []node, text string) []node {
	for i, n := range nodes {
		if t, err := marshal(n); err == nil && t == text {
			return slices.Delete(slices.Clone(nodes), i, i+1)
		}
	}
	return nodes
}

// Activate implements providers.Wall.
func (w wall) Activate(ctx context.Context) error {
	f, err := w.read(ctx)
	if err != nil {
		return err
	}
	have, err := readFilter(f)
	if err != nil || have.Active {
		return err
	}
	f.Nodes = slices.DeleteFunc(f.Nodes, func(n node) bool { return comment(n) == commentDrop })
	return w.p.defineFilter(ctx, f.with(dropRules()...))
}

// filter is a filter by its name, nil when there is none.
func (p *Provider) filter(ctx context.Context, name string) (*node, error) {
	text, err := ask(ctx, p, "look at the filter "+name, func(l *api.Libvirt) (string, error) {
		f, err := l.NwfilterLookupByName(name)
		if err != nil {
			return "", err
		}
		return l.NwfilterGetXMLDesc(f, 0)
	})
	if isGone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	n, err := parse(text)
	if err != nil {
		return nil, fault.Provider(err)
	}
	return &n, nil
}

// defineFilter makes a filter or changes one: then the uuid must be in it.
func (p *Provider) defineFilter(ctx context.Context, f node) error {
	text, err := marshal(f)
	if err != nil {
		return err
	}
	return tell(ctx, p, "define the filter "+f.attr("name"), func(l *api.Libvirt) error {
		_, err := l.NwfilterDefineXML(text)
		return err
	})
}

// makeFilter defines the wall of a new server. One of an earlier try is changed.
func (p *Provider) makeFilter(ctx context.Context, m providers.Machine, id string) error {
	f, err := newFilter(id, m.Name, m.Rules)
	if err != nil {
		return fault.Input(err)
	}
	there, err := p.filter(ctx, filterName(m.Name))
	if err != nil {
		return err
	}
	switch {
	case there == nil:
		if err := m.Journal.Creates(kindFilter, filterName(m.Name)); err != nil {
			return err
		}
	case filterID(*there) != id:
		return fault.Input(fmt.Errorf("libvirt has a filter %s already, of another server; choose another name", filterName(m.Name)))
	default:
		f.Nodes = append(there.children("uuid"), f.Nodes...)
	}
	return p.defineFilter(ctx, f)
}

// deleteFilter removes one of ours.
func (p *Provider) deleteFilter(ctx context.Context, name string) error {
	f, err := p.filter(ctx, name)
	if err != nil || f == nil {
		return err
	}
	if filterID(*f) == "" {
		return fault.Input(fmt.Errorf("the filter %s was not made by Ingot", name))
	}
	err = tell(ctx, p, "delete the filter "+name, func(l *api.Libvirt) error {
		f, err := l.NwfilterLookupByName(name)
		if err != nil {
			return err
		}
		return l.NwfilterUndefine(f)
	})
	if isGone(err) {
		return nil
	}
	return err
}
