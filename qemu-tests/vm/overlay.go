package vm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
)

// preparation are the commands that make the fresh files the machine starts
// with; what Config brings along is not touched.
func (c Config) preparation(ctx context.Context, f files) []*exec.Cmd {
	var cmds []*exec.Cmd
	if c.Overlay == "" {
		cmds = append(cmds, overlayCommand(ctx, c.Toolchain, f.overlay, c.Disk, Raw, c.DiskBytes))
	}
	if c.Firmware == UEFI && c.Vars == "" {
		cmds = append(cmds, c.Toolchain.QEMUImg(ctx, "convert", "-f", "raw", "-O", "qcow2", c.Toolchain.OVMFVars(), f.vars))
	}
	for i, d := range c.ExtraDisks {
		if d.Overlay {
			cmds = append(cmds, overlayCommand(ctx, c.Toolchain, f.extra[i], d.Path, d.Format, 0))
		}
	}
	return cmds
}

// overlayCommand makes an empty qcow2 file over base. Size 0 is base's size.
func overlayCommand(ctx context.Context, tc Toolchain, overlay, base string, format Format, size int64) *exec.Cmd {
	args := []string{"create", "-q", "-f", "qcow2", "-F", string(format), "-b", base, overlay}
	if size > 0 {
		args = append(args, strconv.FormatInt(size, 10))
	}
	return tc.QEMUImg(ctx, args...)
}

func (c Config) prepare(ctx context.Context, f files) error {
	info, err := os.Stat(c.Disk)
	if err != nil {
		return fmt.Errorf("the image to boot: %w", err)
	}
	if c.DiskBytes != 0 && c.DiskBytes < info.Size() {
		return fmt.Errorf("a disk of %d bytes cannot hold the image of %d bytes: choose a larger disk", c.DiskBytes, info.Size())
	}
	for _, cmd := range c.preparation(ctx, f) {
		if _, err := run(cmd); err != nil {
			return fmt.Errorf("preparing a disk with %s: %w", shellLine(cmd), err)
		}
	}
	return nil
}
