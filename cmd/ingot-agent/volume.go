package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// volume is a file system with one of these labels that holds a config.
type volume struct {
	labels []string // any of them
	file   string   // path of the config below its root
}

// read takes the config of the first volume, by device name, that has the file.
func (v volume) read(ctx context.Context) ([]byte, error) {
	devices, err := labelled(ctx, v.labels)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, device := range devices {
		b, err := readVolume(ctx, device, v.file)
		if err == nil {
			return b, nil
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		return nil, fs.ErrNotExist
	}
	return nil, errors.New(oneLine(errors.Join(errs...)))
}

// labelled lists the block devices with a file system of one of these labels,
// by name.
func labelled(ctx context.Context, labels []string) ([]string, error) {
	args := []string{"--cache-file", "/dev/null", "--output", "device"}
	var devices []string
	for _, l := range labels {
		out, err := blkid(ctx, append(args, "--match-token", "LABEL="+l)...)
		if err != nil {
			return nil, err
		}
		devices = append(devices, strings.Fields(out)...)
	}
	slices.Sort(devices)
	return slices.Compact(devices), nil
}

// volumeTypes are the file systems a volume may have: those of the NoCloud and
// OpenStack definitions. Any other driver stays out of reach of whoever can
// attach a disk.
var volumeTypes = []string{"iso9660", "vfat"}

// readVolume reads one file of a device, which is mounted meanwhile.
func readVolume(ctx context.Context, device, file string) (config []byte, err error) {
	kind, err := blkid(ctx, "--probe", "--match-tag", "TYPE", "--output", "value", device)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(volumeTypes, kind) {
		return nil, fmt.Errorf("%s has a file system of type %q; needed is %s", device, kind, strings.Join(volumeTypes, " or "))
	}
	at := filepath.Join(runDir, "volume")
	if err := os.MkdirAll(at, 0o700); err != nil {
		return nil, err
	}
	defer os.Remove(at)
	if err := unix.Mount(device, at, kind, unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return nil, fmt.Errorf("mount %s as %s: %w", device, kind, err)
	}
	defer func() {
		if e := unix.Unmount(at, 0); e != nil {
			err = errors.Join(err, fmt.Errorf("unmount %s: %w", device, e))
		}
	}()
	config, err = readBelow(at, file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, missingFile{device, file}
	}
	return config, err
}

// missingFile says that a volume is there without the config.
type missingFile struct{ device, file string }

func (m missingFile) Error() string { return m.device + " has no file " + m.file }

// espFile is the instance config's name on the EFI system partition.
const espFile = "instance.ign"

// espType is the partition type of an EFI system partition (UEFI 2.10, 5.3.3).
const espType = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"

// readESP reads the config from the ESP of the disk this machine booted from,
// and of no other disk.
func readESP(ctx context.Context) ([]byte, error) {
	disk, err := rootDisk()
	if err != nil {
		return nil, err
	}
	partitions, err := filepath.Glob(filepath.Join(classBlock, filepath.Base(disk), "*", "partition"))
	if err != nil {
		return nil, err
	}
	for _, p := range partitions {
		device := "/dev/" + filepath.Base(filepath.Dir(p))
		kind, err := blkid(ctx, "--probe", "--match-tag", "PART_ENTRY_TYPE", "--output", "value", device)
		if err != nil {
			return nil, err
		}
		if kind != espType {
			continue
		}
		b, err := readVolume(ctx, device, espFile)
		if errors.As(err, new(missingFile)) {
			return nil, fs.ErrNotExist // the usual case
		}
		return b, err
	}
	return nil, fmt.Errorf("%s has no EFI system partition", disk)
}

// blkid asks for one fact about block devices; "" when there is none.
func blkid(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "blkid", args...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 2 { // nothing found
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("blkid: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// oneLine is an error of several as one line of the console.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
