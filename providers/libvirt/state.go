package libvirt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"ingot/fault"
	"ingot/providers"
)

// stateLabel is the file system that a machine takes for its /var, on any disk
// (docs/image.md). The machine makes one on the disk it boots from only, so that one on
// another disk has to be made here.
const stateLabel = "ingot-var"

// minState is the least size of a state disk, in bytes: as much as the machine wants
// for /var on its own disk (docs/image.md).
const minState = 512 << 20

// makeState makes a disk with an empty file system. It is made as a sparse file with
// the host's mke2fs and sent without its holes.
func (p *Provider) makeState(ctx context.Context, name string, journal *providers.Entry) (err error) {
	if p.o.State < minState {
		return fault.Input(fmt.Errorf("a disk for the state needs at least %d MiB", minState>>20))
	}
	program, err := mke2fs()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "ingot-state-")
	if err != nil {
		return fault.Machine(err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	file := filepath.Join(dir, "state.raw")
	// Without lazy initialisation nothing is left to be written at the first mount;
	// discard would be asked of a file that is all holes.
	cmd := exec.CommandContext(ctx, program, "-q", "-t", "ext4", "-L", stateLabel, "-E", "nodiscard", file, fmt.Sprintf("%dk", p.o.State>>10))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fault.Machine(fmt.Errorf("make the file system of the state's disk: %w: %s", err, strings.TrimSpace(string(out))))
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := journal.Creates(kindVolume, name); err != nil {
		return err
	}
	volume, err := p.createVolume(ctx, name, info.Size())
	if err != nil {
		return err
	}
	return p.fill(ctx, volume, f, info.Size(), nil)
}

// mke2fs is often not in the PATH of who is not root.
func mke2fs() (string, error) {
	for _, name := range []string{"mke2fs", "/usr/sbin/mke2fs", "/sbin/mke2fs"} {
		if program, err := exec.LookPath(name); err == nil {
			return program, nil
		}
	}
	return "", fault.Machine(errors.New("a disk for the state needs mke2fs; install e2fsprogs"))
}
