package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"ingot/fault"
	"ingot/providers"
)

func destroyCommand(c *console) *cobra.Command {
	var f providerFlags
	var yes string
	cmd := &cobra.Command{
		Use:   "destroy [DIR]",
		Short: "Remove a server that Ingot deployed, with its disks",
		Long: `Remove a server and all that was made for it: disks, firewall, addresses. Its state is
gone then. Only what Ingot made and labelled is touched; the image stays.`,
		Example:           `  ingot destroy --provider libvirt --yes openclaw`,
		Args:              folder,
		ValidArgsFunction: folders,
		RunE: func(cmd *cobra.Command, args []string) error {
			loaded, err := c.read(folderOf(args))
			if err != nil {
				return err
			}
			p, err := f.open(cmd.Context(), c)
			if err != nil {
				return err
			}
			s, err := find(cmd.Context(), p, f.serverName(loaded))
			if err != nil {
				return err
			}
			if err := c.confirmed(s.Name, yes, fmt.Sprintf("the server %s at %s and its disks will be gone", s.Name, p.Name())); err != nil {
				return err
			}
			removed, err := c.destroy(cmd.Context(), p, s)
			if err != nil {
				return err
			}
			if c.json {
				return c.document(removed)
			}
			return c.writeRemoved(removed)
		},
	}
	f.register(cmd)
	f.registerServer(cmd)
	cmd.Flags().StringVar(&yes, "yes", "", "the server's name once more: do not ask")
	return cmd
}

// confirmed wants the name of what will be gone, from a flag or from a person.
func (c *console) confirmed(name, given, what string) error {
	if given == "" {
		if !term.IsTerminal(int(os.Stdin.Fd())) {
			return fault.Input(fmt.Errorf("%s; confirm it with --yes %s", what, name))
		}
		fmt.Fprintf(c.stderr, "%s. Type its name to go on: ", what)
		if _, err := fmt.Fscanln(os.Stdin, &given); err != nil {
			return fault.Input(errors.New("nothing was confirmed, and nothing is done"))
		}
	}
	if given != name {
		return fault.Input(fmt.Errorf("%q is not %q; nothing is done", given, name))
	}
	return nil
}

// destroy removes what carries the server's label.
func (c *console) destroy(ctx context.Context, p providers.Provider, s providers.Server) ([]providers.Resource, error) {
	id := s.Labels[providers.LabelID]
	if id == "" {
		return nil, fault.Input(fmt.Errorf("the server %s has no label %s, so Ingot did not make it; it is not touched", s.Name, providers.LabelID))
	}
	found, err := p.Find(ctx, id)
	if err != nil {
		return nil, err
	}
	removed := []providers.Resource{}
	for _, r := range found {
		if err := p.Delete(ctx, r); err != nil {
			return removed, fmt.Errorf("delete the %s %s: %w; run the command again", r.Kind, r.Name, err)
		}
		removed = append(removed, r)
	}
	return removed, nil
}

func (c *console) writeRemoved(removed []providers.Resource) error {
	var text []byte
	for _, r := range removed {
		text = fmt.Appendf(text, "removed  %s  %s\n", r.Kind, r.Name)
	}
	return c.write(text)
}
