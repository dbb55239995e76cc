package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"ingot/fault"
	"ingot/providers"
)

func gcCommand(c *console) *cobra.Command {
	var f providerFlags
	var list bool
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Remove what interrupted work left at a provider",
		Long: `Remove what Ingot had made at a provider for work that then failed or was ended. The
journal of this user says what was begun, and a label on everything says what belongs
to it; what lacks either is not touched.`,
		Example: `  ingot gc --provider hetzner
  ingot gc --list`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fault.Input(fmt.Errorf("%s takes no argument: what is left is in this user's journal, not in a folder", cmd.CommandPath()))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			j, err := journal()
			if err != nil {
				return err
			}
			_, left, err := j.Entries()
			if err != nil {
				return err
			}
			if list {
				return c.listLeft(left)
			}
			p, err := f.open(cmd.Context(), c)
			if err != nil {
				return err
			}
			return c.collect(cmd.Context(), p, left)
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&list, "list", false, "show what was begun and not finished, ask no provider")
	return cmd
}

// pendingWork is a piece of work in the JSON document of gc --list.
type pendingWork struct {
	ID       string               `json:"id"`
	Provider string               `json:"provider"`
	Account  string               `json:"account"`
	What     string               `json:"what"`
	Began    time.Time            `json:"began"`
	Created  []providers.Resource `json:"created"`
}

func (c *console) listLeft(left []*providers.Entry) error {
	all := []pendingWork{}
	var text []byte
	for _, e := range left {
		all = append(all, pendingWork{e.ID, e.Provider, e.Account, e.What, e.Began, e.Created})
		text = fmt.Appendf(text, "%s  %s  %s, of %s: %d things asked for\n", e.ID, e.Provider, e.What, e.Began.Format("2006-01-02 15:04 MST"), len(e.Created))
	}
	if c.json {
		return c.document(all)
	}
	return c.write(text)
}

// collect removes what is left at one provider.
func (c *console) collect(ctx context.Context, p providers.Provider, left []*providers.Entry) error {
	removed := []providers.Resource{}
	var failed error
	for _, e := range left {
		if e.Provider != p.Name() || e.Account != p.Account() {
			c.remark("%s, of %s, is at %s, %s: not looked at", e.What, e.Began.Format("2006-01-02 15:04 MST"), e.Provider, e.Account)
			continue
		}
		gone, err := e.Collect(ctx, p)
		removed = append(removed, gone...)
		if err != nil {
			failed = err
			c.remark("%s: %v", e.What, err)
		}
	}
	if c.json {
		if err := c.document(removed); err != nil {
			return err
		}
	} else if err := c.writeRemoved(removed); err != nil {
		return err
	}
	return failed
}
