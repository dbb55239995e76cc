package ionos

import (
	"context"
	"errors"
	"fmt"

	sdk "github.com/ionos-cloud/sdk-go/v6"

	"ingot/fault"
	"ingot/providers"
)

// gib is the unit of sizes in the API, which calls it GB.
const gib = 1 << 30

// Upload implements [providers.Provider].
func (p *Provider) Upload(ctx context.Context, u providers.Upload) (providers.Image, error) {
	id, err := entryOf(u.Labels, u.Journal)
	if err != nil {
		return providers.Image{}, err
	}
	if err := checkName(u.Name); err != nil {
		return providers.Image{}, err
	}
	if len(u.SHA256) != 64 {
		return providers.Image{}, fault.Input(errors.New("the image has no SHA-256"))
	}
	labels := withID(u.Labels, id)
	list, err := p.images(ctx)
	if err != nil {
		return providers.Image{}, err
	}
	for _, i := range list {
		if _, have, ok := described(deref(i.Properties.Description)); ok && alive(i) && sameBut(have, labels) && have[providers.LabelImage] != "" && onDisk(i) {
			return imageOf(i), nil
		}
	}
	name := func(n int) string { return imageName(u.SHA256, id, n) }
	if err := u.Journal.Creates("image", name(1)); err != nil {
		return providers.Image{}, err
	}
	c := &cargo{image: u.Image, bytes: u.Bytes, sha256: u.SHA256, progress: u.Progress}
	file, err := p.sendUnlessListed(ctx, list, diskFolder, name, c)
	if err != nil {
		return providers.Image{}, err
	}
	return p.adopt(ctx, file, u.Bytes, diskProperties(describe(u.Name, labels)))
}

// imageName is a disk's: the digest, the entry, and which try it is.
func imageName(sha256, id string, n int) string {
	name := providers.LabelDigest(sha256) + mark(id)
	if n > 1 {
		name += fmt.Sprintf("-%d", n)
	}
	return name + ".raw"
}

// sendUnlessListed sends a file that the API does not list yet: one that it lists was
// complete, for IONOS, when it was last seen.
func (p *Provider) sendUnlessListed(ctx context.Context, list []sdk.Image, folder string, name func(int) string, c *cargo) (string, error) {
	taken := map[string]bool{}
	for _, i := range list {
		taken[deref(i.Properties.Name)] = true
	}
	free := 1
	for taken[name(free)] {
		free++
	}
	file, err := p.send(ctx, folder, func(n int) string { return name(n + free - 1) }, c)
	if err == nil && p.opts.ReadBack {
		err = p.readBack(ctx, folder+"/"+file, c)
	}
	return file, err
}

// diskProperties are those of Ingot's disks. All of it is virtio, so everything can be
// added while it runs; nothing can be taken away.
func diskProperties(description string) sdk.ImageProperties {
	return sdk.ImageProperties{
		Description:       ptr(description),
		LicenceType:       ptr("LINUX"),
		CloudInit:         ptr("NONE"),
		RequireLegacyBios: ptr(false),
		CpuHotPlug:        ptr(true),
		RamHotPlug:        ptr(true),
		NicHotPlug:        ptr(true),
		DiscVirtioHotPlug: ptr(true),
	}
}

// adopt waits until IONOS lists an uploaded file, and says what it is.
func (p *Provider) adopt(ctx context.Context, file string, bytes int64, properties sdk.ImageProperties) (providers.Image, error) {
	found, err := p.appears(ctx, file)
	if err != nil {
		return providers.Image{}, err
	}
	// In whole GB: it finds an image that was cut short by more than that.
	if want := float64((bytes + gib - 1) / gib); float64(deref(found.Properties.Size)) < want {
		return providers.Image{}, fault.Provider(fmt.Errorf("IONOS shows %v GB of the image %s, which has %v: its upload was cut short", deref(found.Properties.Size), file, want))
	}
	return p.describeImage(ctx, deref(found.Id), properties)
}

// describeImage sets an image's properties and returns it as it is then.
func (p *Provider) describeImage(ctx context.Context, id string, properties sdk.ImageProperties) (providers.Image, error) {
	err := p.repeat(ctx, "describe the image", func(ctx context.Context) (*sdk.APIResponse, error) {
		_, r, err := p.api.ImagesApi.ImagesPatch(ctx, id).Image(properties).Execute()
		return r, err
	})
	if err != nil {
		return providers.Image{}, err
	}
	image, err := p.image(ctx, id)
	if err != nil {
		return providers.Image{}, err
	}
	// What a read shows may be older than what was accepted.
	image.Properties.Description = properties.Description
	return imageOf(image), nil
}

// appears waits for an image by the name of its file.
func (p *Provider) appears(ctx context.Context, file string) (sdk.Image, error) {
	ctx, cancel := context.WithTimeout(ctx, p.pace.image)
	defer cancel()
	for {
		list, err := p.images(ctx)
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return sdk.Image{}, err
		}
		for _, i := range list {
			if deref(i.Properties.Name) == file && alive(i) && (!onDisk(i) || deref(i.Properties.Size) > 0) && !isBusyState(i.Metadata) {
				return i, nil
			}
		}
		if err := rest(ctx, p.pace.slow); err != nil {
			return sdk.Image{}, giveUp("wait for the image "+file+" to appear", err)
		}
	}
}

func isBusyState(m *sdk.DatacenterElementMetadata) bool {
	return m != nil && m.State != nil && *m.State == sdk.Busy
}

// images are all private ones of this location, deleted ones too.
func (p *Provider) images(ctx context.Context) ([]sdk.Image, error) {
	list, response, err := p.api.ImagesApi.ImagesGet(ctx).Depth(1).Execute()
	if err := checkAnswer("list the images", response, err); err != nil {
		return nil, err
	}
	var mine []sdk.Image
	for _, i := range deref(list.Items) {
		if i.Properties == nil || i.Id == nil {
			return nil, fault.Provider(errors.New("list the images: IONOS leaves out their properties"))
		}
		if !deref(i.Properties.Public) && deref(i.Properties.Location) == p.opts.Location {
			mine = append(mine, i)
		}
	}
	return mine, nil
}

func (p *Provider) image(ctx context.Context, id string) (sdk.Image, error) {
	i, response, err := p.api.ImagesApi.ImagesFindById(ctx, id).Execute()
	if err := checkAnswer("look at the image", response, err); err != nil {
		return sdk.Image{}, err
	}
	if i.Properties == nil {
		return sdk.Image{}, fault.Provider(errors.New("look at the image: IONOS leaves out its properties"))
	}
	return i, nil
}

// discarded is the description of what Ingot has deleted. The entry stays.
const discarded = "deleted by Ingot"

// alive reports whether an image was not deleted: the API sets the size of those that
// were to nothing. A CD-ROM may be so small that it has none from the start.
func alive(i sdk.Image) bool {
	if deref(i.Properties.Description) == discarded {
		return false
	}
	return !onDisk(i) || i.Properties.Size == nil || *i.Properties.Size > 0
}

func onDisk(i sdk.Image) bool { return deref(i.Properties.ImageType) != "CDROM" }

func imageOf(i sdk.Image) providers.Image {
	name, labels, _ := described(deref(i.Properties.Description))
	if name == "" {
		name = deref(i.Properties.Name)
	}
	return providers.Image{ID: deref(i.Id), Name: name, Labels: labels}
}

// Images implements [providers.Provider].
func (p *Provider) Images(ctx context.Context) ([]providers.Image, error) {
	list, err := p.images(ctx)
	if err != nil {
		return nil, err
	}
	var mine []providers.Image
	for _, i := range list {
		if _, _, ok := described(deref(i.Properties.Description)); ok && alive(i) && onDisk(i) && stateDigest(i) == "" {
			mine = append(mine, imageOf(i))
		}
	}
	return mine, nil
}
