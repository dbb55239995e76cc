package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"

	"github.com/spf13/cobra"

	"ingot/config"
	"ingot/fault"
	"ingot/layers/nftables"
	"ingot/providers"
	"ingot/qemu-tests/live"
)

const deployLong = `Make a server of a folder's image: the firewall first, then the server with the
instance config, then a look at the machine through its tunnel and from outside. It
is deployed when all that was seen there is as it should be.

With --replace the new server is made and looked at beside the old one, then it gets
the old one's state and address, and is looked at again. The old one is kept:
"ingot rollback" gives both back, "ingot destroy" removes it.`

// deployFlags say how a server is made.
type deployFlags struct {
	gate    gateFlags
	where   providerFlags
	owner   ownerFlags
	replace string // name of a server that is there
	// freshState leaves the state of the replaced server where it is.
	freshState bool
}

func deployCommand(c *console) *cobra.Command {
	var f deployFlags
	cmd := &cobra.Command{
		Use:   "deploy [DIR]",
		Short: "Make a server of a proven image, and prove the server",
		Long:  deployLong,
		Example: `  ingot deploy --provider libvirt --client laptop.conf
  ingot deploy --provider hetzner --replace openclaw`,
		Args:              folder,
		ValidArgsFunction: folders,
		RunE: func(cmd *cobra.Command, args []string) error {
			made, err := c.deploy(cmd.Context(), folderOf(args), f)
			if err != nil {
				return err
			}
			if c.json {
				return c.document(made)
			}
			return c.write(fmt.Appendf(nil, "%s  %s  host key %s\n", made.Server.Name, made.Server.Addresses[0], made.Proof.HostKey))
		},
	}
	f.gate.register(cmd)
	f.where.register(cmd)
	f.where.registerMachine(cmd)
	f.where.registerServer(cmd)
	f.owner.register(cmd)
	cmd.Flags().BoolVar(&f.freshState, "fresh-state", false, "with --replace: leave the old one's state behind, where it cannot be moved")
	cmd.Flags().StringVar(&f.replace, "replace", "", "name of a server that the new one takes over from: its state and its address")
	return cmd
}

// deployed is the JSON document of deploy.
type deployed struct {
	Provider string           `json:"provider"`
	Image    providers.Image  `json:"image"`
	Server   providers.Server `json:"server"`
	Proof    live.Proof       `json:"proof"`
}

// ready is all that a deploy needs from here, before anything is made there.
type ready struct {
	loaded   config.Loaded
	image    proven
	instance []byte
	owner    owner
	provider providers.Provider
}

func (c *console) ready(ctx context.Context, dir string, f deployFlags) (ready, error) {
	r := ready{owner: owner{close: func() {}}}
	var err error
	if r.loaded, err = c.load(dir); err != nil {
		return r, err
	}
	if r.image, err = c.gate(ctx, dir, f.gate); err != nil {
		return r, err
	}
	if r.instance, err = c.instanceOf(r.loaded, dir); err != nil {
		return r, err
	}
	if r.owner, err = f.owner.owner(r.loaded, dir); err != nil {
		return r, err
	}
	r.provider, err = f.where.open(ctx, c)
	return r, err
}

func (c *console) deploy(ctx context.Context, dir string, f deployFlags) (deployed, error) {
	r, err := c.ready(ctx, dir, f)
	defer r.owner.close()
	if err != nil {
		return deployed{}, err
	}
	if f.replace != "" {
		return c.replace(ctx, r, f)
	}
	made, err := c.deployAs(ctx, r, f, f.where.serverName(r.loaded))
	if err != nil {
		return made, err
	}
	return made, errors.Join(c.connects(r.owner, made.Server.Addresses), c.forget(ctx, r.provider, made.Server))
}

// deployAs makes a server under a name that nobody has.
func (c *console) deployAs(ctx context.Context, r ready, f deployFlags, name string) (deployed, error) {
	p, made := r.provider, deployed{Provider: r.provider.Name()}
	if err := free(ctx, p, name); err != nil {
		return made, err
	}
	// 1. The image.
	var err error
	if made.Image, err = c.upload(ctx, p, r.loaded.Plan.Site.Name, r.image); err != nil {
		return made, err
	}
	err = c.under(p, "deploy "+name, func(e *providers.Entry) error {
		// 2. The wall and the server.
		labels := maps.Clone(r.image.labels)
		labels[providers.LabelID], labels[providers.LabelServer] = e.ID, name
		if f.replace != "" {
			labels[providers.LabelReplaces] = f.replace
		}
		made.Server, err = p.Deploy(ctx, providers.Machine{
			Name: name, Image: made.Image, UserData: r.instance, Rules: rulesOf(r.loaded), Labels: labels,
			Location: f.where.location, Size: f.where.size, Journal: e,
		})
		if err != nil {
			return err
		}
		// 3. The machine.
		made.Proof, err = c.prove(ctx, r, made.Server.Addresses)
		return err
	})
	return made, err
}

// forget has a provider drop the instance config of a server that has its state, and so
// keeps the config itself.
func (c *console) forget(ctx context.Context, p providers.Provider, s providers.Server) error {
	forgetter, ok := p.(providers.Forgetter)
	if !ok {
		return nil
	}
	if err := forgetter.DropConfig(ctx, s); err != nil {
		return fmt.Errorf("%s runs and is proven, but %s still has its instance config, secrets included: %w", s.Name, p.Name(), err)
	}
	return nil
}

// connects lets the client's config know where the server is.
func (c *console) connects(o owner, addresses []netip.Addr) error {
	address, err := reachable(addresses)
	if err != nil {
		return err
	}
	changed, err := o.knows(address)
	if changed && err == nil {
		c.remark("%s has the server's address now: take it to the device", o.file)
	}
	return err
}

// free refuses a name that a server has already.
func free(ctx context.Context, p providers.Provider, name string) error {
	_, err := find(ctx, p, name)
	switch {
	case errors.Is(err, errNoServer):
		return nil
	case err != nil:
		return err
	}
	return fault.Input(fmt.Errorf("there is a server %q at %s; \"ingot destroy --server %[1]s\" removes it, --server gives the new one another name", name, p.Name()))
}

// rulesOf are what the plan asks of the firewall before the machine.
func rulesOf(loaded config.Loaded) []providers.Rule {
	ping := false
	for _, l := range loaded.Layers {
		if n, ok := l.(nftables.Layer); ok {
			ping = n.Options.Ping
		}
	}
	return providers.Rules(loaded.Plan.Ports, ping)
}
