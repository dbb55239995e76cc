package libvirt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	api "github.com/digitalocean/go-libvirt"

	"ingot/fault"
	"ingot/providers"
)

// note is what a small volume beside an image's says. It is written when the image
// has been read back: an image without one is not whole.
type note struct {
	Name   string            `json:"name"`
	SHA256 string            `json:"sha256"`
	Bytes  int64             `json:"bytes"`
	Labels map[string]string `json:"labels"`
}

// maxNote is how large a note may be, in bytes.
const maxNote = 64 << 10

// Upload implements providers.Provider.
func (p *Provider) Upload(ctx context.Context, u providers.Upload) (providers.Image, error) {
	id, err := labelID(u.Labels)
	if err != nil {
		return providers.Image{}, err
	}
	if !digestForm.MatchString(u.SHA256) || u.Bytes <= 0 {
		return providers.Image{}, fault.Input(errors.New("an upload needs the image's size and its SHA-256 in hex"))
	}
	there, err := p.Images(ctx)
	if err != nil {
		return providers.Image{}, err
	}
	name := imageVolume(id, u.SHA256)
	for _, i := range there {
		if i.ID == imageVolume(volumeID(i.ID), u.SHA256) && sameLabels(i.Labels, u.Labels) {
			return i, nil
		}
	}
	if err := p.uploadImage(ctx, name, u); err != nil {
		return providers.Image{}, err
	}
	n := note{u.Name, u.SHA256, u.Bytes, u.Labels}
	if err := p.writeNote(ctx, noteName(name), n, u.Journal); err != nil {
		return providers.Image{}, err
	}
	return providers.Image{ID: name, Name: u.Name, Labels: u.Labels}, nil
}

// sameLabels: the number of the entry in the journal differs from upload to upload.
func sameLabels(a, b map[string]string) bool {
	a, b = maps.Clone(a), maps.Clone(b)
	delete(a, providers.LabelID)
	delete(b, providers.LabelID)
	return maps.Equal(a, b)
}

// uploadImage makes the volume, fills it and reads it back. What an earlier try has
// left goes first.
func (p *Provider) uploadImage(ctx context.Context, name string, u providers.Upload) error {
	for _, left := range []string{noteName(name), name} {
		if err := p.deleteVolume(ctx, left); err != nil {
			return err
		}
	}
	if err := p.room(ctx, u.Bytes); err != nil {
		return err
	}
	if err := u.Journal.Creates(kindVolume, name); err != nil {
		return err
	}
	volume, err := p.createVolume(ctx, name, u.Bytes)
	if err != nil {
		return err
	}
	if err := p.fill(ctx, volume, u.Image, u.Bytes, u.Progress); err != nil {
		return err
	}
	sum, err := p.sum(ctx, volume, u.Bytes)
	if err == nil && sum != u.SHA256 {
		err = fault.Provider(fmt.Errorf("the volume %s does not hold the image: its SHA-256 is %s and not %s; look for errors of the disk and upload again", name, sum, u.SHA256))
	}
	return err
}

func noteName(image string) string { return strings.TrimSuffix(image, ".raw") + ".json" }

func (p *Provider) writeNote(ctx context.Context, name string, n note, journal *providers.Entry) error {
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return p.writeVolume(ctx, name, append(text, '\n'), journal)
}

// writeVolume makes a volume of a few bytes.
func (p *Provider) writeVolume(ctx context.Context, name string, content []byte, journal *providers.Entry) error {
	if err := journal.Creates(kindVolume, name); err != nil {
		return err
	}
	volume, err := p.createVolume(ctx, name, int64(len(content)))
	if err != nil {
		return err
	}
	return p.fill(ctx, volume, bytes.NewReader(content), int64(len(content)), nil)
}

// Images implements providers.Provider: those that are whole.
func (p *Provider) Images(ctx context.Context) ([]providers.Image, error) {
	volumes, err := p.volumes(ctx)
	if err != nil {
		return nil, err
	}
	var list []providers.Image
	for _, name := range slices.Sorted(maps.Keys(volumes)) {
		image := strings.TrimSuffix(name, ".json") + ".raw"
		if _, whole := volumes[image]; !whole || !strings.HasSuffix(name, ".json") {
			continue
		}
		n, err := p.readNote(ctx, volumes[name])
		if err != nil {
			return nil, err
		}
		if n != nil && imageVolume(volumeID(image), n.SHA256) == image {
			list = append(list, providers.Image{ID: image, Name: n.Name, Labels: n.Labels})
		}
	}
	return list, nil
}

// readNote is nil for one that was cut short.
func (p *Provider) readNote(ctx context.Context, volume api.StorageVol) (*note, error) {
	size, err := p.capacity(ctx, volume)
	if err != nil || size > maxNote {
		return nil, err
	}
	var b bytes.Buffer
	if err := p.receive(ctx, volume, size, &b); err != nil {
		if isGone(err) {
			return nil, nil
		}
		return nil, err
	}
	var n note
	if json.Unmarshal(b.Bytes(), &n) != nil {
		return nil, nil
	}
	return &n, nil
}

// capacity is a volume's size in bytes, 0 for one that is gone.
func (p *Provider) capacity(ctx context.Context, volume api.StorageVol) (int64, error) {
	size, err := ask(ctx, p, "look at the volume "+volume.Name, func(l *api.Libvirt) (int64, error) {
		_, capacity, _, err := l.StorageVolGetInfo(volume)
		return int64(capacity), err
	})
	if isGone(err) {
		return 0, nil
	}
	return size, err
}
