package assay

import (
	"errors"
	"fmt"
	"os"
	"path"

	"github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/disk"
	"github.com/diskfs/go-diskfs/filesystem"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"

	"ingot/qemu-tests/vm"
)

// userDataIn is where user-data lies on a volume, by the volume's label.
var userDataIn = map[string]string{
	"cidata":   "user-data",                  // NoCloud
	"config-2": "openstack/latest/user_data", // OpenStack's config drive
}

// volumes makes a read-only volume with user-data for each label.
func (s *scene) volumes(content map[string][]byte) ([]vm.ExtraDisk, error) {
	var disks []vm.ExtraDisk
	for _, label := range []string{"cidata", "config-2"} {
		if content[label] == nil {
			continue
		}
		file := s.path(label + ".iso")
		if err := writeISO(file, label, userDataIn[label], content[label]); err != nil {
			return nil, fmt.Errorf("make the volume %s: %w", label, err)
		}
		disks = append(disks, vm.ExtraDisk{Path: file, Overlay: true})
	}
	return disks, nil
}

// writeISO makes an ISO 9660 volume with one file.
func writeISO(file, label, name string, content []byte) error {
	d, err := diskfs.Create(file, int64(len(content))+8<<20, diskfs.SectorSizeDefault)
	if err != nil {
		return err
	}
	defer d.Close()
	d.LogicalBlocksize = 2048
	fs, err := d.CreateFilesystem(disk.FilesystemSpec{FSType: filesystem.TypeISO9660, VolumeLabel: label})
	if err != nil {
		return err
	}
	if dir := path.Dir(name); dir != "." {
		if err := fs.Mkdir(dir); err != nil {
			return err
		}
	}
	if err := writeFile(fs, name, content); err != nil {
		return err
	}
	iso, ok := fs.(*iso9660.FileSystem)
	if !ok {
		return fmt.Errorf("a %T is no ISO 9660", fs)
	}
	return iso.Finalize(iso9660.FinalizeOptions{RockRidge: true, VolumeIdentifier: label})
}

func writeFile(fs filesystem.FileSystem, name string, content []byte) error {
	f, err := fs.OpenFile(name, os.O_CREATE|os.O_RDWR)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}
