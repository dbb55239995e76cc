package ionos

import (
	"context"
	"fmt"

	sdk "github.com/ionos-cloud/sdk-go/v6"
	"github.com/jlaffaye/ftp"

	"ingot/fault"
	"ingot/providers"
)

// Delete implements [providers.Provider].
func (p *Provider) Delete(ctx context.Context, r providers.Resource) error {
	switch r.Kind {
	case kindServer, kindVolume, kindLAN:
		dc, inner, err := split(r.ID)
		if err != nil {
			return err
		}
		return p.deleteIn(ctx, r.Kind, dc, inner)
	case kindDatacenter:
		return p.deleteDatacenter(ctx, r)
	case kindBlock:
		return p.remove(ctx, r.Kind,
			func(ctx context.Context) (*sdk.APIResponse, error) {
				return p.api.IPBlocksApi.IpblocksDelete(ctx, r.ID).Execute()
			},
			func(ctx context.Context) (*sdk.APIResponse, error) {
				_, response, err := p.api.IPBlocksApi.IpblocksFindById(ctx, r.ID).Execute()
				return response, err
			})
	case kindImage:
		return p.deleteImage(ctx, r.ID)
	case kindUpload:
		return p.deleteUpload(ctx, r)
	}
	return fault.Input(fmt.Errorf("no %q is made at IONOS by Ingot", r.Kind))
}

func (p *Provider) deleteIn(ctx context.Context, kind, dc, id string) error {
	type call = func(context.Context) (*sdk.APIResponse, error)
	calls := map[string][2]call{
		kindServer: {
			func(ctx context.Context) (*sdk.APIResponse, error) {
				return p.api.ServersApi.DatacentersServersDelete(ctx, dc, id).Execute()
			},
			func(ctx context.Context) (*sdk.APIResponse, error) {
				_, r, err := p.api.ServersApi.DatacentersServersFindById(ctx, dc, id).Execute()
				return r, err
			}},
		kindVolume: {
			func(ctx context.Context) (*sdk.APIResponse, error) {
				return p.api.VolumesApi.DatacentersVolumesDelete(ctx, dc, id).Execute()
			},
			func(ctx context.Context) (*sdk.APIResponse, error) {
				_, r, err := p.api.VolumesApi.DatacentersVolumesFindById(ctx, dc, id).Execute()
				return r, err
			}},
		kindLAN: {
			func(ctx context.Context) (*sdk.APIResponse, error) {
				return p.api.LANsApi.DatacentersLansDelete(ctx, dc, id).Execute()
			},
			func(ctx context.Context) (*sdk.APIResponse, error) {
				_, r, err := p.api.LANsApi.DatacentersLansFindById(ctx, dc, id).Execute()
				return r, err
			}},
	}
	return p.remove(ctx, kind, calls[kind][0], calls[kind][1])
}

// remove deletes something and waits until nobody finds it.
func (p *Provider) remove(ctx context.Context, kind string, remove, get func(context.Context) (*sdk.APIResponse, error)) error {
	what := "delete the " + kind
	if err := p.submit(ctx, what, remove); err != nil {
		if isGone(err) {
			return nil
		}
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, p.pace.request)
	defer cancel()
	for {
		response, err := get(ctx)
		if err := checkAnswer(what, response, err); isGone(err) {
			return nil
		} else if err != nil {
			return err
		}
		if err := rest(ctx, p.pace.poll); err != nil {
			return giveUp(what, err)
		}
	}
}

// deleteDatacenter deletes one that nothing is in: the API would delete all that is.
func (p *Provider) deleteDatacenter(ctx context.Context, r providers.Resource) error {
	all, err := p.contents(ctx, r.ID)
	if isGone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(all) > 0 {
		return fault.Input(fmt.Errorf("the data center %s is not empty: the %s %s is in it", r.Name, all[0].Kind, all[0].Name))
	}
	return p.remove(ctx, r.Kind,
		func(ctx context.Context) (*sdk.APIResponse, error) {
			return p.api.DataCentersApi.DatacentersDelete(ctx, r.ID).Execute()
		},
		func(ctx context.Context) (*sdk.APIResponse, error) {
			_, response, err := p.api.DataCentersApi.DatacentersFindById(ctx, r.ID).Execute()
			return response, err
		})
}

// deleteImage deletes an image as far as the API can: it says that it is deleted, and
// has no size then.
func (p *Provider) deleteImage(ctx context.Context, id string) error {
	image, err := p.image(ctx, id)
	if isGone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := p.describeImage(ctx, id, sdk.ImageProperties{Description: ptr(discarded), LicenceType: image.Properties.LicenceType}); err != nil {
		if isGone(err) {
			return nil
		}
		return err
	}
	err = p.submit(ctx, "delete the image", func(ctx context.Context) (*sdk.APIResponse, error) {
		return p.api.ImagesApi.ImagesDelete(ctx, id).Execute()
	})
	if isGone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, p.pace.request)
	defer cancel()
	for {
		image, err := p.image(ctx, id)
		switch {
		case isGone(err):
			return nil
		case err != nil:
			return err
		case !alive(image) && deref(image.Properties.Size) == 0:
			return nil
		}
		if err := rest(ctx, p.pace.poll); err != nil {
			return giveUp("delete the image", err)
		}
	}
}

// deleteUpload deletes a file that is no image yet, or waits until it is one and
// deletes that.
func (p *Provider) deleteUpload(ctx context.Context, r providers.Resource) error {
	session, err := p.dialFTP(ctx)
	if err != nil {
		return err
	}
	err = session.Delete(r.ID)
	if err != nil {
		size, e := session.sizeOf(r.ID)
		if e == nil && size < 0 {
			err = nil // it is not there
		}
	}
	session.Close()
	if err == nil {
		// What was complete may have been taken already.
		list, err := p.images(ctx)
		for _, i := range list {
			if deref(i.Properties.Name) == r.Name && alive(i) {
				return p.deleteImage(ctx, *i.Id)
			}
		}
		return err
	}
	if replied(err) != ftp.StatusFileUnavailable && replied(err) != ftp.StatusNotImplemented {
		return p.ftpError("delete "+r.ID, ctx, err)
	}
	image, err := p.appears(ctx, r.Name)
	if err != nil {
		return fmt.Errorf("%w; the server for images does not delete it: ask IONOS' support to delete %s", err, r.ID)
	}
	return p.deleteImage(ctx, *image.Id)
}
