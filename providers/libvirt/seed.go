package libvirt

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/disk"
	"github.com/diskfs/go-diskfs/filesystem"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
)

// The machine looks for its config in this file of a volume with this label (NoCloud;
// docs/image.md, "Where the config comes from"). QEMU's fw_cfg would come first there,
// but libvirt takes its content from a file on its own host only.
const (
	seedLabel = "cidata"
	seedFile  = "user-data"
)

// seed makes an ISO 9660 volume with the instance config. The library works on files:
// they are in a folder that only this user may enter, and are removed.
func seed(config []byte) (content []byte, err error) {
	dir, err := os.MkdirTemp("", "ingot-config-") // mode 0700
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	file, work := filepath.Join(dir, "config.iso"), filepath.Join(dir, "work")
	if err := os.Mkdir(work, 0o700); err != nil {
		return nil, err
	}
	// Room for the volume's descriptors; the library needs less than 1 MiB.
	d, err := diskfs.Create(file, int64(len(config))+1<<20, diskfs.SectorSizeDefault)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	d.LogicalBlocksize = 2048
	fs, err := d.CreateFilesystem(disk.FilesystemSpec{FSType: filesystem.TypeISO9660, VolumeLabel: seedLabel, WorkDir: work})
	if err != nil {
		return nil, err
	}
	for _, f := range []struct {
		name    string
		content []byte
	}{{seedFile, config}, {"meta-data", nil}} { // cloud-init wants both
		if err := put(fs, f.name, f.content); err != nil {
			return nil, err
		}
	}
	iso, ok := fs.(*iso9660.FileSystem)
	if !ok {
		return nil, fmt.Errorf("a %T is no ISO 9660", fs)
	}
	if err := iso.Finalize(iso9660.FinalizeOptions{RockRidge: true, VolumeIdentifier: seedLabel}); err != nil {
		return nil, err
	}
	return os.ReadFile(file)
}

func put(fs filesystem.FileSystem, name string, content []byte) error {
	f, err := fs.OpenFile(name, os.O_CREATE|os.O_RDWR)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}
