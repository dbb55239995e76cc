package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"ingot/fault"
	"ingot/layers/nftables"
)

func renderNftablesCommand(c *console, instance *bool) *cobra.Command {
	return &cobra.Command{
		Use:               "nftables [DIR]",
		Short:             "the firewall's ruleset, checked by nft when it is installed",
		Args:              folder,
		ValidArgsFunction: folders,
		RunE: func(cmd *cobra.Command, args []string) error {
			if *instance {
				return fault.Input(errors.New("the firewall is the image's, the same for every instance; leave out --instance"))
			}
			return c.renderNftables(cmd.Context(), folderOf(args))
		},
	}
}

func (c *console) renderNftables(ctx context.Context, dir string) error {
	loaded, err := c.load(dir)
	if err != nil {
		return err
	}
	ruleset, ok := nftables.RulesetOf(loaded.Plan)
	if !ok {
		return fault.Input(errors.New("there is no ruleset: the layer nftables is off"))
	}
	unchecked, err := checkRuleset(ctx, ruleset)
	if err != nil {
		return err
	}
	if unchecked != "" {
		c.remark("The ruleset was not checked here (%s); the build does it in the image", unchecked)
	}
	if c.json {
		return c.document(rendered{Format: "nftables", Packages: []string{"nftables"}, Config: ruleset})
	}
	return c.write([]byte(ruleset))
}

// checkRuleset asks this machine's nft about a ruleset, in a network namespace
// of its own: checking asks the kernel, whose own rules must not matter.
// Unchecked says why this machine cannot tell.
func checkRuleset(ctx context.Context, ruleset string) (unchecked string, err error) {
	nft := program("nft")
	if nft == "" {
		return "nft is not installed", nil
	}
	run := func(arguments ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "unshare", append([]string{"--map-root-user", "--net", "--", nft}, arguments...)...)
		cmd.Stdin = strings.NewReader(ruleset)
		out, err := cmd.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	if out, err := run("list", "tables"); err != nil {
		return fmt.Sprintf("nft cannot run in a network namespace: %s", firstLine(out, err)), nil
	}
	out, err := run("--check", "--file", "/dev/stdin")
	switch {
	case err == nil:
		return "", nil
	case strings.Contains(out, "No such file or directory"), strings.Contains(out, "Operation not supported"):
		return fmt.Sprintf("this kernel lacks a part of nftables: %s", firstLine(out, err)), nil
	}
	return "", fmt.Errorf("nft refuses the ruleset, which is a mistake of Ingot's: %s", firstLine(out, err))
}

// program finds one that Debian keeps from the PATH of ordinary users.
func program(name string) string {
	for _, candidate := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	return ""
}

// firstLine is what a program said, or why it could not be asked.
func firstLine(out string, err error) string {
	line, _, _ := strings.Cut(out, "\n")
	if line == "" {
		return err.Error()
	}
	return line
}
