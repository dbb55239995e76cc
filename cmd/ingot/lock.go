package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"ingot/config"
	"ingot/fault"
	"ingot/images"
)

// sourceFlags say where packages come from.
type sourceFlags struct {
	mirrors  []string
	snapshot string
}

func (f *sourceFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVar(&f.mirrors, "mirror", nil, "base URL of Debian's archives, asked before base.mirrors; can be repeated")
	flags.StringVar(&f.snapshot, "snapshot", images.DefaultSnapshot, "base URL of an archive of what has left the mirrors, empty for none")
}

// lockOptions are what making a lock needs: the mirrors of the command line
// come before those of ingot.yaml.
func (c *console) lockOptions(loaded config.Loaded, dir string, f sourceFlags) (images.Options, error) {
	urls := slices.Clone(f.mirrors)
	if f.snapshot != "" {
		urls = append(urls, f.snapshot)
	}
	for _, u := range urls {
		if message, advice := config.MirrorProblem(u); message != "" {
			return images.Options{}, fault.Input(fmt.Errorf("%s; %s", message, advice))
		}
	}
	cache, err := images.OpenCache(os.Getenv("INGOT_CACHE"))
	if err != nil {
		return images.Options{}, err
	}
	o := images.Options{
		LockFile: filepath.Join(dir, images.LockFile), Dir: dir, Mirrors: slices.Concat(f.mirrors, loaded.Mirrors), Snapshot: f.snapshot,
		Cache: cache, Progress: c.progress,
	}
	if c.verbose {
		o.Log = c.stderr
	}
	return o, nil
}

func lockCommand(c *console) *cobra.Command {
	var f sourceFlags
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "lock [DIR]",
		Short: "Resolve the packages anew, write ingot.lock and show what changed",
		Long: `Resolve the packages of ingot.yaml anew with apt, write ingot.lock when that changes
it, and show what changed. The numbers of accounts are kept.`,
		Args:              folder,
		ValidArgsFunction: folders,
		RunE: func(cmd *cobra.Command, args []string) error {
			loaded, err := c.load(folderOf(args))
			if err != nil {
				return err
			}
			o, err := c.lockOptions(loaded, folderOf(args), f)
			if err != nil {
				return err
			}
			return c.lock(cmd.Context(), loaded, o, dryRun)
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show which packages would change, write nothing")
	return cmd
}

// locked is the JSON document of lock.
type locked struct {
	File     string `json:"file"`
	Written  bool   `json:"written"`
	Packages int    `json:"image_packages"`
	images.Diff
}

func (c *console) lock(ctx context.Context, loaded config.Loaded, o images.Options, dryRun bool) error {
	r, err := images.MakeLock(ctx, loaded.Plan, o, dryRun)
	c.endProgress()
	if err != nil {
		return err
	}
	count := len(r.Lock.Trees[images.TreeImage])
	if c.json {
		return c.document(locked{o.LockFile, r.Written, count, r.Diff})
	}
	if err := c.table(func(w io.Writer) { writeDiff(w, r.Diff) }); err != nil {
		return err
	}
	state := fmt.Sprintf("%d packages in the image", count)
	switch {
	case dryRun && r.Diff.First:
		state += "; not written, there is no lock yet"
	case dryRun && r.Diff.Empty():
		state += "; no package would change"
	case dryRun:
		state += "; not written"
	case !r.Written:
		state += "; up to date"
	}
	return c.write(fmt.Appendf(nil, "%s  %s\n", o.LockFile, state))
}

// writeDiff shows the packages by tree, then the rest.
func writeDiff(w io.Writer, d images.Diff) {
	var tree images.Tree
	for _, p := range d.Packages {
		if p.Tree != tree {
			tree = p.Tree
			fmt.Fprintln(w, tree)
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", p.Kind, p.Name, p.Archive, versions(p))
	}
	for _, s := range d.Other {
		fmt.Fprintln(w, s)
	}
}

func versions(c images.Change) string {
	switch c.Kind {
	case images.Added:
		return c.To
	case images.Removed:
		return c.From
	case images.Replaced:
		return c.To + ", another file"
	}
	return c.From + " → " + c.To
}

// table writes columns that are parted by tabs to stdout.
func (c *console) table(rows func(w io.Writer)) error {
	w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	rows(w)
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}
