package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"github.com/spf13/cobra"

	"ingot/fault"
	"ingot/providers"
	"ingot/qemu-tests/live"
)

// replace has a new server take over from an old one. Until the end the old one can
// go on: what was moved is moved back when the new one is not as it should be.
func (c *console) replace(ctx context.Context, r ready, f deployFlags) (deployed, error) {
	mover, ok := r.provider.(providers.Mover)
	if !ok {
		return deployed{}, fault.Input(fmt.Errorf("--replace: %w: %s moves neither disks nor addresses", providers.ErrUnsupported, r.provider.Name()))
	}
	old, err := find(ctx, r.provider, f.replace)
	if err != nil {
		return deployed{}, err
	}
	name := f.where.server
	if name == "" {
		name = successor(old.Name)
	}
	// 1. Beside the old one.
	made, err := c.deployAs(ctx, r, f, name)
	if err != nil {
		return made, err
	}
	c.remark("%s is proven beside %s; now it takes over", made.Server.Name, old.Name)
	// 2. The state, then the address, each looked at.
	for _, step := range []struct {
		what string
		move func(context.Context, providers.Server, providers.Server) error
		skip bool
	}{{"state", mover.MoveVolume, f.freshState}, {"address", mover.MoveAddress, false}} {
		if step.skip {
			continue
		}
		err := step.move(ctx, old, made.Server)
		if err == nil {
			err = c.takes(ctx, r, &made)
		} else {
			err = fmt.Errorf("move the %s of %s: %w; %s runs beside it", step.what, old.Name, err, made.Server.Name)
		}
		switch {
		case err == nil:
		case step.what == "state" && errors.Is(err, providers.ErrUnsupported):
			return made, fmt.Errorf("%w; --fresh-state leaves it behind", err) // nothing was moved
		default:
			return made, errors.Join(err, c.moveBack(ctx, mover, made.Server, old, step.what == "address", !f.freshState))
		}
	}
	c.remark("%s has taken over from %s, which is kept.", made.Server.Name, old.Name)
	c.remark("\"ingot rollback --server %s --to %s\" gives state and address back; \"ingot destroy --server %s\" removes the old one.", made.Server.Name, old.Name, old.Name)
	return made, nil
}

// takes looks at the new server again: where it is now, and whether all is well.
func (c *console) takes(ctx context.Context, r ready, made *deployed) error {
	s, err := find(ctx, r.provider, made.Server.Name)
	if err != nil {
		return err
	}
	made.Server = s
	made.Proof, err = c.prove(ctx, r, s.Addresses)
	return err
}

// moveBack gives a server what another has taken from it. It goes on when its own
// command was interrupted: half of a move serves nobody.
func (c *console) moveBack(ctx context.Context, m providers.Mover, from, to providers.Server, address, state bool) error {
	ctx = context.WithoutCancel(ctx)
	c.remark("giving %s back what it had", to.Name)
	if address {
		if err := m.MoveAddress(ctx, from, to); err != nil {
			return fmt.Errorf("give %s its address back: %w; run \"ingot rollback --server %s --to %s\"", to.Name, err, from.Name, to.Name)
		}
	}
	if !state {
		return nil
	}
	if err := m.MoveVolume(ctx, from, to); err != nil {
		return fmt.Errorf("give %s its state back: %w; run \"ingot rollback --server %s --to %s\"", to.Name, err, from.Name, to.Name)
	}
	return nil
}

// successor counts on: openclaw, openclaw-2, openclaw-3.
func successor(name string) string {
	if m := regexp.MustCompile(`^(.*)-([0-9]{1,6})$`).FindStringSubmatch(name); m != nil {
		if n, err := strconv.Atoi(m[2]); err == nil && n > 1 {
			return fmt.Sprintf("%s-%d", m[1], n+1)
		}
	}
	return name + "-2"
}

func rollbackCommand(c *console) *cobra.Command {
	var f deployFlags
	var to string
	cmd := &cobra.Command{
		Use:   "rollback [DIR]",
		Short: "Give a replaced server its state and its address back",
		Long: `Undo "ingot deploy --replace": the old server, which was kept, gets back the state and
the address that the new one has taken over, and is reached through its tunnel. What
the new one has written to the state stays in it.`,
		Example:           `  ingot rollback --provider libvirt --server openclaw-2 --to openclaw`,
		Args:              folder,
		ValidArgsFunction: folders,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.rollback(cmd.Context(), folderOf(args), f, to)
		},
	}
	f.where.register(cmd)
	f.owner.register(cmd)
	cmd.Flags().StringVar(&f.where.server, "server", "", "name of the server that has taken over")
	cmd.Flags().StringVar(&to, "to", "", "name of the server that was kept")
	cmd.Flags().BoolVar(&f.freshState, "fresh-state", false, "the state was not moved, so it is not moved back")
	return cmd
}

func (c *console) rollback(ctx context.Context, dir string, f deployFlags, to string) error {
	if f.where.server == "" || to == "" {
		return fault.Input(errors.New("name both servers: --server has taken over, --to was kept"))
	}
	loaded, err := c.load(dir)
	if err != nil {
		return err
	}
	o, err := f.owner.owner(loaded, dir)
	defer o.close()
	if err != nil {
		return err
	}
	p, err := f.where.open(ctx, c)
	if err != nil {
		return err
	}
	mover, ok := p.(providers.Mover)
	if !ok {
		return fault.Input(fmt.Errorf("%w: %s moves neither disks nor addresses", providers.ErrUnsupported, p.Name()))
	}
	from, err := find(ctx, p, f.where.server)
	if err != nil {
		return err
	}
	kept, err := find(ctx, p, to)
	if err != nil {
		return err
	}
	if err := c.moveBack(ctx, mover, from, kept, true, !f.freshState); err != nil {
		return err
	}
	if kept, err = find(ctx, p, to); err != nil {
		return err
	}
	return c.reached(ctx, ready{loaded: loaded, owner: o}, kept)
}

// reached waits for a server in the tunnel, whatever image it runs.
func (c *console) reached(ctx context.Context, r ready, s providers.Server) error {
	o, err := r.look(s.Addresses)
	if err != nil {
		return err
	}
	c.remark("waiting for %s to answer in the tunnel", o.Server)
	proof, err := live.Reach(ctx, o)
	if err != nil {
		return fault.Checks(fmt.Errorf("%s has its state and address and does not answer: %w", s.Name, err))
	}
	if c.json {
		return c.document(deployed{Server: s, Proof: proof})
	}
	return c.write(fmt.Appendf(nil, "%s  %s  host key %s\n", s.Name, o.Server, proof.HostKey))
}
