package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"ingot/fault"
	"ingot/images"
	"ingot/providers/install"
	"ingot/qemu-tests/live"
)

// installFlags say where an image goes over SSH.
type installFlags struct {
	gate          gateFlags
	owner         ownerFlags
	disk, hostKey string
	yes           string
}

func installCommand(c *console) *cobra.Command {
	var f installFlags
	cmd := &cobra.Command{
		Use:   "install [USER@]HOST[:PORT] [DIR]",
		Short: "Turn a machine that can be reached by SSH into this server",
		Long: `Write a proven image and this server's instance config over the disk of a machine, from
its rescue system or from the system that runs on that very disk, restart it, and look
at it through its tunnel. Everything on the disk is lost.

The machine's host key must be known: to ssh, or by --host-key. The disk is named and
confirmed. When the running system is on it, the whole image is received into memory
first: until then, and when the connection is lost, nothing has changed.`,
		Example: `  ingot install root@192.0.2.7 --disk /dev/sda
  ingot install root@192.0.2.7 my-server --disk /dev/vda --host-key SHA256:… --yes /dev/vda`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fault.Input(fmt.Errorf("name the machine, such as root@192.0.2.7; %s --help has examples", cmd.CommandPath()))
			}
			return folder(cmd, args[1:])
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			done, err := c.install(cmd.Context(), args[0], folderOf(args[1:]), f)
			if err != nil {
				return err
			}
			if c.json {
				return c.document(done)
			}
			return c.write(fmt.Appendf(nil, "%s  host key %s\n", args[0], done.Proof.HostKey))
		},
	}
	f.gate.register(cmd)
	f.owner.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.disk, "disk", "", "the disk that is overwritten, as the machine calls it; without it the disks are listed")
	flags.StringVar(&f.hostKey, "host-key", "", "the fingerprint of the machine's SSH host key, SHA256:…, when ssh does not know it")
	flags.StringVar(&f.yes, "yes", "", "the disk once more: do not ask")
	return cmd
}

// installed is the JSON document of install.
type installed struct {
	install.Result
	Proof live.Proof `json:"proof"`
}

func (c *console) install(ctx context.Context, machine, dir string, f installFlags) (installed, error) {
	// 1. All that can be wrong here.
	target, err := install.ParseTarget(machine)
	if err != nil {
		return installed{}, err
	}
	target.HostKey, target.Identity = f.hostKey, f.owner.identity
	r := ready{owner: owner{close: func() {}}}
	if r.loaded, err = c.load(dir); err != nil {
		return installed{}, err
	}
	if r.image, err = c.gate(ctx, dir, f.gate); err != nil {
		return installed{}, err
	}
	if r.instance, err = c.instance(r.loaded, dir); err != nil {
		return installed{}, err
	}
	if r.owner, err = f.owner.owner(r.loaded, dir); err != nil {
		return installed{}, err
	}
	defer r.owner.close()
	agent, err := agentProgram()
	if err != nil {
		return installed{}, err
	}
	addresses, err := resolved(ctx, target.Host)
	if err != nil {
		return installed{}, err
	}
	// 2. The disk.
	client, err := install.Dial(ctx, target)
	if err != nil {
		return installed{}, err
	}
	defer client.Close()
	if f.disk == "" {
		return installed{}, listDisks(ctx, client)
	}
	var done installed
	done.Result, err = install.Install(ctx, install.Options{
		Target: target, Client: client, Image: r.image.file, SHA256: r.image.sha256, Instance: r.instance,
		Disk: f.disk, MinDisk: images.SmallestDisk(r.loaded.Plan.Site.SlotBytes), Agent: agent,
		Confirmed: func(d install.Disk) error {
			return c.confirmed(d.Path, f.yes, fmt.Sprintf("all of %s on %s will be lost: %s", d.Path, target.Host, d))
		},
		Progress: func(p install.Progress) { c.line(p.Done == p.Of, "%s: %d of %d MiB", p.Step, p.Done>>20, p.Of>>20) },
		Say:      c.sayer(),
	})
	c.endProgress()
	if err != nil {
		return done, err
	}
	if done.ReadBack == "" {
		c.remark("the connection ended before the disk was read back: that the machine comes up and runs this image is the proof")
	}
	// 3. The machine.
	if done.Proof, err = c.prove(ctx, r, addresses); err != nil {
		return done, err
	}
	return done, c.connects(r.owner, addresses)
}

// listDisks refuses to choose.
func listDisks(ctx context.Context, client *ssh.Client) error {
	list, err := install.Disks(ctx, client)
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, d := range list {
		fmt.Fprintf(&b, "\n  %s", d)
	}
	return fault.Input(fmt.Errorf("say with --disk which disk is overwritten; the machine has%s", b.String()))
}

// resolved are the addresses of a host.
func resolved(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	list, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fault.Input(fmt.Errorf("find %s: %w", host, err))
	}
	for i := range list {
		list[i] = list[i].Unmap()
	}
	return list, nil
}
