package vm

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
)

// Quit cuts the power: the guest notices nothing and gets no time. What the
// guest had handed to its disk is kept, flushed or not, which is kinder than a
// real power cut to a disk with a volatile cache. It returns when QEMU is gone.
func (v *VM) Quit(ctx context.Context) error {
	err := v.qmp.run(ctx, "quit", nil, nil)
	// QEMU may be gone before its answer is read.
	if err != nil && !errors.Is(err, errMonitorClosed) {
		return v.Failure(fmt.Errorf("cutting the power: %w", err))
	}
	_, err = v.Wait(ctx)
	return err
}

// SystemPowerdown presses the power button: the guest is asked to shut down.
// Await the end with Wait.
func (v *VM) SystemPowerdown(ctx context.Context) error {
	return v.qmp.run(ctx, "system_powerdown", nil, nil)
}

type setActionArgs struct {
	Reboot string `json:"reboot"`
}

// SystemReset presses the reset button. -no-reboot means this button as well,
// so from here on the guest may reboot even when Config does not allow it: it
// cannot be forbidden again, because SeaBIOS follows a reset with one of its own.
func (v *VM) SystemReset(ctx context.Context) error {
	if err := v.qmp.run(ctx, "set-action", setActionArgs{"reset"}, nil); err != nil {
		return err
	}
	return v.qmp.run(ctx, "system_reset", nil, nil)
}

// Stop freezes the machine until Cont.
func (v *VM) Stop(ctx context.Context) error { return v.qmp.run(ctx, "stop", nil, nil) }

// Cont lets a frozen machine go on.
func (v *VM) Cont(ctx context.Context) error { return v.qmp.run(ctx, "cont", nil, nil) }

type setLinkArgs struct {
	Name string `json:"name"`
	Up   bool   `json:"up"`
}

// SetLink plugs or pulls the cable of a NIC, named by the id of its -device or
// -netdev argument.
func (v *VM) SetLink(ctx context.Context, id string, up bool) error {
	return v.qmp.run(ctx, "set_link", setLinkArgs{id, up}, nil)
}

type screendumpArgs struct {
	Filename string `json:"filename"`
	Format   string `json:"format"`
}

// Screendump writes what the VGA screen shows to file as PNG.
func (v *VM) Screendump(ctx context.Context, file string) error {
	// QEMU would resolve a relative name for itself, with the same result
	// only as long as nobody changes directory.
	file, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	return v.qmp.run(ctx, "screendump", screendumpArgs{file, "png"}, nil)
}
