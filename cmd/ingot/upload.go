package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"ingot/fault"
	"ingot/providers"
)

func (f *gateFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&f.out, "output", "o", "", "folder of the outputs, DIR/build by default")
	flags.StringVar(&f.unproven, "unproven", "", "ship an image without a verdict, for this reason, which its label keeps")
	flags.StringVar(&f.verify.verdict, "verdict", "", "the verdict, by default verdict.json beside the image")
	flags.StringArrayVar(&f.verify.keys, "key", nil, "trust this public key, a .pub file, instead of test.keys; can be repeated")
}

func uploadCommand(c *console) *cobra.Command {
	var g gateFlags
	var p providerFlags
	cmd := &cobra.Command{
		Use:   "upload [DIR]",
		Short: "Give a proven image to a provider",
		Long: `Upload build/image.raw of a folder, when its verdict holds for exactly these bytes.
An image that is there already, by its digest, is not uploaded again.`,
		Example:           `  ingot upload --provider hetzner`,
		Args:              folder,
		ValidArgsFunction: folders,
		RunE: func(cmd *cobra.Command, args []string) error {
			image, err := c.gate(cmd.Context(), folderOf(args), g)
			if err != nil {
				return err
			}
			provider, err := p.open(cmd.Context(), c)
			if err != nil {
				return err
			}
			loaded, err := c.load(folderOf(args))
			if err != nil {
				return err
			}
			made, err := c.upload(cmd.Context(), provider, loaded.Plan.Site.Name, image)
			if err != nil {
				return err
			}
			if c.json {
				return c.document(made)
			}
			return c.write(fmt.Appendf(nil, "%s  %s\n", made.ID, made.Name))
		},
	}
	g.register(cmd)
	p.register(cmd)
	return cmd
}

// upload gives an image to a provider, or finds it there.
func (c *console) upload(ctx context.Context, p providers.Provider, name string, image proven) (providers.Image, error) {
	f, err := os.Open(image.file)
	if err != nil {
		return providers.Image{}, fault.Input(err)
	}
	defer f.Close()
	var made providers.Image
	err = c.under(p, "upload "+name, func(e *providers.Entry) error {
		labels := maps.Clone(image.labels)
		labels[providers.LabelID] = e.ID
		made, err = p.Upload(ctx, providers.Upload{
			Name: name, Image: f, Bytes: image.bytes, SHA256: image.sha256, Labels: labels, Journal: e,
			Progress: c.transfer("upload", image.bytes),
		})
		return err
	})
	c.endProgress()
	return made, err
}

// transfer shows how far a transfer of so many bytes is.
func (c *console) transfer(what string, total int64) func(int64) {
	var mu sync.Mutex
	var shown time.Time
	return func(done int64) {
		mu.Lock()
		defer mu.Unlock()
		last := done >= total
		if time.Since(shown) < time.Second && !last {
			return
		}
		shown = time.Now()
		c.line(last, "%s: %d of %d MiB", what, done>>20, total>>20)
	}
}
