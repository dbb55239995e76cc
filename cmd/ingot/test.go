package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"ingot/config"
	"ingot/fault"
	"ingot/images"
	"ingot/qemu-tests/assay"
	"ingot/qemu-tests/attest"
	"ingot/qemu-tests/verdict"
	"ingot/qemu-tests/vm"
)

// testFlags say what an assay makes, and what happens when a check fails.
type testFlags struct {
	buildFlags
	uefi, depth, full, list, keep, shell bool

	only, skip    []string
	timeoutFactor float64
}

const testLong = `Boot the image of a folder in QEMU, on a simulated internet, and try to break its
promises. The image is built first when it is not up to date.

The standard suite boots once, looks at the machine on a copy while it reboots, and
takes a minute and a half. --full adds the scenarios: power cuts, floods, broken disks
and clocks. --depth adds the tools of others.

--only and --skip take names of checks, layers, suites (standard, full, depth) and
patterns such as 'sysctl.*'. A verdict with a check left out is incomplete, which is no
pass.`

func testCommand(c *console) *cobra.Command {
	var f testFlags
	cmd := &cobra.Command{
		Use:               "test [DIR]",
		Short:             "Prove the image on a simulated internet",
		Long:              testLong,
		Args:              folder,
		ValidArgsFunction: folders,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.list {
				return c.listChecks(folderOf(args))
			}
			return c.test(cmd.Context(), folderOf(args), f)
		},
	}
	f.register(cmd)
	f.sharing.register(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&f.uefi, "uefi", false, "boot with UEFI firmware instead of BIOS")
	flags.BoolVar(&f.full, "full", false, "play the scenarios, too, which takes half an hour")
	flags.BoolVar(&f.depth, "depth", false, "let lynis and ssh-audit look at the machine, too, which takes minutes")
	flags.BoolVar(&f.list, "list", false, "list the checks and scenarios, make none")
	flags.StringSliceVar(&f.only, "only", nil, "make only these checks")
	flags.StringSliceVar(&f.skip, "skip", nil, "leave these checks out")
	flags.BoolVar(&f.keep, "keep", false, "keep the machines' disks also when all went well")
	flags.BoolVar(&f.shell, "ssh-on-failure", false, "open a root shell on the machine when a check fails")
	flags.Float64Var(&f.timeoutFactor, "timeout-factor", 1, "multiply all timeouts, for slow hosts")
	return cmd
}

// test makes an assay and its reports.
func (c *console) test(ctx context.Context, dir string, f testFlags) error {
	o, err := f.options(c)
	if err != nil {
		return err
	}
	loaded, err := c.load(dir)
	if err != nil {
		return err
	}
	o.Selection.Also = loaded.Test.Require
	needs, err := o.Selection.Needs(loaded.Plan)
	if err != nil {
		return fault.Input(err)
	}
	key, err := attest.FindKey(attest.PlacesOf(dir))
	if err != nil {
		return err
	}
	result, err := c.build(ctx, loaded, dir, f.buildFlags)
	if err != nil {
		return err
	}
	if slices.Contains(needs, verdict.Deep) {
		if o.Audit, err = c.auditTree(ctx, loaded, dir, f.buildFlags); err != nil {
			return err
		}
	}
	v, err := c.assay(ctx, loaded, result, o)
	if err != nil {
		return err
	}
	v.ConfigSHA256 = loaded.Digest
	if v.LockSHA256, err = digestOf(filepath.Join(dir, images.LockFile)); err != nil {
		return err
	}
	return c.verdict(v, result.Image, key)
}

// options are what the flags mean for the assay.
func (f testFlags) options(c *console) (assay.Options, error) {
	o := assay.Options{Firmware: firmware(f.uefi), Keep: f.keep, TimeoutFactor: f.timeoutFactor}
	o.Selection = assay.Selection{Only: f.only, Skip: f.skip}
	if f.full {
		o.Selection.Suites = append(o.Selection.Suites, verdict.Full)
	}
	if f.depth {
		o.Selection.Suites = append(o.Selection.Suites, verdict.Deep)
	}
	if f.timeoutFactor <= 0 || f.timeoutFactor > 100 {
		return o, fault.Input(fmt.Errorf("--timeout-factor %g makes no sense; use a number above 0, 100 at most", f.timeoutFactor))
	}
	if !f.shell {
		return o, nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return o, fault.Input(errors.New("--ssh-on-failure needs a terminal"))
	}
	o.OnFailure = func(ctx context.Context, s *assay.Shell, r verdict.Result) {
		c.endProgress()
		c.remark("%s: %s\n%s\nThis is a root shell on the machine; the assay goes on when you leave it.", r.ID, r.Title, r.Problem)
		if err := s.Interactive(ctx); err != nil {
			c.remark("the shell ended: %v", err)
		}
	}
	return o, nil
}

// listChecks shows what an assay can look at, without making one.
func (c *console) listChecks(dir string) error {
	loaded, err := c.read(dir)
	if err != nil {
		return err
	}
	list := assay.List(loaded.Plan)
	if c.json {
		return c.document(list)
	}
	w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	for _, l := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\n", l.ID, l.Suite, l.Title)
	}
	return w.Flush()
}

func firmware(uefi bool) vm.Firmware {
	if uefi {
		return vm.UEFI
	}
	return vm.BIOS
}

// auditTree brings the tree of the audit tools up to date.
func (c *console) auditTree(ctx context.Context, loaded config.Loaded, dir string, f buildFlags) (string, error) {
	o, err := c.buildOptions(loaded, dir, f)
	if err != nil {
		return "", err
	}
	tree, err := images.AuditTree(ctx, loaded.Plan, o)
	c.endProgress()
	return tree, err
}

// built loads a folder and brings its image up to date.
func (c *console) built(ctx context.Context, dir string, f buildFlags) (config.Loaded, images.Result, error) {
	loaded, err := c.load(dir)
	if err != nil {
		return loaded, images.Result{}, err
	}
	result, err := c.build(ctx, loaded, dir, f)
	return loaded, result, err
}

// assay fills in the options that follow from the image and runs.
func (c *console) assay(ctx context.Context, loaded config.Loaded, result images.Result, o assay.Options) (verdict.Verdict, error) {
	work, err := filepath.Abs(filepath.Join(filepath.Dir(result.Image), "assay"))
	if err != nil {
		return verdict.Verdict{}, err
	}
	if err := os.RemoveAll(work); err != nil {
		return verdict.Verdict{}, err
	}
	image, err := filepath.Abs(result.Image)
	if err != nil {
		return verdict.Verdict{}, err
	}
	cache, err := images.OpenCache(os.Getenv("INGOT_CACHE"))
	if err != nil {
		return verdict.Verdict{}, err
	}
	o.Image, o.Site, o.Layers, o.Locked = image, loaded.Plan.Site, loaded.Layers, result.Digests
	o.Toolchain, o.Dir, o.Cache = vm.Toolchain{Root: result.Tools, Kernel: result.Kernel}, work, cache.Dir
	o.Say = func(s string) { c.remark("%s", s) }
	done := 0
	var mu sync.Mutex
	o.Progress = func(r verdict.Result) {
		mu.Lock()
		defer mu.Unlock()
		done++
		isLong := r.Layer == verdict.Scenarios
		c.line(r.Result != verdict.Passed || isLong, "%3d %s: %s (%.1f s)", done, r.Result, r.Title, r.Seconds)
	}
	v, err := assay.Run(ctx, o)
	c.endProgress()
	return v, err
}
