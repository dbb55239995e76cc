package libvirt

import (
	"context"
	"errors"
	"fmt"
	"os"

	"ingot/fault"
	"ingot/providers"
)

// minState is the least size of a state disk, in bytes: as much as the machine wants
// for /var on its own disk (docs/image.md).
const minState = 512 << 20

// makeState makes a disk with an empty file system, which the machine grows to it.
func (p *Provider) makeState(ctx context.Context, name string, journal *providers.Entry) (err error) {
	if p.o.State < minState {
		return fault.Input(fmt.Errorf("a disk for the state needs at least %d MiB", minState>>20))
	}
	dir, err := os.MkdirTemp("", "ingot-state-")
	if err != nil {
		return fault.Machine(err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	f, err := providers.StateFile(ctx, dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := journal.Creates(kindVolume, name); err != nil {
		return err
	}
	volume, err := p.createVolume(ctx, name, p.o.State)
	if err != nil {
		return err
	}
	return p.fill(ctx, volume, f, providers.StateBytes, nil)
}
