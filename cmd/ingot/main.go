// Command ingot turns one short file into a sealed, bootable server image, and
// proves that the image keeps its promises before it is used.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"ingot/fault"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal lets the work clean up; a second one ends it.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run carries out one command line and returns its exit code.
func run(ctx context.Context, arguments []string, stdout, stderr io.Writer) int {
	c := &console{stdout: stdout, stderr: stderr}
	root := rootCommand(c)
	root.SetArgs(arguments)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		c.failure(errors.New("interrupted"))
	default:
		c.failure(err)
	}
	return exitCode(ctx, err)
}

func rootCommand(c *console) *cobra.Command {
	root := &cobra.Command{
		Use:   "ingot",
		Short: "Sealed Debian server images, proven before they are shipped",
		// The errors of both are ours to print.
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if c.quiet && c.verbose {
				return fault.Input(errors.New("--quiet and --verbose contradict each other; leave one out"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknown(cmd, args[0])
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fault.Input(fmt.Errorf("%w; %s --help lists the flags", err, cmd.CommandPath()))
	})
	flags := root.PersistentFlags()
	flags.BoolVar(&c.json, "json", false, "one JSON document on stdout")
	flags.BoolVarP(&c.quiet, "quiet", "q", false, "say nothing but the result and errors")
	flags.BoolVarP(&c.verbose, "verbose", "v", false, "say more about what is done")
	root.AddCommand(validateCommand(c), renderCommand(c), explainCommand(c), docsCommand(c), clientCommand(c))
	root.AddCommand(lockCommand(c), buildCommand(c), runCommand(c), testCommand(c))
	root.AddCommand(keygenCommand(c), verifyCommand(c))
	root.AddCommand(cacheCommand(c))
	root.AddCommand(convertCommand(c))
	root.AddCommand(outdatedCommand(c))
	root.AddCommand(inspectCommand(c), diffCommand(c))
	root.AddCommand(stageCommands()...)
	root.AddCommand(scanCommand(c))
	root.AddCommand(initCommand(c), installCommand(c), uploadCommand(c), deployCommand(c), rollbackCommand(c), destroyCommand(c), firewallCommand(c), monitoringCommand(c), gcCommand(c))
	return root
}

// unknown refuses an argument where a verb should be.
func unknown(cmd *cobra.Command, name string) error {
	hint := ""
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		hint = fmt.Sprintf("did you mean %s? ", strings.Join(near, " or "))
	}
	return fault.Input(fmt.Errorf("%s knows no %q; %s%s --help lists what there is", cmd.CommandPath(), name, hint, cmd.CommandPath()))
}

// folder takes the optional DIR of a verb, the current folder by default.
func folder(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return fault.Input(fmt.Errorf("%s takes one folder, not %d; quote a name with blanks", cmd.CommandPath(), len(args)))
	}
	return nil
}

// folders lets a shell complete DIR.
func folders(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

func folderOf(args []string) string {
	if len(args) == 0 {
		return "."
	}
	return args[0]
}
