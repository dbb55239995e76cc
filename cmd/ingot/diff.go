package main

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"ingot/fault"
	"ingot/images/inspect"
)

// diffFlags say how a comparison is shown.
type diffFlags struct {
	html            string
	files, exitCode bool
}

func diffCommand(c *console) *cobra.Command {
	var f diffFlags
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Say what changes from one image to another",
		Long: `Compare two images, each an image file or a folder with a build: open ports, users,
units, packages, the kernel, and every file with its mode, owner and content.

The exit code is 0 whether they differ or not; with --exit-code it is 1 when they do.`,
		Example: `  ingot diff last/image.raw my-server
  ingot diff last/image.raw my-server --html changes.html`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return fault.Input(fmt.Errorf("%s takes two image files or folders, not %d", cmd.CommandPath(), len(args)))
			}
			return nil
		},
		ValidArgsFunction: imageFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := c.look(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			b, err := c.look(cmd.Context(), args[1])
			if err != nil {
				return err
			}
			return c.showDiff(inspect.Compare(a, b), f)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.files, "files", false, "list every changed file instead of a line for each package")
	flags.StringVar(&f.html, "html", "", "write a page for people to this file, too")
	flags.BoolVar(&f.exitCode, "exit-code", false, "end with 1 when the images differ")
	return cmd
}

func (c *console) showDiff(d inspect.Diff, f diffFlags) error {
	if f.html != "" {
		var b bytes.Buffer
		if err := d.HTML(&b); err != nil {
			return fmt.Errorf("make %s: %w", f.html, err)
		}
		if err := renameio.WriteFile(f.html, b.Bytes(), 0o644); err != nil {
			return fault.Input(fmt.Errorf("write %s: %w", f.html, err))
		}
	}
	var err error
	if c.json {
		err = c.document(d)
	} else {
		err = d.Text(c.stdout, f.files)
	}
	if err == nil && f.exitCode && !d.Same {
		return shown{fault.Checks(errors.New("the images differ"))}
	}
	return err
}
