package openstack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imagedata"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"

	"ingot/fault"
	"ingot/providers"
)

const (
	// uploadAttempts is how often an image is sent whose transfer broke.
	uploadAttempts = 3
	// importTime is how long a service may work on an image that it has.
	importTime = 15 * time.Minute
	// imageTag is on all of our images, for people and for a short list.
	imageTag = "ingot"
)

// Upload implements providers.Provider: an image is taken for whole when the service
// says so and its digest is that of what was sent. What an earlier try of the same
// work has left half is replaced.
func (p *Provider) Upload(ctx context.Context, u providers.Upload) (providers.Image, error) {
	labels := labelsOf(u.Labels, u.Journal)
	for n := 1; ; n++ {
		whole, half, err := p.sameImages(ctx, labels, u.Bytes)
		if err != nil {
			return providers.Image{}, err
		}
		if whole != nil {
			return imageOf(*whole), nil
		}
		for _, i := range half {
			if err := p.deleteImage(ctx, i.ID); err != nil {
				return providers.Image{}, err
			}
		}
		image, err := p.uploadOnce(ctx, u, labels)
		if !isUnsure(err) || n == uploadAttempts {
			return image, err
		}
	}
}

// errBytes is for bytes that are not those that were to be sent. Sending them again
// does not help.
var errBytes = errors.New("the bytes differ")

func (p *Provider) uploadOnce(ctx context.Context, u providers.Upload, labels map[string]string) (providers.Image, error) {
	image, err := p.createImage(ctx, u, labels)
	if err != nil {
		return providers.Image{}, err
	}
	from := newSource(u.Image, u.Bytes, u.Progress)
	sent := p.wrap("send the image "+u.Name, imagedata.Upload(withSize(ctx, u.Bytes), p.image, image.ID, from).ExtractErr())
	if sent != nil && !isUnsure(sent) {
		return providers.Image{}, sent
	}
	// Without an answer it may still be there.
	image, err = p.settled(ctx, image.ID)
	if err != nil {
		return providers.Image{}, err
	}
	if image.Status != images.ImageStatusActive {
		if sent != nil {
			return providers.Image{}, sent
		}
		return providers.Image{}, p.wrap("keep the image "+u.Name, fmt.Errorf("the service has put it into the state %q", image.Status))
	}
	if err := p.verify(ctx, image, u, from); err != nil {
		return providers.Image{}, errors.Join(err, p.deleteImage(ctx, image.ID))
	}
	return imageOf(*image), nil
}

// createImage makes the record that the bytes go to.
func (p *Provider) createImage(ctx context.Context, u providers.Upload, labels map[string]string) (*images.Image, error) {
	private := images.ImageVisibilityPrivate
	properties := map[string]string{
		// hw_firmware_type is not set: the image boots both ways.
		"architecture": "x86_64",
		"os_type":      "linux",
		"os_distro":    "debian",
		"hw_disk_bus":  "virtio",
	}
	for name, value := range labels {
		properties[name] = value
	}
	request := images.CreateOpts{
		Name: u.Name, DiskFormat: "raw", ContainerFormat: "bare", Visibility: &private,
		MinDisk: p.minDisk(u.Bytes), Tags: []string{imageTag}, Properties: properties,
	}
	if labels[labelState] != "" {
		request.MinDisk = 1 // nothing boots from it
	}
	return ensure(ctx, p, u.Journal, maker[*images.Image]{
		kind: kindImage, name: u.Name,
		look: func(ctx context.Context) (*images.Image, bool, error) {
			_, half, err := p.sameImages(ctx, labels, u.Bytes)
			for _, i := range half {
				if i.Status == images.ImageStatusQueued {
					return &i, true, nil
				}
			}
			return nil, false, err
		},
		make: func(ctx context.Context) (*images.Image, error) {
			return images.Create(ctx, p.image, request).Extract()
		},
	})
}

// minDisk is in GiB.
func (p *Provider) minDisk(bytes int64) int {
	least := p.options.MinDisk
	if least == 0 {
		least = defaultMinDisk
	}
	return max(least, int((bytes+1<<30-1)>>30))
}

// settled waits until a service has made up its mind about an image.
func (p *Provider) settled(ctx context.Context, id string) (image *images.Image, err error) {
	err = p.await(ctx, "the service's work on the image", importTime, func(ctx context.Context) (bool, error) {
		image, err = images.Get(ctx, p.image, id).Extract()
		if err != nil {
			return false, p.wrap("look at the image", err)
		}
		return image.Status != images.ImageStatusSaving && image.Status != images.ImageStatusImporting, nil
	})
	return image, err
}

// verify compares what was to be sent, what was read here and what arrived there.
func (p *Provider) verify(ctx context.Context, image *images.Image, u providers.Upload, from *source) error {
	if got := from.sum.hex("sha256"); got != u.SHA256 {
		return fault.Input(fmt.Errorf("the image %s has changed while it was sent: its SHA-256 is %s, not %s; build it again: %w", u.Name, got, u.SHA256, errBytes))
	}
	if image.SizeBytes != u.Bytes {
		return p.arrivedOtherwise(u, fmt.Sprintf("%d bytes of %d", image.SizeBytes, u.Bytes))
	}
	if image.Checksum != "" && image.Checksum != hex.EncodeToString(from.old.Sum(nil)) {
		return p.arrivedOtherwise(u, "the checksum "+image.Checksum)
	}
	algorithm, _ := image.Properties["os_hash_algo"].(string)
	value, _ := image.Properties["os_hash_value"].(string)
	if want := from.sum.hex(algorithm); want != "" && value != "" {
		if value != want {
			return p.arrivedOtherwise(u, "the "+algorithm+" "+value)
		}
		return nil
	}
	return p.readBack(ctx, image.ID, u)
}

// readBack is for services that say nothing about what they keep.
func (p *Provider) readBack(ctx context.Context, id string, u providers.Upload) error {
	body, err := imagedata.Download(ctx, p.image, id).Extract()
	if err != nil {
		return p.wrap("read the image back", err)
	}
	defer body.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, io.LimitReader(body, u.Bytes+1)); err != nil {
		return p.wrap("read the image back", err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != u.SHA256 {
		return p.arrivedOtherwise(u, "the SHA-256 "+got)
	}
	return nil
}

func (p *Provider) arrivedOtherwise(u providers.Upload, how string) error {
	return fault.Provider(fmt.Errorf("the service has got another image than %s: it has %s; it was removed again: %w", u.Name, how, errBytes))
}
