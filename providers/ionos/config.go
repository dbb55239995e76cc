package ionos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/disk"
	"github.com/diskfs/go-diskfs/filesystem"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
	sdk "github.com/ionos-cloud/sdk-go/v6"

	"ingot/fault"
	"ingot/providers"
)

// The label and the file of a NoCloud volume (cloud-init, NoCloud data source).
const (
	configLabel = "cidata"
	configFile  = "user-data"
)

// configName is that of a server's CD-ROM.
func configName(server, id string, n int) string {
	name := server + "-config" + mark(id)
	if n > 1 {
		name += fmt.Sprintf("-%d", n)
	}
	return name + ".iso"
}

// config stores an instance config as an image of a CD-ROM and returns its id.
func (p *Provider) config(ctx context.Context, m providers.Machine, id string) (string, error) {
	list, err := p.images(ctx)
	if err != nil {
		return "", err
	}
	for _, i := range list {
		if marked(deref(i.Properties.Name), id) && !onDisk(i) && alive(i) {
			return deref(i.Id), nil
		}
	}
	iso, err := makeISO(m.UserData)
	if err != nil {
		return "", fault.Machine(fmt.Errorf("make the CD-ROM with the instance config: %w", err))
	}
	name := func(n int) string { return configName(m.Name, id, n) }
	if err := m.Journal.Creates("image", name(1)); err != nil {
		return "", err
	}
	c := &cargo{image: readerAt(iso), bytes: int64(len(iso))}
	file, err := p.sendUnlessListed(ctx, list, discFolder, name, c)
	if err != nil {
		return "", err
	}
	labels := map[string]string{providers.LabelServer: m.Name}
	image, err := p.adopt(ctx, file, 0, sdk.ImageProperties{
		Description: ptr(describe(m.Name+" config", withID(labels, id))),
		LicenceType: ptr("OTHER"),
	})
	return image.ID, err
}

// makeISO returns an ISO 9660 volume with the config. It is written in a folder that
// only this user can read, and nothing of it stays.
func makeISO(config []byte) (iso []byte, err error) {
	dir, err := os.MkdirTemp("", "ingot-config-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	file := filepath.Join(dir, "config.iso")
	if err := writeISO(file, filepath.Join(dir, "tree"), config); err != nil {
		return nil, err
	}
	return os.ReadFile(file)
}

func writeISO(file, tree string, config []byte) error {
	if err := os.Mkdir(tree, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(tree, configFile), config, 0o600); err != nil {
		return err
	}
	// NoCloud wants it, if only to be there.
	if err := os.WriteFile(filepath.Join(tree, "meta-data"), nil, 0o600); err != nil {
		return err
	}
	d, err := diskfs.Create(file, int64(len(config))+1<<20, diskfs.SectorSizeDefault)
	if err != nil {
		return err
	}
	defer d.Close()
	d.LogicalBlocksize = 2048
	made, err := d.CreateFilesystem(disk.FilesystemSpec{FSType: filesystem.TypeISO9660, VolumeLabel: configLabel, WorkDir: tree})
	if err != nil {
		return err
	}
	iso, ok := made.(*iso9660.FileSystem)
	if !ok {
		return fmt.Errorf("a %T is no ISO 9660", made)
	}
	return iso.Finalize(iso9660.FinalizeOptions{RockRidge: true, VolumeIdentifier: configLabel})
}
