package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"ingot/config"
	"ingot/images"
	"ingot/qemu-tests/assay"
	"ingot/qemu-tests/vm"
)

func runCommand(c *console) *cobra.Command {
	var f buildFlags
	var uefi bool
	cmd := &cobra.Command{
		Use:   "run [DIR] [-- COMMAND...]",
		Short: "Boot the image here and run a command or a shell on it",
		Long: `Boot the image of a folder in QEMU with a throw-away identity, connect through the
tunnel as its owner would, and run COMMAND there as root, or a shell.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			command := args[len(args):]
			if n := cmd.ArgsLenAtDash(); n >= 0 {
				args, command = args[:n], args[n:]
			}
			if err := folder(cmd, args); err != nil {
				return err
			}
			loaded, result, err := c.built(cmd.Context(), folderOf(args), f)
			if err != nil {
				return err
			}
			return c.boot(cmd.Context(), loaded, result, uefi, command)
		},
	}
	f.register(cmd)
	f.sharing.register(cmd)
	cmd.Flags().BoolVar(&uefi, "uefi", false, "boot with UEFI firmware instead of BIOS")
	return cmd
}

func (c *console) boot(ctx context.Context, loaded config.Loaded, result images.Result, uefi bool, command []string) error {
	dir, err := os.MkdirTemp("", "ingot-run-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	image, err := filepath.Abs(result.Image)
	if err != nil {
		return err
	}
	id, err := assay.NewIdentity(loaded.Plan.Site, loaded.Layers)
	if err != nil {
		return err
	}
	cache, err := images.OpenCache(os.Getenv("INGOT_CACHE"))
	if err != nil {
		return err
	}
	lab, err := assay.NewLab(ctx, vm.Toolchain{Root: result.Tools, Kernel: result.Kernel}, dir, cache.Dir)
	if err != nil {
		return err
	}
	defer lab.Close()
	firmware := vm.BIOS
	if uefi {
		firmware = vm.UEFI
	}
	c.remark("booting with %s (%s)", lab.Accel.Name, lab.Accel.Reason)
	m, err := lab.Boot(ctx, id, assay.BootOptions{Image: image, Firmware: firmware, Instance: id.Instance, Reboots: true})
	if err != nil {
		return err
	}
	defer m.Close()
	tunnel, err := m.Connect(ctx)
	if err != nil {
		return err
	}
	defer tunnel.Close()
	fingerprint, err := m.AwaitUp(ctx, 0)
	if err != nil {
		return err
	}
	shell, err := m.Shell(ctx, tunnel, fingerprint)
	if err != nil {
		return err
	}
	defer shell.Close()
	if len(command) == 0 {
		c.remark("connected; the machine ends with this shell")
		return shell.Interactive(ctx)
	}
	out, err := shell.Run(ctx, command...)
	if err != nil {
		return err
	}
	fmt.Fprint(c.stderr, out.Stderr)
	if err := c.write([]byte(out.Stdout)); err != nil {
		return err
	}
	if out.Exit != 0 {
		return fmt.Errorf("%s ended with %d on the machine", command[0], out.Exit)
	}
	return nil
}
