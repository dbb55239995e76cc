package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
	if !f.freshState {
		if r.provider, err = c.asLarge(ctx, r.provider, mover, old, f.where); err != nil {
			return deployed{}, err
		}
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
			err = fmt.Errorf("move the %s of %s: %w", step.what, old.Name, err)
		}
		if err != nil {
			if e := c.moveBack(ctx, mover, made.Server, old); e != nil {
				// Said here: of an interrupted command the error is not shown.
				c.endProgress()
				fmt.Fprintf(c.stderr, "%v\n%s may have what is %s's: destroy neither before \"ingot rollback --server %[2]s --to %[3]s\" has worked\n", e, made.Server.Name, old.Name)
				return made, errors.Join(err, e)
			}
			c.remark("\"ingot destroy --server %s\" removes the new server", made.Server.Name)
			return made, err
		}
	}
	if err := c.forget(ctx, r.provider, made.Server); err != nil {
		return made, err
	}
	c.remark("%s has taken over from %s, which is kept.", made.Server.Name, old.Name)
	c.remark("\"ingot rollback --server %s --to %s\" gives state and address back; \"ingot destroy --server %s\" removes the old one.", made.Server.Name, old.Name, old.Name)
	return made, nil
}

// asLarge is the provider that makes servers with a volume for their state that is as
// large as an old one's, where the command line does not say how large.
func (c *console) asLarge(ctx context.Context, p providers.Provider, m providers.Mover, old providers.Server, where providerFlags) (providers.Provider, error) {
	size, err := m.StateSize(ctx, old)
	if err != nil {
		return nil, err
	}
	if size == 0 {
		return nil, fault.Input(fmt.Errorf("%s has its state on the disk it boots from, so that it cannot be moved; --fresh-state leaves it behind", old.Name))
	}
	if where.options[stateOption] != "" {
		return p, nil
	}
	where.options = maps.Clone(where.options)
	if where.options == nil {
		where.options = map[string]string{}
	}
	where.options[stateOption] = strconv.Itoa(size)
	return where.open(ctx, c)
}

// stateOption is the size of a volume for the state, in GiB, at all providers that have
// any.
const stateOption = "state"

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

// moveBack gives a server what another has taken from it, and nothing else: the state
// last, which starts the server. It goes on when its own command was interrupted: half of
// a move serves nobody.
func (c *console) moveBack(ctx context.Context, m providers.Mover, from, to providers.Server) error {
	ctx = context.WithoutCancel(ctx)
	state, address, err := m.Taken(ctx, from)
	if err != nil {
		return fmt.Errorf("see what %s has of %s's: %w; run \"ingot rollback --server %[1]s --to %[2]s\"", from.Name, to.Name, err)
	}
	if !state && !address {
		c.remark("%s has nothing that was %s's", from.Name, to.Name)
		return nil
	}
	c.remark("giving %s back what it had", to.Name)
	if address {
		if err := m.MoveAddress(ctx, from, to); err != nil {
			return fmt.Errorf("give %s its address back: %w; run \"ingot rollback --server %s --to %s\"", to.Name, err, from.Name, to.Name)
		}
	}
	if state {
		if err := m.MoveVolume(ctx, from, to); err != nil {
			return fmt.Errorf("give %s its state back: %w; run \"ingot rollback --server %s --to %s\"", to.Name, err, from.Name, to.Name)
		}
	}
	return nil
}

// inOrder refuses to take from a server what yet another one has by now: of several that
// replaced each other, the last one gives back first.
func inOrder(ctx context.Context, p providers.Provider, m providers.Mover, from, to providers.Server) error {
	all, err := p.Servers(ctx)
	if err != nil {
		return err
	}
	if from.Labels[providers.LabelReplaces] != to.Name {
		return fault.Input(fmt.Errorf("%s was not made by \"ingot deploy --replace %s\" and has nothing of that server's", from.Name, to.Name))
	}
	for _, heir := range all {
		if heir.Labels[providers.LabelReplaces] != from.Name {
			continue
		}
		state, address, err := m.Taken(ctx, heir)
		if err != nil {
			return err
		}
		if state || address {
			return fault.Input(fmt.Errorf("what %s had is at %s, which has replaced it: \"ingot rollback --server %[2]s --to %[1]s\" comes first", from.Name, heir.Name))
		}
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
the new one has written to the state stays in it. Run again, it changes nothing more.`,
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
	if err := inOrder(ctx, p, mover, from, kept); err != nil {
		return err
	}
	if err := c.moveBack(ctx, mover, from, kept); err != nil {
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
