package hetzner

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"ingot/fault"
	"ingot/providers"
)

// deletable is how one kind is read and deleted.
type deletable struct {
	// read returns the labels, and false when there is no such thing.
	read func() (map[string]string, bool, error)
	// remove has it deleted. The action is nil when that is done at once.
	remove func() (*hcloud.Action, error)
}

// Delete implements providers.Provider. It refuses what carries no label of Ingot's.
func (p *Provider) Delete(ctx context.Context, r providers.Resource) error {
	id, err := strconv.ParseInt(r.ID, 10, 64)
	if err != nil {
		return fault.Input(fmt.Errorf("%q is no number of a %s here", r.ID, r.Kind))
	}
	d, err := p.deletable(ctx, r.Kind, id)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("delete the %s %s", r.Kind, r.Name)
	for n := 0; ; n++ {
		var given map[string]string
		var found bool
		err := p.call(ctx, what, func() (err error) { given, found, err = d.read(); return err })
		if err != nil || !found {
			return err
		}
		if given[providers.LabelID] == "" && given[providers.LabelServer] == "" && given[providers.LabelImage] == "" {
			return fault.Input(fmt.Errorf("%s: Ingot did not make it, it has none of its labels", what))
		}
		// A read that is late shows it for some time more.
		err = p.deleteOnce(ctx, what, d)
		if err != nil && !hcloud.IsError(err, hcloud.ErrorCodeResourceInUse, "must_be_unassigned", hcloud.ErrorCodeServerError) || n == goneLooks {
			return errors.Join(err, lateError(what, err))
		}
		if err := p.pause(ctx, n); err != nil {
			return explain(what, err)
		}
	}
}

func lateError(what string, err error) error {
	if err != nil {
		return nil
	}
	return fault.Provider(fmt.Errorf("%s: it was accepted, and it is still there", what))
}

func (p *Provider) deleteOnce(ctx context.Context, what string, d deletable) error {
	var action *hcloud.Action
	var sent error
	err := p.call(ctx, what, func() error { action, sent = d.remove(); return sent })
	if hcloud.IsError(sent, hcloud.ErrorCodeNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return p.wait(ctx, what, action)
}

func (p *Provider) deletable(ctx context.Context, kind string, id int64) (deletable, error) {
	c := p.client
	switch kind {
	case kindServer:
		return deletable{
			func() (map[string]string, bool, error) {
				s, _, err := c.Server.GetByID(ctx, id)
				if err != nil || s == nil {
					return nil, false, err
				}
				return s.Labels, true, nil
			},
			func() (*hcloud.Action, error) {
				result, _, err := c.Server.DeleteWithResult(ctx, &hcloud.Server{ID: id})
				if err != nil {
					return nil, err
				}
				return result.Action, nil
			},
		}, nil
	case kindVolume:
		var attached bool
		return deletable{
			func() (map[string]string, bool, error) {
				v, _, err := c.Volume.GetByID(ctx, id)
				if err != nil || v == nil {
					return nil, false, err
				}
				attached = v.Server != nil
				if attached && v.Labels[labelState] != "" { // its own server goes first: a list was late
					s, _, err := c.Server.GetByID(ctx, v.Server.ID)
					if err != nil {
						return nil, false, err
					}
					if s != nil && s.Labels[providers.LabelID] == v.Labels[providers.LabelID] {
						return nil, false, fault.Input(fmt.Errorf("it is the state of the server %s, which is there", s.Name))
					}
				}
				return v.Labels, true, nil
			},
			func() (*hcloud.Action, error) {
				if attached { // the next look finds it free
					action, _, err := c.Volume.Detach(ctx, &hcloud.Volume{ID: id})
					return action, err
				}
				_, err := c.Volume.Delete(ctx, &hcloud.Volume{ID: id})
				return nil, err
			},
		}, nil
	case kindPrimaryIP:
		var assigned bool
		return deletable{
			func() (map[string]string, bool, error) {
				a, _, err := c.PrimaryIP.GetByID(ctx, id)
				if err != nil || a == nil {
					return nil, false, err
				}
				assigned = a.AssigneeID != 0
				return a.Labels, true, nil
			},
			func() (*hcloud.Action, error) {
				if assigned {
					action, _, err := c.PrimaryIP.Unassign(ctx, id)
					return action, err
				}
				_, err := c.PrimaryIP.Delete(ctx, &hcloud.PrimaryIP{ID: id})
				return nil, err
			},
		}, nil
	case kindFirewall:
		return deletable{
			func() (map[string]string, bool, error) {
				f, _, err := c.Firewall.GetByID(ctx, id)
				if err != nil || f == nil {
					return nil, false, err
				}
				return f.Labels, true, nil
			},
			func() (*hcloud.Action, error) {
				_, err := c.Firewall.Delete(ctx, &hcloud.Firewall{ID: id})
				return nil, err
			},
		}, nil
	case kindKey:
		return deletable{
			func() (map[string]string, bool, error) {
				k, _, err := c.SSHKey.GetByID(ctx, id)
				if err != nil || k == nil {
					return nil, false, err
				}
				return k.Labels, true, nil
			},
			func() (*hcloud.Action, error) {
				_, err := c.SSHKey.Delete(ctx, &hcloud.SSHKey{ID: id})
				return nil, err
			},
		}, nil
	case kindSnapshot:
		return deletable{
			func() (map[string]string, bool, error) {
				i, _, err := c.Image.GetByID(ctx, id)
				if err != nil || i == nil || i.IsDeleted() {
					return nil, false, err
				}
				return i.Labels, true, nil
			},
			func() (*hcloud.Action, error) {
				_, err := c.Image.Delete(ctx, &hcloud.Image{ID: id})
				return nil, err
			},
		}, nil
	}
	return deletable{}, fault.Input(fmt.Errorf("there is no kind %q here", kind))
}
