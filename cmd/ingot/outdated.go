package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"ingot/config"
	"ingot/fault"
	"ingot/images"
)

// outdatedFlags say what of the changes is shown.
type outdatedFlags struct {
	sourceFlags
	changelogs bool
	exitCode   bool
}

func outdatedCommand(c *console) *cobra.Command {
	var f outdatedFlags
	cmd := &cobra.Command{
		Use:   "outdated [DIR]",
		Short: "Show what a new lock would change, and why",
		Long: `Resolve the packages of ingot.yaml anew and show, package by package, what a new lock
would change. ingot.lock stays as it is. With --changelogs, read for each changed
source what Debian wrote about it, CVE ids among it.`,
		Args:              folder,
		ValidArgsFunction: folders,
		RunE: func(cmd *cobra.Command, args []string) error {
			loaded, err := c.load(folderOf(args))
			if err != nil {
				return err
			}
			o, err := c.lockOptions(loaded, folderOf(args), f.sourceFlags)
			if err != nil {
				return err
			}
			return c.outdated(cmd.Context(), loaded, o, f)
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&f.changelogs, "changelogs", false, "download one package of each changed source, show its changelog and the CVE ids in it")
	cmd.Flags().BoolVar(&f.exitCode, "exit-code", false, "end with 1 when a new lock would change something")
	return cmd
}

func (c *console) outdated(ctx context.Context, loaded config.Loaded, o images.Options, f outdatedFlags) error {
	found, err := images.FindOutdated(ctx, loaded.Plan, o, f.changelogs)
	c.endProgress()
	if err != nil {
		return err
	}
	return c.tellOutdated(found, f, filepath.Dir(loaded.File))
}

func (c *console) tellOutdated(found images.Outdated, f outdatedFlags, dir string) error {
	var err error
	if c.json {
		err = c.document(found)
	} else {
		err = c.writeOutdated(found, f.changelogs, dir)
	}
	if err == nil && f.exitCode && len(found.Packages)+len(found.Images) > 0 {
		err = fault.Checks(errors.New("ingot.lock is outdated"))
		if c.json {
			err = shown{err}
		}
	}
	return err
}

func (c *console) writeOutdated(found images.Outdated, changelogs bool, dir string) error {
	if len(found.Images) > 0 {
		if err := c.table(func(w io.Writer) { writeImageChanges(w, found.Images) }); err != nil {
			return err
		}
	}
	if len(found.Packages) == 0 {
		return c.write([]byte("no package would change\n"))
	}
	if err := c.table(func(w io.Writer) { writeDiff(w, images.Diff{Packages: found.Packages}) }); err != nil {
		return err
	}
	var b strings.Builder
	security, names := 0, map[string]bool{}
	for _, p := range found.Packages {
		names[p.Name] = true
	}
	for _, s := range found.Sources {
		if s.Archive == images.ArchiveSecurity {
			security++
		}
		if changelogs {
			c.writeEntries(&b, s)
		}
	}
	fmt.Fprintf(&b, "\n%d packages would change, of %d sources, %d of them with a security update; %s to download\n", len(names), len(found.Sources), security, size(found.Bytes))
	fmt.Fprintf(&b, "%s\n", next(changelogs, dir))
	return c.write([]byte(b.String()))
}

func writeImageChanges(w io.Writer, changes []images.ImageChange) {
	fmt.Fprintln(w, "container images")
	for _, i := range changes {
		fmt.Fprintf(w, "  %s\t%s → %s\n", i.Name, cmp.Or(i.From, "none"), cmp.Or(i.To, "none"))
	}
}

// next says what to do with the news.
func next(changelogs bool, dir string) string {
	if changelogs {
		return fmt.Sprintf("ingot lock %s takes them over; build and test again", dir)
	}
	return fmt.Sprintf("ingot outdated --changelogs %s shows why, ingot lock %[1]s takes them over", dir)
}

// shownLines of a changelog and shownCVEs are enough to judge it; --verbose
// shows all.
const (
	shownLines = 12
	shownCVEs  = 8
)

func (c *console) writeEntries(b *strings.Builder, s images.SourceChange) {
	fmt.Fprintf(b, "\n%s %s → %s (%s)\n", s.Source, s.From, s.To, s.Archive)
	ids := c.shorten(s.CVEs, shownCVEs, "CVE ids")
	if len(ids) > 0 {
		fmt.Fprintf(b, "  %s\n", strings.Join(ids, " "))
	}
	if s.Problem != "" {
		fmt.Fprintf(b, "  the changelog could not be read: %s\n", s.Problem)
	}
	var lines []string
	for _, e := range s.Entries {
		lines = append(lines, e.Version+":")
		for line := range strings.SplitSeq(e.Text, "\n") {
			if line = strings.TrimRight(line, " "); line != "" {
				lines = append(lines, line)
			}
		}
	}
	for _, line := range c.shorten(lines, shownLines, "lines") {
		fmt.Fprintf(b, "  %s\n", line)
	}
}

// shorten cuts a list to its beginning and says what is left out.
func (c *console) shorten(list []string, n int, what string) []string {
	if c.verbose || len(list) <= n {
		return list
	}
	return append(list[:n:n], fmt.Sprintf("… and %d more %s with --verbose", len(list)-n, what))
}
