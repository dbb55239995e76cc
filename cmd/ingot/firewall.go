package main

import (
	"context"

	"github.com/spf13/cobra"

	"ingot/providers"
)

func firewallCommand(c *console) *cobra.Command {
	firewall := &cobra.Command{
		Use:   "firewall",
		Short: "Compare the provider's firewall with the image's, and make them equal",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknown(cmd, args[0])
		},
	}
	firewall.AddCommand(firewallVerb(c, "plan", "Show what apply would change", c.planFirewall), firewallVerb(c, "apply", "Make the provider's firewall equal to the image's", c.applyFirewall))
	return firewall
}

// firewallVerb is plan or apply.
func firewallVerb(c *console, name, short string, work func(context.Context, providers.Wall, []providers.Rule, bool) (providers.Plan, error)) *cobra.Command {
	var f providerFlags
	var exclusive bool
	cmd := &cobra.Command{
		Use:   name + " [DIR]",
		Short: short,
		Long: short + `. Both come from one table, the one that
"ingot explain" shows. "+" is opened, "-" is closed, "=" is as it should be, "?" is a
rule of somebody else's, which stays.`,
		Args:              folder,
		ValidArgsFunction: folders,
		RunE: func(cmd *cobra.Command, args []string) error {
			loaded, err := c.load(folderOf(args))
			if err != nil {
				return err
			}
			p, err := f.open(cmd.Context(), c)
			if err != nil {
				return err
			}
			server, err := find(cmd.Context(), p, f.serverName(loaded))
			if err != nil {
				return err
			}
			wall, err := p.Wall(cmd.Context(), server)
			if err != nil {
				return err
			}
			plan, err := work(cmd.Context(), wall, rulesOf(loaded), exclusive)
			if err != nil {
				return err
			}
			if c.json {
				return c.document(plan)
			}
			return c.write([]byte(plan.Text()))
		},
	}
	f.register(cmd)
	f.registerServer(cmd)
	cmd.Flags().BoolVar(&exclusive, "exclusive", false, "remove rules that Ingot did not make")
	return cmd
}

func (c *console) planFirewall(ctx context.Context, w providers.Wall, want []providers.Rule, exclusive bool) (providers.Plan, error) {
	have, err := w.Read(ctx)
	return providers.Compare(want, have, exclusive), err
}

func (c *console) applyFirewall(ctx context.Context, w providers.Wall, want []providers.Rule, exclusive bool) (providers.Plan, error) {
	return providers.Apply(ctx, w, want, exclusive)
}
