package main

import (
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"ingot/providers/install/writer"
)

// installSilence is how long "install" waits for whoever is at the other end of the
// connection. Until then the disk is in use, and the next try is refused.
const installSilence = 2 * time.Minute

// installFolder is how the folder begins in which "ingot install" puts this program.
const installFolder = "/run/ingot-install."

// installCommand is the half of "ingot install" that runs on the machine which
// becomes an Ingot. What it does it is told on its standard input.
func installCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "install",
		Short:  "write an image over a disk of this machine, as \"ingot install\" says",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			defer leaveFolder()
			// The end of the connection is seen in the standard input, and the
			// folder is left in good order then.
			signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
			in, err := writer.Stdin(installSilence)
			if err != nil {
				return err
			}
			return writer.Serve(cmd.Context(), in, cmd.OutOrStdout())
		},
	}
}

// leaveFolder removes the folder in memory that this program was put into.
func leaveFolder() {
	self, err := os.Executable()
	if dir := filepath.Dir(self); err == nil && strings.HasPrefix(dir, installFolder) {
		// It still is in use by this process, so it goes when that ends.
		_ = unix.Unmount(dir, unix.MNT_DETACH)
		_ = os.Remove(dir)
	}
}
