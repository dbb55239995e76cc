package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"ingot/clients"
	"ingot/config"
	"ingot/fault"
	"ingot/ignition"
	"ingot/images"
	"ingot/images/format"
	"ingot/layers/wireguard"
)

// buildFlags are shared by the verbs that need an image.
type buildFlags struct {
	sourceFlags
	out     string
	locked  bool
	release bool
	explain bool
	sharing sharingFlags
}

// registerPlaces is for a verb that works with a built image.
func (f *buildFlags) registerPlaces(cmd *cobra.Command) {
	f.sourceFlags.register(cmd)
	cmd.Flags().StringVarP(&f.out, "output", "o", "", "folder of the outputs, DIR/build by default")
}

func (f *buildFlags) register(cmd *cobra.Command) {
	f.registerPlaces(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&f.locked, "locked", false, "refuse to make or change ingot.lock")
	flags.BoolVar(&f.release, "release", false, "compress for size instead of speed")
}

func buildCommand(c *console) *cobra.Command {
	var f buildFlags
	var names []string
	var verify bool
	cmd := &cobra.Command{
		Use:               "build [DIR]",
		Short:             "Make the image and this server's instance config",
		Args:              folder,
		ValidArgsFunction: folders,
		RunE: func(cmd *cobra.Command, args []string) error {
			var formats []format.Format
			if cmd.Flags().Changed("format") {
				var err error
				if formats, err = format.Parse(names); err != nil {
					return err
				}
			}
			loaded, err := c.load(folderOf(args))
			if err != nil {
				return err
			}
			result, err := c.buildFormats(cmd.Context(), loaded, folderOf(args), f, formats)
			if err != nil {
				return err
			}
			if verify {
				if err := c.rebuild(cmd.Context(), folderOf(args), f, result.Result); err != nil {
					return err
				}
			}
			if c.json {
				return c.document(result)
			}
			if f.explain {
				if err := c.write(explainStages(result.Stages)); err != nil {
					return err
				}
			}
			raw := images.Converted{File: result.Image, Bytes: result.Bytes, DiskBytes: result.DiskBytes, SHA256: result.SHA256}
			return c.writeFormats(append([]images.Converted{raw}, result.Formats...))
		},
	}
	f.register(cmd)
	f.sharing.register(cmd)
	cmd.Flags().BoolVar(&f.explain, "explain", false, "say of each stage whether it was made, and what changed since the last build")
	cmd.Flags().BoolVar(&verify, "verify", false, "build once more from the packages alone, under other conditions, and compare")
	cmd.Flags().StringSliceVar(&names, "format", nil, "also write these "+formatHelp+format.Names())
	return cmd
}

// build makes the image and the instance config of a folder. The instance
// comes first: what is wrong with the secrets must show before minutes of work.
func (c *console) build(ctx context.Context, loaded config.Loaded, dir string, f buildFlags) (images.Result, error) {
	o, err := c.buildOptions(loaded, dir, f)
	if err != nil {
		return images.Result{}, err
	}
	if o.Sharing, err = f.sharing.sharing(loaded, dir); err != nil {
		return images.Result{}, err
	}
	if err := os.MkdirAll(o.Out, 0o755); err != nil {
		return images.Result{}, err
	}
	if err := errors.Join(sweep(o.Out), sweep(dir)); err != nil {
		c.remark("what a killed build left beside the outputs could not be deleted: %v", err)
	}
	instance, err := c.instance(loaded, dir)
	if err != nil {
		return images.Result{}, err
	}
	result, err := images.Build(ctx, loaded.Plan, o)
	c.endProgress()
	if errors.As(err, new(ignition.Findings)) {
		return result, located(loaded, err)
	}
	if err != nil {
		return result, err
	}
	if err := c.provenance(ctx, loaded, dir, o, result); err != nil {
		return result, err
	}
	// It holds secrets. Written under another name and renamed: an interrupted
	// build leaves the old one.
	return result, renameio.WriteFile(filepath.Join(o.Out, "instance.ign"), instance, 0o600, renameio.IgnoreUmask())
}

// withFormats is the JSON document of build.
type withFormats struct {
	images.Result
	Formats []images.Converted `json:"formats,omitempty"`
}

// buildFormats makes the image, and writes it in the formats.
func (c *console) buildFormats(ctx context.Context, loaded config.Loaded, dir string, f buildFlags, formats []format.Format) (withFormats, error) {
	result, err := c.build(ctx, loaded, dir, f)
	if err != nil || len(formats) == 0 {
		return withFormats{Result: result}, err
	}
	o, err := c.buildOptions(loaded, dir, f)
	if err != nil {
		return withFormats{}, err
	}
	image := format.Image{File: result.Image, SHA256: result.SHA256, Bytes: result.Bytes}
	all, err := images.Convert(ctx, o, image, formats)
	c.endProgress()
	return withFormats{result, all}, err
}

func (c *console) buildOptions(loaded config.Loaded, dir string, f buildFlags) (images.Options, error) {
	o, err := c.lockOptions(loaded, dir, f.sourceFlags)
	if err != nil {
		return o, err
	}
	if o.CacheBytes, err = cacheBytes(); err != nil {
		return o, err
	}
	if o.Agent, err = agentProgram(); err != nil {
		return o, err
	}
	o.Out, o.Locked, o.Explain = f.output(dir), f.locked, f.explain
	o.Remark = func(s string) { c.endProgress(); c.remark("%s", s) }
	if f.release {
		o.Compression = images.SmallCompression
	}
	return o, nil
}

// output is the folder of the outputs.
func (f buildFlags) output(dir string) string {
	return cmp.Or(f.out, filepath.Join(dir, "build"))
}

// agentProgram is the appliance's program, which "make" puts beside this one.
func agentProgram() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	agent := filepath.Join(filepath.Dir(self), "ingot-agent")
	if _, err := os.Stat(agent); err != nil {
		return "", fault.Machine(fmt.Errorf("%s is missing; \"make\" puts it beside ingot: %w", agent, err))
	}
	return agent, nil
}

// instance renders this server's user-data.
func (c *console) instance(loaded config.Loaded, dir string) ([]byte, error) {
	if err := c.makeServerKey(dir, loaded); err != nil {
		return nil, err
	}
	instance, err := ignition.Instance(loaded.Plan, ignition.SecretsIn(dir))
	if err != nil {
		return nil, located(loaded, err)
	}
	return instance.Pretty(), nil
}

// makeServerKey makes the server's WireGuard key when the plan has a slot for
// it and there is none yet: the owner must know its public half beforehand,
// or the new machine would lock its owner out.
func (c *console) makeServerKey(dir string, loaded config.Loaded) error {
	declared := false
	for _, s := range loaded.Plan.Secrets {
		declared = declared || s.Name == wireguard.PrivateKeySlot
	}
	if !declared {
		return nil
	}
	key, err := clients.MakeServerKey(dir)
	if err == nil && key.Made {
		c.remark("made the server's WireGuard key in %s; its public key is %s", key.File, key.Public)
	}
	return err
}

// longestWhy is how many reasons are shown of a stage; a new lock has hundreds.
const longestWhy = 12

// explainStages says of each stage what was done and why.
func explainStages(stages []images.StageResult) []byte {
	var b bytes.Buffer
	for _, s := range stages {
		done, why := "made", s.Why
		if s.Cached {
			done = "from the cache"
		}
		if n := len(why); n > longestWhy {
			why = append(slices.Clone(why[:longestWhy-1]), fmt.Sprintf("and %d more; --json has them all", n-longestWhy+1))
		}
		fmt.Fprintf(&b, "%-12s %s\n", s.Name, done)
		for _, line := range why {
			fmt.Fprintf(&b, "%-12s   %s\n", "", line)
		}
	}
	return b.Bytes()
}

// size writes bytes for people, in MiB.
func size(bytes int64) string { return fmt.Sprintf("%.0f MiB", float64(bytes)/(1<<20)) }
