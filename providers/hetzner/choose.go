package hetzner

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"ingot/fault"
)

// gigabyte is taken for the smaller of the two that the API may mean by GB: what is
// computed to fit does.
const gigabyte = 1_000_000_000

// serverTypes are those for amd64 that a location offers and that have a disk of so
// many gigabytes at least, in the order of less.
func (p *Provider) serverTypes(ctx context.Context, location string, disk float64, less func(a, b *hcloud.ServerType) int) ([]*hcloud.ServerType, error) {
	var all []*hcloud.ServerType
	err := p.call(ctx, "list the server types", func() (err error) { all, err = p.client.ServerType.All(ctx); return err })
	if err != nil {
		return nil, err
	}
	fits := slices.DeleteFunc(all, func(t *hcloud.ServerType) bool {
		return t.Architecture != hcloud.ArchitectureX86 || float64(t.Disk) < disk || !isOffered(t, location)
	})
	if len(fits) == 0 {
		return nil, fault.Input(fmt.Errorf("no server type in %s has a disk of %.0f GB: choose another location", location, disk))
	}
	slices.SortStableFunc(fits, less)
	return fits, nil
}

func isOffered(t *hcloud.ServerType, location string) bool {
	return slices.ContainsFunc(t.Locations, func(l hcloud.ServerTypeLocation) bool {
		return l.Location.Name == location && !l.IsDeprecated()
	})
}

// price is what an hour costs in a location; of those without one nothing is known.
func price(t *hcloud.ServerType, location string) float64 {
	for _, p := range t.Pricings {
		if p.Location.Name == location {
			if hour, err := strconv.ParseFloat(p.Hourly.Net, 64); err == nil {
				return hour
			}
		}
	}
	return 1e9
}

// smallest is the order for temporary servers: a snapshot fits only on disks that are
// as large as the one it is of.
func smallest(location string) func(a, b *hcloud.ServerType) int {
	return func(a, b *hcloud.ServerType) int {
		return cmp.Or(cmp.Compare(a.Disk, b.Disk), cheapest(location)(a, b))
	}
}

func cheapest(location string) func(a, b *hcloud.ServerType) int {
	return func(a, b *hcloud.ServerType) int { return cmp.Compare(price(a, location), price(b, location)) }
}

// stockDebian is the newest Debian that Hetzner has.
func (p *Provider) stockDebian(ctx context.Context) (*hcloud.Image, error) {
	var all []*hcloud.Image
	err := p.call(ctx, "list the system images", func() (err error) {
		all, err = p.client.Image.AllWithOpts(ctx, hcloud.ImageListOpts{
			Type: []hcloud.ImageType{hcloud.ImageTypeSystem}, Status: []hcloud.ImageStatus{hcloud.ImageStatusAvailable},
			Architecture: []hcloud.Architecture{hcloud.ArchitectureX86},
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	version := func(i *hcloud.Image) float64 {
		v, err := strconv.ParseFloat(i.OSVersion, 64)
		if err != nil || i.OSFlavor != "debian" {
			return 0
		}
		return v
	}
	if len(all) > 0 {
		if newest := slices.MaxFunc(all, func(a, b *hcloud.Image) int { return cmp.Compare(version(a), version(b)) }); version(newest) > 0 {
			return newest, nil
		}
	}
	return nil, fault.Provider(fmt.Errorf("there is no stock image of Debian here to write an image from"))
}
