package hetzner

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"
	"golang.org/x/crypto/ssh"

	"ingot/fault"
	"ingot/providers"
)

// Upload implements providers.Provider: a temporary server of a stock Debian, whose
// host key we choose, has the image written over its disk and is kept as a snapshot.
// What was made for that is removed whatever happens, and found by the journal when
// that fails.
func (p *Provider) Upload(ctx context.Context, u providers.Upload) (image providers.Image, err error) {
	id := idOf(u.Journal)
	all, err := labels(u.Labels, providers.LabelID, id, providers.LabelImage, providers.LabelDigest(u.SHA256))
	if err != nil {
		return providers.Image{}, err
	}
	if image, found, err := p.adopt(ctx, u, all); err != nil || found {
		return image, err
	}
	if p.opts.Writer == nil {
		return providers.Image{}, errors.New("nothing was given that writes an image")
	}
	var snapshot *hcloud.Image
	defer func() {
		err = p.clear(ctx, id, "the image is uploaded", err, func(r providers.Resource) bool {
			return snapshot == nil || r.Kind != kindSnapshot || r.ID != number(snapshot.ID)
		})
	}()

	t := temporary{Provider: p, id: id, name: "ingot-upload-" + id, location: p.opts.Location, why: "upload of an image", journal: u.Journal}
	// Its disk is the smallest that the snapshot will ever fit on.
	server, err := t.start(ctx, diskFor(u.Bytes), smallest(t.location), nil)
	if err != nil {
		return providers.Image{}, err
	}
	err = t.over(ctx, server, "write the image to the temporary server", func(ctx context.Context, c *ssh.Client) error {
		p.say("writing the image")
		return p.opts.Writer(ctx, c, u)
	})
	if err != nil {
		return providers.Image{}, err
	}
	p.say("waiting for the snapshot")
	made, err := p.snapshot(ctx, server, u, all)
	if err != nil {
		return providers.Image{}, err
	}
	snapshot = made
	return toImage(made), nil
}

// adopt finds a snapshot of the same bytes, and gives it the labels of this upload:
// it may be of one that was ended before it was recorded as whole.
func (p *Provider) adopt(ctx context.Context, u providers.Upload, all map[string]string) (providers.Image, bool, error) {
	list, err := p.snapshots(ctx, providers.LabelImage+"="+all[providers.LabelImage])
	if err != nil || len(list) == 0 {
		return providers.Image{}, false, err
	}
	image, err := p.available(ctx, list[0])
	if err != nil {
		return providers.Image{}, false, err
	}
	if id := image.Labels[providers.LabelID]; u.Journal.IsDone(id) {
		all[providers.LabelID] = id // it is whole, whatever becomes of this upload
	} else if err := u.Journal.Creates(kindSnapshot, u.Name); err != nil {
		return providers.Image{}, false, err
	}
	var labelled *hcloud.Image
	err = p.call(ctx, "label the snapshot "+image.Description, func() (err error) {
		labelled, _, err = p.client.Image.Update(ctx, image, hcloud.ImageUpdateOpts{Labels: all})
		return err
	})
	if err != nil {
		return providers.Image{}, false, err
	}
	p.say("the image is there already")
	return toImage(labelled), true, nil
}

// snapshots are those with a label, the oldest first, without those that cannot be
// used any more.
func (p *Provider) snapshots(ctx context.Context, selector string) ([]*hcloud.Image, error) {
	var list []*hcloud.Image
	err := p.call(ctx, "list the snapshots", func() (err error) {
		list, err = p.client.Image.AllWithOpts(ctx, hcloud.ImageListOpts{
			ListOpts: hcloud.ListOpts{LabelSelector: selector},
			Type:     []hcloud.ImageType{hcloud.ImageTypeSnapshot},
		})
		return err
	})
	list = slices.DeleteFunc(list, func(i *hcloud.Image) bool { return i.Status == unavailable || i.IsDeleted() })
	slices.SortFunc(list, func(a, b *hcloud.Image) int { return a.Created.Compare(b.Created) })
	return list, err
}

// snapshot keeps the disk of a server that is off.
func (p *Provider) snapshot(ctx context.Context, s *hcloud.Server, u providers.Upload, all map[string]string) (*hcloud.Image, error) {
	if err := p.awaitOff(ctx, s); err != nil {
		return nil, err
	}
	var action *hcloud.Action
	image, err := create(ctx, p, u.Journal, kindSnapshot, u.Name, func() (*hcloud.Image, error) {
		result, _, err := p.client.Server.CreateImage(ctx, s, &hcloud.ServerCreateImageOpts{Type: hcloud.ImageTypeSnapshot, Description: &u.Name, Labels: all})
		action = result.Action
		return result.Image, err
	}, func() (*hcloud.Image, bool, error) {
		list, err := p.snapshots(ctx, providers.LabelID+"="+all[providers.LabelID])
		if err != nil || len(list) == 0 {
			return nil, false, err
		}
		return list[0], true, nil
	})
	if err != nil {
		return nil, err
	}
	if err := p.wait(ctx, "create the snapshot "+u.Name, action); err != nil {
		return nil, err
	}
	return p.available(ctx, image)
}

// unavailable is a status of images that the document has and the SDK has not.
const unavailable hcloud.ImageStatus = "unavailable"

// available waits until a snapshot can be used.
func (p *Provider) available(ctx context.Context, image *hcloud.Image) (*hcloud.Image, error) {
	what := fmt.Sprintf("read the snapshot %d", image.ID)
	ctx, cancel := context.WithTimeoutCause(ctx, actionTime, fault.Provider(fmt.Errorf("the snapshot %d cannot be used after %s", image.ID, actionTime)))
	defer cancel()
	missing := 0
	for n := 0; ; n++ {
		var now *hcloud.Image
		err := p.call(ctx, what, func() (err error) { now, _, err = p.client.Image.GetByID(ctx, image.ID); return err })
		switch {
		case err != nil:
			return nil, err
		case now != nil && now.Status == hcloud.ImageStatusAvailable:
			return now, nil
		case now != nil && now.Status == unavailable:
			return nil, fault.Provider(fmt.Errorf("the snapshot %d could not be made", image.ID))
		case now == nil && missing == looks:
			return nil, fault.Provider(fmt.Errorf("the snapshot %d was made and cannot be found", image.ID))
		case now == nil:
			missing++
		}
		if err := p.pause(ctx, n); err != nil {
			return nil, explain(what, errors.Join(err, cause(ctx)))
		}
	}
}

// clear removes what was made under an entry and is not needed any more, after a
// failure or when the work is done. It goes on for a while when that was interrupted.
func (p *Provider) clear(ctx context.Context, id, done string, failed error, unneeded func(providers.Resource) bool) error {
	if failed != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), p.grace)
		defer cancel()
	}
	found, err := p.Find(ctx, id)
	for _, r := range found {
		if unneeded(r) {
			err = errors.Join(err, p.Delete(ctx, r))
		}
	}
	if failed == nil && err != nil {
		return fmt.Errorf("%s, and what was needed for that is not removed: %w; run \"ingot gc\"", done, err)
	}
	return failed
}

// Images implements providers.Provider.
func (p *Provider) Images(ctx context.Context) ([]providers.Image, error) {
	list, err := p.snapshots(ctx, providers.LabelImage)
	images := []providers.Image{}
	for _, i := range list {
		images = append(images, toImage(i))
	}
	return images, err
}

// toImage calls a snapshot by its description: they have no names here.
func toImage(i *hcloud.Image) providers.Image {
	return providers.Image{ID: number(i.ID), Name: i.Description, Labels: i.Labels}
}

// diskFor is the gigabytes of a disk for so many bytes.
func diskFor(size int64) float64 { return math.Ceil(float64(size) / gigabyte) }

// shortened cuts a text to so many characters.
func shortened(text string, most int) string {
	runes := []rune(strings.ToValidUTF8(text, "?"))
	if len(runes) <= most {
		return text
	}
	return string(runes[:most-1]) + "…"
}
