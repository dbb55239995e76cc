package ionos

import (
	"context"
	"errors"
	"fmt"
	"strings"

	sdk "github.com/ionos-cloud/sdk-go/v6"

	"ingot/fault"
	"ingot/providers"
)

// The kinds of what Ingot makes.
const (
	kindServer     = "server"
	kindVolume     = "volume"
	kindLAN        = "lan"
	kindBlock      = "ipblock"
	kindImage      = "image"
	kindUpload     = "upload" // a file that was sent and is no image yet
	kindDatacenter = "datacenter"
)

// Find implements [providers.Provider].
func (p *Provider) Find(ctx context.Context, id string) ([]providers.Resource, error) {
	if id == "" {
		return nil, fault.Input(errors.New("what shall be found? there is no number of an entry"))
	}
	labels, err := p.labels(ctx)
	if err != nil {
		return nil, err
	}
	// What is deleted in the middle of a move may be what the other server needs.
	if err := checkAtRest(labels, id); err != nil {
		return nil, err
	}
	if err := p.checkAddressAtRest(ctx, labels, id); err != nil {
		return nil, err
	}
	centers, err := p.datacenters(ctx)
	if err != nil {
		return nil, err
	}
	f := finder{id: id, labels: labels, found: map[string][]providers.Resource{}}
	for _, d := range centers {
		if err := p.findIn(ctx, d, &f); err != nil && !isGone(err) {
			return nil, err
		}
	}
	if err := p.findBlocks(ctx, &f); err != nil {
		return nil, err
	}
	if err := p.findImages(ctx, &f); err != nil {
		return nil, err
	}
	var all []providers.Resource
	for _, kind := range []string{kindServer, kindVolume, kindLAN, kindBlock, kindImage, kindUpload, kindDatacenter} {
		all = append(all, f.found[kind]...)
	}
	return all, nil
}

// finder collects what carries a number.
type finder struct {
	id     string
	labels map[string]map[string]string
	found  map[string][]providers.Resource
}

// take adds something that carries the number, by its name or its label, and reports
// whether it does. The label counts for more: it changes with the owner.
func (f *finder) take(kind, id, inner, name string) bool {
	owner := f.labels[inner][providers.LabelID]
	if owner != f.id && (owner != "" || !marked(name, f.id)) {
		return false
	}
	f.found[kind] = append(f.found[kind], providers.Resource{Kind: kind, ID: id, Name: name})
	return true
}

// findIn looks into a data center. The data center itself is found when Ingot has made
// it and nothing else is in it.
func (p *Provider) findIn(ctx context.Context, d sdk.Datacenter, f *finder) error {
	all, err := p.contents(ctx, *d.Id)
	if err != nil {
		return err
	}
	others := false
	for _, r := range all {
		_, inner, _ := strings.Cut(r.ID, "/")
		// A volume that has moved has another name, too: one of the two lists is of before.
		if r.Kind == kindVolume && f.labels[inner][labelState] != "" && marked(r.Name, f.id) != (f.labels[inner][providers.LabelID] == f.id) {
			return fault.Provider(fmt.Errorf("IONOS shows the volume %s with the label of another server than its name says, as after a move of its state; run the command again in a minute", r.Name))
		}
		if !f.take(r.Kind, r.ID, inner, r.Name) {
			others = true
		}
	}
	_, labels, ok := described(deref(d.Properties.Description))
	if ok && labels[providers.LabelID] == f.id && !others {
		f.found[kindDatacenter] = append(f.found[kindDatacenter], providers.Resource{Kind: kindDatacenter, ID: *d.Id, Name: deref(d.Properties.Name)})
	}
	return nil
}

// contents are all servers, volumes and networks of a data center.
func (p *Provider) contents(ctx context.Context, dc string) ([]providers.Resource, error) {
	var all []providers.Resource
	servers, err := p.servers(ctx, dc)
	if err != nil {
		return nil, err
	}
	for _, s := range servers {
		all = append(all, providers.Resource{Kind: kindServer, ID: join(dc, *s.Id), Name: deref(s.Properties.Name)})
	}
	volumes, err := p.volumes(ctx, dc)
	if err != nil {
		return nil, err
	}
	for _, v := range volumes {
		all = append(all, providers.Resource{Kind: kindVolume, ID: join(dc, *v.Id), Name: deref(v.Properties.Name)})
	}
	lans, err := p.lans(ctx, dc)
	if err != nil {
		return nil, err
	}
	for _, l := range lans {
		all = append(all, providers.Resource{Kind: kindLAN, ID: join(dc, *l.Id), Name: deref(l.Properties.Name)})
	}
	return all, nil
}

// volumes are all of a data center.
func (p *Provider) volumes(ctx context.Context, dc string) ([]sdk.Volume, error) {
	list, response, err := p.api.VolumesApi.DatacentersVolumesGet(ctx, dc).Depth(1).Limit(pageSize).Execute()
	if err := checkAnswer("list the volumes", response, err); err != nil {
		return nil, err
	}
	for _, v := range deref(list.Items) {
		if v.Properties == nil || v.Id == nil {
			return nil, fault.Provider(errors.New("list the volumes: IONOS leaves out their properties"))
		}
	}
	return deref(list.Items), nil
}

func (p *Provider) findBlocks(ctx context.Context, f *finder) error {
	blocks, err := p.blocks(ctx)
	for _, b := range blocks {
		f.take(kindBlock, *b.Id, *b.Id, deref(b.Properties.Name))
	}
	return err
}

// findImages finds images, and files that will become some.
func (p *Provider) findImages(ctx context.Context, f *finder) error {
	images, err := p.images(ctx)
	if err != nil {
		return err
	}
	listed := map[string]bool{}
	for _, i := range images {
		name := deref(i.Properties.Name)
		listed[name] = true
		_, labels, _ := described(deref(i.Properties.Description))
		if stateDigest(i) != "" {
			continue // everybody's: see stateImage
		}
		if alive(i) && (labels[providers.LabelID] == f.id || marked(name, f.id)) {
			f.found[kindImage] = append(f.found[kindImage], providers.Resource{Kind: kindImage, ID: *i.Id, Name: name})
		}
	}
	if p.opts.User == "" {
		return nil // without a password nothing was uploaded from here
	}
	session, err := p.dialFTP(ctx)
	if err != nil {
		return err
	}
	defer session.Close()
	for _, folder := range []string{diskFolder, discFolder} {
		names, err := session.fileNames(folder)
		if err != nil {
			return p.ftpError("list the server for images", ctx, err)
		}
		for _, name := range names {
			if marked(name, f.id) && !listed[name] {
				f.found[kindUpload] = append(f.found[kindUpload], providers.Resource{Kind: kindUpload, ID: folder + "/" + name, Name: name})
			}
		}
	}
	return nil
}
