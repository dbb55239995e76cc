package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"ingot/config"
	"ingot/fault"
	"ingot/images"
	"ingot/images/inspect"
)

func inspectCommand(c *console) *cobra.Command {
	var size, files bool
	cmd := &cobra.Command{
		Use:   "inspect IMAGE|DIR",
		Short: "Say what is in a finished image, and what takes space in it",
		Long: `Look into an image file, or that of a folder, and say what its bytes hold: whether
every block is as it was sealed, what is open, who may log in, what runs, which
packages and files there are. Nothing of the build is asked, and nothing is booted.`,
		Example: `  ingot inspect my-server
  ingot inspect --size build/image.raw`,
		Args:              oneImage,
		ValidArgsFunction: imageFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			image, err := c.look(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if size {
				err = c.showSize(image, args[0], files)
			} else {
				err = c.showImage(image, files)
			}
			if err == nil && image.Broken != "" {
				return shown{fault.Checks(fmt.Errorf("%s is not what was sealed: %s", image.Path, image.Broken))}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&size, "size", false, "say what takes space, and who asked for it")
	cmd.Flags().BoolVar(&files, "files", false, "list every package and file")
	return cmd
}

func oneImage(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fault.Input(fmt.Errorf("%s takes one image file or folder, not %d; such as build/image.raw", cmd.CommandPath(), len(args)))
	}
	return nil
}

func imageFiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"raw"}, cobra.ShellCompDirectiveFilterFileExt
}

// look reads an image file, or that of a folder.
func (c *console) look(ctx context.Context, name string) (inspect.Image, error) {
	file, err := imageOf(name)
	if err != nil {
		return inspect.Image{}, err
	}
	cache, err := images.OpenCache(os.Getenv("INGOT_CACHE"))
	if err != nil {
		return inspect.Image{}, err
	}
	c.detail("reading %s", file)
	return inspect.Read(ctx, file, cache)
}

// imageOf is the image file that an argument means.
func imageOf(name string) (string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return "", fault.Input(err)
	}
	if !info.IsDir() {
		return name, nil
	}
	file := filepath.Join(name, "build", images.ImageFile)
	if !isFile(file) {
		return "", fault.Input(fmt.Errorf("%s has no %s; run \"ingot build %[1]s\", or name an image file", name, filepath.Join("build", images.ImageFile)))
	}
	return file, nil
}

func (c *console) showImage(image inspect.Image, all bool) error {
	if c.json {
		return c.document(image)
	}
	return image.Text(c.stdout, all)
}

// showSize has the layers' names when name is a folder with an ingot.yaml.
func (c *console) showSize(image inspect.Image, name string, all bool) error {
	asked, err := c.asked(name)
	if err != nil {
		return err
	}
	size := inspect.SizeOf(image, asked)
	if c.json {
		return c.document(size)
	}
	return size.Text(c.stdout, all)
}

// asked are the packages that each layer of a folder asks for; nil when there is
// no ingot.yaml.
func (c *console) asked(dir string) (map[string][]string, error) {
	if !isFile(filepath.Join(dir, config.FileName)) {
		return nil, nil
	}
	loaded, err := c.load(dir)
	if err != nil {
		return nil, err
	}
	asked := map[string][]string{}
	for _, p := range loaded.Plan.Packages {
		layer := loaded.Plan.Owner["package "+p]
		asked[layer] = append(asked[layer], p)
	}
	return asked, nil
}
