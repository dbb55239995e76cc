package hetzner

import (
	"context"
	"errors"
	"fmt"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"
	"golang.org/x/crypto/ssh"

	"ingot/fault"
	"ingot/providers"
)

// temporary is a server that lives for one piece of work, with its firewall and key.
type temporary struct {
	*Provider
	id, name, location string
	why                string // it is there, for its firewall
	journal            *providers.Entry
	login, host        key
}

// start makes the server, of the first type in the order of less that has a disk of so
// many gigabytes at least, with a volume if there is one.
func (t *temporary) start(ctx context.Context, disk float64, less func(a, b *hcloud.ServerType) int, v *hcloud.Volume) (*hcloud.Server, error) {
	types, err := t.serverTypes(ctx, t.location, disk, less)
	if err != nil {
		return nil, err
	}
	debian, err := t.stockDebian(ctx)
	if err != nil {
		return nil, err
	}
	if t.login, err = newKey(); err != nil {
		return nil, err
	}
	if t.host, err = newKey(); err != nil {
		return nil, err
	}
	config, err := hostConfig(t.host)
	if err != nil {
		return nil, err
	}
	label := map[string]string{providers.LabelID: t.id}
	// Port 22 is open to all: this machine's address is not known here, and may be
	// another at each connection. Only our key gets in.
	wall, err := t.newFirewall(ctx, t.journal, t.name, label, []providers.Rule{
		{Proto: "tcp", From: 22, To: 22, Source: anywhere4, Why: t.why},
		{Proto: "tcp", From: 22, To: 22, Source: anywhere6, Why: t.why},
	})
	if err != nil {
		return nil, err
	}
	// Without a key Hetzner makes a password for root, sends it by mail, and has it
	// changed at the first login, which no command gets past.
	key, err := t.newSSHKey(ctx, label)
	if err != nil {
		return nil, err
	}
	t.say("starting a temporary server")
	return t.newRunning(ctx, t.journal, hcloud.ServerCreateOpts{
		Name: t.name, ServerType: types[0], Image: debian, Location: &hcloud.Location{Name: t.location},
		SSHKeys: []*hcloud.SSHKey{key}, UserData: config, Labels: label,
		Firewalls: []*hcloud.ServerCreateFirewall{{Firewall: hcloud.Firewall{ID: wall.ID}}},
	}, v)
}

func (t *temporary) newSSHKey(ctx context.Context, label map[string]string) (*hcloud.SSHKey, error) {
	return create(ctx, t.Provider, t.journal, kindKey, t.name, func() (*hcloud.SSHKey, error) {
		made, _, err := t.client.SSHKey.Create(ctx, hcloud.SSHKeyCreateOpts{Name: t.name, PublicKey: t.login.line(), Labels: label})
		return made, err
	}, func() (*hcloud.SSHKey, bool, error) {
		list, err := t.client.SSHKey.AllWithOpts(ctx, hcloud.SSHKeyListOpts{Name: t.name, ListOpts: byID(t.id)})
		return one(list, err)
	})
}

// over has something done on the server over a connection, which ends with the context.
func (t *temporary) over(ctx context.Context, s *hcloud.Server, what string, do func(context.Context, *ssh.Client) error) error {
	c, err := t.connect(ctx, addresses(s), t.login, t.host)
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if err := do(ctx, c); err != nil {
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), cause(ctx), err)
		}
		if fault.Of(err) == fault.Unknown {
			err = fault.Provider(err)
		}
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
