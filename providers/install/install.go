package install

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"ingot/fault"
	"ingot/providers/install/writer"
)

// Options of an installation.
type Options struct {
	Target Target
	Client *ssh.Client // in place of Target; it is left open

	Image  string // file of the raw image
	SHA256 string // of it, in hex: what was proven
	// Instance is the instance config, which goes onto the image's EFI system
	// partition. It holds secrets.
	Instance []byte
	// Disk is the disk to be overwritten, as the machine calls it.
	Disk string
	// MinDisk is how large it must be, in bytes.
	MinDisk int64
	Agent   string // file of the static ingot-agent
	// NoReboot leaves a rescue system running. A system whose own disk was
	// overwritten is restarted in any case.
	NoReboot bool

	// Confirmed is asked when all is checked and before anything is changed on the
	// machine. An error of it is the end.
	Confirmed func(Disk) error
	Progress  func(Progress) // how far a step is, nil for nobody; from several goroutines, one at a time
	Say       func(string)   // what is going on, nil for nobody

	// diskType is lsblk's type of the disks to choose from; tests have no real ones.
	diskType string
}

// Result is what was seen of an installation.
type Result struct {
	Disk Disk `json:"disk"`
	// Staged is whether the running system was overwritten.
	Staged bool `json:"staged"`
	// ReadBack is the SHA-256 of the image as it was read back from the disk, which
	// is that of the image. It is empty when the connection ended before it was
	// seen: then the machine is the only one to say how it went, by coming up.
	ReadBack string  `json:"read_back,omitempty"`
	Rebooted bool    `json:"rebooted"`
	Sent     int64   `json:"sent_bytes"` // what travelled
	Seconds  float64 `json:"seconds"`
}

// Install writes an image and an instance config over a disk of a machine and
// restarts it. An error says whether the disk was touched.
func Install(ctx context.Context, o Options) (Result, error) {
	start := time.Now()
	if o.diskType == "" {
		o.diskType = diskType
	}
	if o.Confirmed == nil {
		return Result{}, fault.Input(errors.New("nobody has agreed to the disk being overwritten"))
	}
	image, done, err := openImage(o.Image, o.SHA256)
	if err != nil {
		return Result{}, err
	}
	defer done()
	client := o.Client
	if client == nil {
		if client, err = Dial(ctx, o.Target); err != nil {
			return Result{}, err
		}
		defer client.Close()
	}
	result, err := o.install(ctx, client, image)
	result.Seconds = time.Since(start).Seconds()
	return result, err
}

func (o Options) say(format string, a ...any) {
	if o.Say != nil {
		o.Say(fmt.Sprintf(format, a...))
	}
}

func (o Options) install(ctx context.Context, client *ssh.Client, image Image) (Result, error) {
	r, err := newRemote(ctx, client)
	if err != nil {
		return Result{}, err
	}
	disk, err := r.choose(ctx, o.Disk, o.diskType, max(o.MinDisk, image.Bytes))
	if err != nil {
		return Result{}, err
	}
	result := Result{Disk: disk, Staged: disk.Root}
	if !disk.Root && len(disk.Mounts) > 0 {
		return result, fault.Input(fmt.Errorf("%s is in use, mounted at %s, and the running system is not on it: is it the right disk? if it is, unmount it first", disk.Path, strings.Join(disk.Mounts, " and ")))
	}
	job := writer.Job{
		Version: writer.Version, Disk: disk.Path, DiskBytes: disk.Bytes, Staged: disk.Root, Ending: writer.Restart,
		ImageBytes: image.Bytes, SHA256: image.SHA256,
	}
	if o.NoReboot && !job.Staged {
		job.Ending = writer.Stay
	}
	if job.PackedBytes, err = image.measure(ctx); err != nil {
		return result, err
	}
	patches, err := instancePatches(image, o.Instance)
	if err != nil {
		return result, err
	}
	o.say("%d MiB to send to %s", job.PackedBytes>>20, disk)
	if err := o.Confirmed(disk); err != nil {
		return result, err
	}
	agent, err := r.upload(ctx, o.Agent)
	if err != nil {
		return result, err
	}
	if job.Staged {
		o.say("the running system is on %s: the image is received into memory first, and then there is no way back", disk.Path)
	}
	out, err := r.write(ctx, agent, job, image, patches, o.progress())
	result.Sent, result.ReadBack = out.sent, out.sha256
	switch {
	case err == nil:
		result.Rebooted = job.Ending == writer.Restart
		o.say("%s reads back with the SHA-256 %s, that of the image", disk.Path, out.sha256)
	case errors.Is(err, errUnseen) && ctx.Err() == nil:
		o.say("the connection was lost while the disk was written: what was read back could not be seen, and the machine coming up is the only proof")
		return result, nil
	}
	return result, err
}

// milestones are steps that cannot be counted, in words.
var milestones = map[writer.Step]string{
	writer.Ready:    "the machine is ready for the image",
	writer.Received: "the image has arrived",
	writer.Quiet:    "the old system is stopped and its file systems are read-only",
}

// progress tells of steps as they are told best.
func (o Options) progress() func(Progress) {
	return func(p Progress) {
		if words, ok := milestones[writer.Step(p.Step)]; ok {
			o.say("%s", words)
		} else if p.Of > 0 && o.Progress != nil {
			o.Progress(p)
		}
	}
}

// openImage opens a raw image. done must be called at the end.
func openImage(file, sha256 string) (image Image, done func(), err error) {
	if sum, err := hex.DecodeString(sha256); err != nil || len(sum) != 32 {
		return Image{}, nil, fault.Input(fmt.Errorf("%q is no SHA-256", sha256))
	}
	f, err := os.Open(file)
	if err != nil {
		return Image{}, nil, fault.Input(fmt.Errorf("the image: %w", err))
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return Image{}, nil, fault.Machine(fmt.Errorf("the image: %w", err))
	}
	return Image{f, info.Size(), strings.ToLower(sha256)}, func() { f.Close() }, nil
}
