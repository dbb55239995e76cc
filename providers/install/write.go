package install

import (
	"context"
	"errors"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"ingot/fault"
	"ingot/providers/install/writer"
)

// WriteOptions say where an image goes.
type WriteOptions struct {
	Disk  string // a block device that is a whole disk and not in use
	Agent string // file of the static ingot-agent
	// Instance is the instance config; nil leaves the disk as the image is, for a
	// provider that hands out user-data.
	Instance []byte
	// Progress is told how many bytes of the image are on the disk; nil is nobody.
	Progress func(done int64)
}

// Write writes an image over a disk of a machine that runs a rescue system, and
// leaves the machine running. What the image does not cover is cleared where an old
// system has left its marks. It returns the SHA-256 of what was read back, which is
// the image's. After a failure it can be called again.
func Write(ctx context.Context, client *ssh.Client, image Image, o WriteOptions) (string, error) {
	image.SHA256 = strings.ToLower(image.SHA256)
	r, err := newRemote(ctx, client)
	if err != nil {
		return "", err
	}
	job := writer.Job{Version: writer.Version, Disk: o.Disk, ImageBytes: image.Bytes, SHA256: image.SHA256, Ending: writer.Stay}
	if job.PackedBytes, err = image.measure(ctx); err != nil {
		return "", err
	}
	var patches []writer.Patch
	if o.Instance != nil {
		if patches, err = instancePatches(image, o.Instance); err != nil {
			return "", err
		}
	}
	agent, err := r.upload(ctx, o.Agent)
	if err != nil {
		return "", err
	}
	out, err := r.write(ctx, agent, job, image, patches, only(writer.Writing, o.Progress))
	return out.sha256, err
}

// ReplaceOptions say how a temporary server gets an image.
type ReplaceOptions struct {
	Agent string // file of the static ingot-agent
	// Progress is told how many bytes of the image have arrived; nil is nobody.
	Progress func(done int64)
}

// Replace writes an image over the disk that a machine runs from, and switches it
// off, so that its disk can be kept as an image. Whoever calls it must know that
// nothing on the machine is of value: nobody is asked. It is an error when it was not
// seen that the disk reads back as the image.
func Replace(ctx context.Context, client *ssh.Client, image Image, o ReplaceOptions) error {
	image.SHA256 = strings.ToLower(image.SHA256)
	r, err := newRemote(ctx, client)
	if err != nil {
		return err
	}
	devices, err := r.devices(ctx)
	if err != nil {
		return err
	}
	list := disks(devices, diskType)
	n := slices.IndexFunc(list, func(d Disk) bool { return d.Root })
	if n < 0 {
		return wrongDisk(list, "the running system is on none of the machine's disks")
	}
	if list[n].Bytes < image.Bytes {
		return wrongDisk(list, "%s is too small for an image of %d MiB", list[n].Path, image.Bytes>>20)
	}
	job := writer.Job{
		Version: writer.Version, Disk: list[n].Path, DiskBytes: list[n].Bytes, Staged: true, Ending: writer.Off,
		ImageBytes: image.Bytes, SHA256: image.SHA256,
	}
	if job.PackedBytes, err = image.measure(ctx); err != nil {
		return err
	}
	agent, err := r.upload(ctx, o.Agent)
	if err != nil {
		return err
	}
	out, err := r.write(ctx, agent, job, image, nil, only("sending", o.Progress))
	if err == nil && out.sha256 != image.SHA256 {
		err = fault.Provider(errors.New("what was read back could not be seen"))
	}
	return err
}

// only is told of one step.
func only(step writer.Step, progress func(done int64)) func(Progress) {
	return func(p Progress) {
		if progress != nil && p.Step == string(step) {
			progress(p.Done)
		}
	}
}
