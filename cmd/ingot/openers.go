package main

import (
	"cmp"
	"context"
	"errors"
	"os"
	"strconv"

	"golang.org/x/crypto/ssh"

	"ingot/fault"
	"ingot/providers"
	"ingot/providers/hetzner"
	"ingot/providers/install"
	"ingot/providers/ionos"
	"ingot/providers/libvirt"
	"ingot/providers/openstack"
)

// openers are the providers that there are.
func openers() []opener {
	return []opener{
		{"hetzner", "Hetzner Cloud", openHetzner},
		{"ionos", "IONOS Cloud", openIONOS},
		{"libvirt", "a host of one's own", openLibvirt},
		{"openstack", "OVHcloud, Infomaniak and many more", openOpenStack},
	}
}

func providerNames() []string {
	var names []string
	for _, o := range openers() {
		names = append(names, o.name)
	}
	return names
}

func text(to *string) func(string) error {
	return func(value string) error { *to = value; return nil }
}

func whole(to *int) func(string) error {
	return func(value string) error {
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil {
			return errors.New("write a whole number")
		}
		*to = int(n)
		return nil
	}
}

// gib takes a size in GiB.
func gib(to *int64) func(string) error {
	return func(value string) error {
		var n int
		err := whole(&n)(value)
		*to = int64(n) << 30
		return err
	}
}

func yesNo(to *bool) func(string) error {
	return func(value string) error {
		switch value {
		case "yes":
			*to = true
		case "no":
			*to = false
		default:
			return errors.New("write yes or no")
		}
		return nil
	}
}

func openLibvirt(ctx context.Context, _ *console, f providerFlags) (providers.Provider, error) {
	o := libvirt.Options{URI: cmp.Or(f.endpoint, os.Getenv("LIBVIRT_DEFAULT_URI"))}
	err := f.set([]option{
		{"pool", text(&o.Pool)}, {"network", text(&o.Network)}, {"memory", whole(&o.Memory)}, {"cpus", whole(&o.CPUs)},
		{"disk", gib(&o.Disk)}, {stateOption, gib(&o.State)}, {"accelerator", text(&o.Accelerator)}, {"emulator", text(&o.Emulator)}, {"console", text(&o.ConsoleDir)},
	})
	if err != nil {
		return nil, err
	}
	p, err := libvirt.New(ctx, o)
	if err != nil {
		return nil, err
	}
	return p, nil
}

func openOpenStack(ctx context.Context, c *console, f providerFlags) (providers.Provider, error) {
	o := openstack.Options{Say: c.sayer()}
	err := f.set([]option{
		{"cloud", text(&o.Cloud)}, {"network", text(&o.Network)}, {"external-network", text(&o.ExternalNetwork)}, {stateOption, whole(&o.StateVolume)},
	})
	if f.endpoint != "" {
		err = errors.Join(err, fault.Input(errors.New("--endpoint: OpenStack's is OS_AUTH_URL, or in clouds.yaml")))
	}
	if err != nil {
		return nil, err
	}
	p, err := openstack.New(ctx, o)
	if err != nil {
		return nil, err
	}
	return p, nil
}

func openHetzner(ctx context.Context, c *console, f providerFlags) (providers.Provider, error) {
	o := hetzner.Options{Location: f.location, Endpoint: f.endpoint, Writer: c.overDebian, Say: c.sayer()}
	if err := f.set([]option{{"account", text(&o.Account)}, {stateOption, whole(&o.State)}}); err != nil {
		return nil, err
	}
	var err error
	if o.Token, err = providers.Credential(ctx, "HCLOUD_TOKEN"); err != nil {
		return nil, err
	}
	p, err := hetzner.New(o)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// overDebian writes an image over the disk that a temporary server runs from.
func (c *console) overDebian(ctx context.Context, client *ssh.Client, u providers.Upload) error {
	agent, err := agentProgram()
	if err != nil {
		return err
	}
	return install.Replace(ctx, client, install.Image{Data: u.Image, Bytes: u.Bytes, SHA256: u.SHA256}, install.ReplaceOptions{Agent: agent, Progress: u.Progress})
}

func openIONOS(ctx context.Context, c *console, f providerFlags) (providers.Provider, error) {
	o := ionos.Options{Location: f.location, Endpoint: f.endpoint, User: os.Getenv("IONOS_USERNAME"), Say: c.sayer()}
	err := f.set([]option{
		{"contract", text(&o.Contract)}, {"datacenter", text(&o.Datacenter)}, {"ftp", text(&o.FTP)},
		{stateOption, whole(&o.State)}, {"read-back", yesNo(&o.ReadBack)}, {"ipv6", yesNo(&o.IPv6)}, {"reserve", yesNo(&o.Reserve)},
	})
	if err != nil {
		return nil, err
	}
	if o.Password, err = providers.Credential(ctx, "IONOS_PASSWORD"); err != nil {
		return nil, err
	}
	p, err := ionos.New(ctx, o)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// sayer is remark for a provider: what it says is a line of its own.
func (c *console) sayer() func(string) {
	return func(s string) { c.endProgress(); c.remark("%s", s) }
}
