package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/spf13/cobra"

	"ingot/config"
	"ingot/fault"
	"ingot/images"
	"ingot/images/format"
)

const formatHelp = "container formats, separated by commas: "

func convertCommand(c *console) *cobra.Command {
	var f buildFlags
	var names []string
	cmd := &cobra.Command{
		Use:   "convert [DIR]",
		Short: "Write the built image in the formats that providers take",
		Long: `Write build/image.raw of a folder in other container formats, beside it. Each file
is read back and compared with the image, byte for byte.`,
		Example: `  ingot convert --format qcow2,raw.zst
  ingot build --format vhd`,
		Args:              folder,
		ValidArgsFunction: folders,
		RunE: func(cmd *cobra.Command, args []string) error {
			formats, err := format.Parse(names)
			if err != nil {
				return err
			}
			result, err := c.convert(cmd.Context(), folderOf(args), f, formats)
			if err != nil {
				return err
			}
			if c.json {
				return c.document(result)
			}
			return c.writeFormats(result.Formats)
		},
	}
	f.registerPlaces(cmd)
	cmd.Flags().StringSliceVar(&names, "format", nil, formatHelp+format.Names())
	return cmd
}

// converted is the JSON document of convert.
type converted struct {
	Image   string             `json:"image"`  // path of the raw one
	SHA256  string             `json:"sha256"` // of the raw one
	Formats []images.Converted `json:"formats"`
}

func (c *console) convert(ctx context.Context, dir string, f buildFlags, formats []format.Format) (converted, error) {
	o, err := c.lockOptions(config.Loaded{}, dir, f.sourceFlags)
	if err != nil {
		return converted{}, err
	}
	o.Out = f.output(dir)
	image, err := format.Open(ctx, filepath.Join(o.Out, images.ImageFile))
	if errors.Is(err, fs.ErrNotExist) {
		return converted{}, fault.Input(fmt.Errorf("there is no image: %w; run \"ingot build\" first, or name its folder", err))
	}
	if err != nil {
		return converted{}, err
	}
	all, err := images.Convert(ctx, o, image, formats)
	c.endProgress()
	return converted{Image: image.File, SHA256: image.SHA256, Formats: all}, err
}

// writeFormats says what was written, a line each.
func (c *console) writeFormats(all []images.Converted) error {
	var text []byte
	for _, f := range all {
		text = fmt.Appendf(text, "%s  %s, %s on disk, sha256 %s\n", f.File, size(f.Bytes), size(f.DiskBytes), f.SHA256)
	}
	return c.write(text)
}
