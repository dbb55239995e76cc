package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"ingot/config"
	"ingot/fault"
	"ingot/images"
	"ingot/qemu-tests/assay"
	reports "ingot/qemu-tests/report"
	"ingot/qemu-tests/verdict"
	"ingot/qemu-tests/vm"
)

func testCommand(c *console) *cobra.Command {
	var f buildFlags
	var uefi, depth bool
	var selection assay.Selection
	cmd := &cobra.Command{
		Use:               "test [DIR]",
		Short:             "Prove the image on a simulated internet",
		Long:              "Boot the image of a folder in QEMU, on a simulated internet, and try to break its promises. The image is built first when it is not up to date.",
		Args:              folder,
		ValidArgsFunction: folders,
		RunE: func(cmd *cobra.Command, args []string) error {
			loaded, result, err := c.built(cmd.Context(), folderOf(args), f)
			if err != nil {
				return err
			}
			audit := ""
			if depth {
				selection.Suites = append(selection.Suites, verdict.Deep)
				if audit, err = c.auditTree(cmd.Context(), loaded, folderOf(args), f); err != nil {
					return err
				}
			}
			v, err := c.assay(cmd.Context(), loaded, result, assay.Options{Firmware: firmware(uefi), Audit: audit, Selection: selection})
			if err != nil {
				return err
			}
			return c.verdict(v, filepath.Dir(result.Image))
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&uefi, "uefi", false, "boot with UEFI firmware instead of BIOS")
	cmd.Flags().BoolVar(&depth, "depth", false, "let lynis and ssh-audit look at the machine, too, which takes minutes")
	return cmd
}

func firmware(uefi bool) vm.Firmware {
	if uefi {
		return vm.UEFI
	}
	return vm.BIOS
}

// auditTree brings the tree of the audit tools up to date.
func (c *console) auditTree(ctx context.Context, loaded config.Loaded, dir string, f buildFlags) (string, error) {
	o, err := c.buildOptions(dir, f)
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
	o.Image, o.Site, o.Layers = image, loaded.Plan.Site, loaded.Layers
	o.Toolchain, o.Dir, o.Cache = vm.Toolchain{Root: result.Tools, Kernel: result.Kernel}, work, cache.Dir
	o.Say = func(s string) { c.remark("%s", s) }
	o.Progress = func(r verdict.Result) { c.line(r.Result != verdict.Passed, "%s: %s", r.Result, r.Title) }
	v, err := assay.Run(ctx, o)
	c.endProgress()
	return v, err
}

// verdict shows and keeps the outcome; anything but passed is an error.
func (c *console) verdict(v verdict.Verdict, out string) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, "verdict.json"), append(b, '\n'), 0o644); err != nil {
		return err
	}
	if c.json {
		err = c.document(v)
	} else {
		err = reports.Text(c.stdout, v, reports.TextOptions{Verbose: c.verbose})
	}
	if err != nil {
		return err
	}
	switch v.Verdict {
	case verdict.Passed:
		return nil
	case verdict.Failed:
		return shown{fault.Checks(errors.New("the image does not keep its promises"))}
	}
	return shown{fault.Checks(fmt.Errorf("the verdict is %s; it proves nothing", v.Verdict))}
}

// shown is an error whose JSON document is already on stdout.
type shown struct{ error }

func (s shown) Unwrap() error { return s.error }
