package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"ingot/clients"
	"ingot/config"
	"ingot/fault"
	"ingot/ignition"
	"ingot/images"
	"ingot/layers/wireguard"
)

// buildFlags are shared by the verbs that need an image.
type buildFlags struct {
	out, mirror string
	locked      bool
	release     bool
}

func (f *buildFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&f.out, "output", "o", "", "folder of the outputs, DIR/build by default")
	flags.StringVar(&f.mirror, "mirror", "", "base URL of Debian's archives, "+images.DefaultMirror+" by default")
	flags.BoolVar(&f.locked, "locked", false, "refuse to make or change ingot.lock")
	flags.BoolVar(&f.release, "release", false, "compress for size instead of speed")
}

func buildCommand(c *console) *cobra.Command {
	var f buildFlags
	cmd := &cobra.Command{
		Use:               "build [DIR]",
		Short:             "Make the image and this server's instance config",
		Args:              folder,
		ValidArgsFunction: folders,
		RunE: func(cmd *cobra.Command, args []string) error {
			loaded, err := c.load(folderOf(args))
			if err != nil {
				return err
			}
			result, err := c.build(cmd.Context(), loaded, folderOf(args), f)
			if err != nil {
				return err
			}
			if c.json {
				return c.document(result)
			}
			return c.write(fmt.Appendf(nil, "%s  %s, %s on disk, sha256 %s\n", result.Image, size(result.Bytes), size(result.DiskBytes), result.SHA256))
		},
	}
	f.register(cmd)
	return cmd
}

func lockCommand(c *console) *cobra.Command {
	var f buildFlags
	cmd := &cobra.Command{
		Use:               "lock [DIR]",
		Short:             "Resolve the packages anew and write ingot.lock",
		Args:              folder,
		ValidArgsFunction: folders,
		RunE: func(cmd *cobra.Command, args []string) error {
			loaded, err := c.load(folderOf(args))
			if err != nil {
				return err
			}
			o, err := c.buildOptions(folderOf(args), f)
			if err != nil {
				return err
			}
			lock, err := images.MakeLock(cmd.Context(), loaded.Plan, o)
			c.endProgress()
			if err != nil {
				return err
			}
			if c.json {
				return c.document(lock)
			}
			return c.write(fmt.Appendf(nil, "%s  %d packages in the image\n", o.LockFile, len(lock.Trees[images.TreeImage])))
		},
	}
	f.register(cmd)
	return cmd
}

// build makes the image and the instance config of a folder. The instance
// comes first: what is wrong with the secrets must show before minutes of work.
func (c *console) build(ctx context.Context, loaded config.Loaded, dir string, f buildFlags) (images.Result, error) {
	o, err := c.buildOptions(dir, f)
	if err != nil {
		return images.Result{}, err
	}
	if err := os.MkdirAll(o.Out, 0o755); err != nil {
		return images.Result{}, err
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

func (c *console) buildOptions(dir string, f buildFlags) (images.Options, error) {
	cache, err := images.OpenCache(os.Getenv("INGOT_CACHE"))
	if err != nil {
		return images.Options{}, err
	}
	agent, err := agentProgram()
	if err != nil {
		return images.Options{}, err
	}
	o := images.Options{
		LockFile: filepath.Join(dir, images.LockFile), Out: f.out, Mirror: f.mirror, Locked: f.locked,
		Agent: agent, Cache: cache, Progress: c.progress,
	}
	if o.Out == "" {
		o.Out = filepath.Join(dir, "build")
	}
	if f.release {
		o.Compression = images.SmallCompression
	}
	if c.verbose {
		o.Log = c.stderr
	}
	return o, nil
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

// size writes bytes for people, in MiB.
func size(bytes int64) string { return fmt.Sprintf("%.0f MiB", float64(bytes)/(1<<20)) }
