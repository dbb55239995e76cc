package openstack

import (
	"context"

	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"

	"ingot/providers"
)

// listImages are all of ours in the project, half ones too.
func (p *Provider) listImages(ctx context.Context) ([]images.Image, error) {
	pages, err := images.List(p.image, images.ListOpts{Owner: p.project, Tags: []string{imageTag}}).AllPages(ctx)
	if err != nil {
		return nil, p.wrap("list the images", err)
	}
	all, err := images.ExtractImages(pages)
	if err != nil {
		return nil, p.wrap("list the images", err)
	}
	var ours []images.Image
	for _, i := range all {
		if ourLabels(i.Properties)[providers.LabelImage] != "" || ourLabels(i.Properties)[providers.LabelID] != "" {
			ours = append(ours, i)
		}
	}
	return ours, nil
}

// sameImages finds one that is whole and has these labels, and those that the same
// piece of work has left half. Half ones of other work are not touched: they may be
// on their way, and if not "ingot gc" finds them.
func (p *Provider) sameImages(ctx context.Context, labels map[string]string, bytes int64) (whole *images.Image, half []images.Image, err error) {
	all, err := p.listImages(ctx)
	for _, i := range all {
		theirs := ourLabels(i.Properties)
		if !sameLabels(theirs, labels) {
			continue
		}
		switch {
		case i.Status == images.ImageStatusActive && i.SizeBytes == bytes:
			whole = &i
		case isHalf(i.Status) && theirs[providers.LabelID] == labels[providers.LabelID]:
			half = append(half, i)
		}
	}
	return whole, half, err
}

// isHalf reports whether an image has a state that comes before "active", or instead.
func isHalf(status images.ImageStatus) bool {
	switch status {
	case images.ImageStatusQueued, images.ImageStatusSaving, images.ImageStatusImporting, images.ImageStatusKilled:
		return true
	}
	return false
}

// Images implements providers.Provider: the whole ones that servers can be made of.
func (p *Provider) Images(ctx context.Context) ([]providers.Image, error) {
	all, err := p.listImages(ctx)
	var list []providers.Image
	for _, i := range all {
		if i.Status == images.ImageStatusActive && ourLabels(i.Properties)[labelState] == "" {
			list = append(list, imageOf(i))
		}
	}
	return list, err
}

func imageOf(i images.Image) providers.Image {
	return providers.Image{ID: i.ID, Name: i.Name, Labels: ourLabels(i.Properties)}
}

// deleteImage removes an image, whole or not.
func (p *Provider) deleteImage(ctx context.Context, id string) error {
	err := images.Delete(ctx, p.image, id).ExtractErr()
	if isNotFound(err) {
		return nil
	}
	return p.wrap("delete the image "+id, err)
}
