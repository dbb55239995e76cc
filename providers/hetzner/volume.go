package hetzner

import (
	"context"
	"errors"
	"fmt"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"ingot/fault"
)

// place attaches a volume to a server, or to none when that is nil, wherever it is now.
func (p *Provider) place(ctx context.Context, v *hcloud.Volume, s *hcloud.Server) error {
	where := "no server"
	if s != nil {
		where = "the server " + s.Name
	}
	var last error
	for n := range goneLooks {
		var now *hcloud.Volume
		err := p.call(ctx, "read the volume "+v.Name, func() (err error) { now, _, err = p.client.Volume.GetByID(ctx, v.ID); return err })
		if err != nil {
			return err
		}
		switch {
		case now == nil: // made a moment ago, and not seen yet
			last = fault.Provider(errors.New("it cannot be found"))
		case isAt(now, s):
			return nil
		case now.Server == nil:
			last = p.attach(ctx, v, s)
		default:
			last = p.act(ctx, "detach the volume "+v.Name, func() (*hcloud.Action, *hcloud.Response, error) { return p.client.Volume.Detach(ctx, v) })
		}
		// What was read may have been late, and an error come of that.
		if last != nil && !isLost(last) && !hcloud.IsError(last, hcloud.ErrorCodeVolumeAlreadyAttached, hcloud.ErrorCodeServerAlreadyAttached) && n > 2*looks {
			return fmt.Errorf("the volume %s does not get to %s: %w", v.Name, where, last)
		}
		if err := p.pause(ctx, n); err != nil {
			return explain("move the volume "+v.Name, err)
		}
	}
	return fault.Provider(errors.Join(fmt.Errorf("the volume %s does not get to %s", v.Name, where), last))
}

// attach has nothing mounted: the stock systems would do that.
func (p *Provider) attach(ctx context.Context, v *hcloud.Volume, s *hcloud.Server) error {
	no := false
	return p.act(ctx, "attach the volume "+v.Name, func() (*hcloud.Action, *hcloud.Response, error) {
		return p.client.Volume.AttachWithOpts(ctx, v, hcloud.VolumeAttachOpts{Server: s, Automount: &no})
	})
}

// isAt reports whether a volume is attached to a server, or to none.
func isAt(v *hcloud.Volume, s *hcloud.Server) bool {
	if v.Server == nil || s == nil {
		return v.Server == nil && s == nil
	}
	return v.Server.ID == s.ID
}

// label replaces all labels of a volume.
func (p *Provider) label(ctx context.Context, v *hcloud.Volume, all map[string]string) (labelled *hcloud.Volume, err error) {
	err = p.call(ctx, "label the volume "+v.Name, func() (err error) {
		labelled, _, err = p.client.Volume.Update(ctx, v, hcloud.VolumeUpdateOpts{Name: v.Name, Labels: all})
		return err
	})
	return labelled, err
}
