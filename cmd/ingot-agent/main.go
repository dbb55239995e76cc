// Command ingot-agent is the program on the appliance. In the initrd it
// prepares the disk and gives the machine its identity; in the running system
// it says on the console what state the machine is in, and has the VPN's tunnel.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use:           "ingot-agent",
		Short:         "Ingot's program on the appliance",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(
		&cobra.Command{
			Use:   "var",
			Short: "initrd: create the missing partitions, find the state volume and mount it",
			Args:  cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return mountVar(cmd.Context())
			},
		},
		&cobra.Command{
			Use:   "identity",
			Short: "initrd: apply the instance config when it is new and put /etc together",
			Args:  cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return giveIdentity(cmd.Context())
			},
		},
		metadataCommand(),
		vpnCommand(),
		installCommand(),
		&cobra.Command{
			Use:   "status",
			Short: "say what state this machine is in",
			Args:  cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return printStatus(cmd.OutOrStdout(), realRoot)
			},
		},
	)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "ingot-agent:", err)
		if errors.As(err, &configError{}) {
			os.Exit(exitConfig)
		}
		os.Exit(1)
	}
}

// metadataCommand is the part of "identity" that runs in a network namespace of
// its own. Elsewhere it would lock the machine's network, so nobody is told.
func metadataCommand() *cobra.Command {
	var platform string
	var patience time.Duration
	c := &cobra.Command{
		Use:    "metadata CARD…",
		Hidden: true,
		Args:   cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, cards []string) error {
			return askMetadata(cmd.Context(), cmd.OutOrStdout(), platform, patience, cards)
		},
	}
	c.Flags().StringVar(&platform, "platform", "", "Ignition platform id")
	c.Flags().DurationVar(&patience, "patience", 0, "how long to ask")
	return c
}
