package libvirt

import (
	"context"
	"fmt"
	"slices"

	api "github.com/digitalocean/go-libvirt"

	"ingot/fault"
)

// poolTypes keep a volume as a file, which may have holes and any size.
var poolTypes = []string{"dir", "fs", "netfs"}

func (p *Provider) pool(ctx context.Context) (api.StoragePool, error) {
	pool, err := ask(ctx, p, "look for the storage pool "+p.o.Pool, func(l *api.Libvirt) (api.StoragePool, error) {
		return l.StoragePoolLookupByName(p.o.Pool)
	})
	if isCode(err, api.ErrNoStoragePool) {
		return pool, fault.Input(fmt.Errorf("libvirt has no storage pool %s; make it with 'virsh pool-define-as %[1]s dir --target /var/lib/libvirt/images', 'virsh pool-start %[1]s', or name another", p.o.Pool))
	}
	return pool, err
}

func (p *Provider) checkPool(ctx context.Context) error {
	pool, err := p.pool(ctx)
	if err != nil {
		return err
	}
	state, err := ask(ctx, p, "look at the storage pool "+p.o.Pool, func(l *api.Libvirt) (uint8, error) {
		state, _, _, _, err := l.StoragePoolGetInfo(pool)
		return state, err
	})
	if err != nil {
		return err
	}
	if api.StoragePoolState(state) != api.StoragePoolRunning {
		return fault.Input(fmt.Errorf("the storage pool %s is not active; start it with 'virsh pool-start %[1]s'", p.o.Pool))
	}
	text, err := ask(ctx, p, "look at the storage pool "+p.o.Pool, func(l *api.Libvirt) (string, error) {
		return l.StoragePoolGetXMLDesc(pool, 0)
	})
	if err != nil {
		return err
	}
	n, err := parse(text)
	if err != nil {
		return fault.Provider(err)
	}
	if kind := n.attr("type"); !slices.Contains(poolTypes, kind) {
		return fault.Input(fmt.Errorf("the storage pool %s is of type %s; name one that keeps files (dir, fs, netfs)", p.o.Pool, kind))
	}
	return nil
}

// room reports an error when the pool has less than so many bytes left: libvirt finds
// out in the middle of a transfer.
func (p *Provider) room(ctx context.Context, bytes int64) error {
	pool, err := p.pool(ctx)
	if err != nil {
		return err
	}
	left, err := ask(ctx, p, "look at the storage pool "+p.o.Pool, func(l *api.Libvirt) (uint64, error) {
		_, _, _, available, err := l.StoragePoolGetInfo(pool)
		return available, err
	})
	if err == nil && left < uint64(bytes) {
		err = fault.Provider(fmt.Errorf("the storage pool %s has %d MiB left and %d are needed; make room there or name another pool", p.o.Pool, left>>20, (bytes+1<<20-1)>>20))
	}
	return err
}

func (p *Provider) network(ctx context.Context) (api.Network, node, error) {
	network, err := ask(ctx, p, "look for the network "+p.o.Network, func(l *api.Libvirt) (api.Network, error) {
		return l.NetworkLookupByName(p.o.Network)
	})
	if isCode(err, api.ErrNoNetwork) {
		return network, node{}, fault.Input(fmt.Errorf("libvirt has no network %s; define it with 'virsh net-define', start it with 'virsh net-start %[1]s', or name another", p.o.Network))
	}
	if err != nil {
		return network, node{}, err
	}
	text, err := ask(ctx, p, "look at the network "+p.o.Network, func(l *api.Libvirt) (string, error) {
		return l.NetworkGetXMLDesc(network, 0)
	})
	if err != nil {
		return network, node{}, err
	}
	n, err := parse(text)
	if err != nil {
		err = fault.Provider(err)
	}
	return network, n, err
}

// checkNetwork wants a network on which a filter drops packets before the server
// gets them. A filter sees what the bridge forwards. What the host itself routes to
// the server it does not see, only the answers to that: with NAT, libvirt's own rules
// let nothing new be routed in; with plain routing everything would come through.
func (p *Provider) checkNetwork(ctx context.Context) error {
	network, n, err := p.network(ctx)
	if err != nil {
		return err
	}
	active, err := ask(ctx, p, "look at the network "+p.o.Network, func(l *api.Libvirt) (int32, error) {
		return l.NetworkIsActive(network)
	})
	if err != nil {
		return err
	}
	if active == 0 {
		return fault.Input(fmt.Errorf("the network %s is not active; start it with 'virsh net-start %[1]s'", p.o.Network))
	}
	mode := "none"
	if forward := n.children("forward"); len(forward) > 0 {
		if mode = forward[0].attr("mode"); mode == "" {
			mode = "nat"
		}
	}
	if bridge := n.child("bridge").attr("name"); bridge == "" || !slices.Contains([]string{"none", "nat", "bridge"}, mode) {
		return fault.Input(fmt.Errorf("the network %s has the forward mode %s, and libvirt's filters drop no packet that comes in there; name a network with a bridge and the mode nat or bridge", p.o.Network, mode))
	}
	return nil
}

// accelerator asks libvirt when the user has not said.
func (p *Provider) accelerator(ctx context.Context) (string, error) {
	if p.o.Accelerator != "" {
		return p.o.Accelerator, nil
	}
	_, err := ask(ctx, p, "ask for the host's abilities", func(l *api.Libvirt) (string, error) {
		return l.ConnectGetDomainCapabilities(optional(p.o.Emulator), optional(arch), optional(machineType), optional("kvm"), 0)
	})
	switch {
	case err == nil:
		return "kvm", nil
	case isCode(err, api.ErrInvalidArg, api.ErrNoSupport, api.ErrConfigUnsupported):
		return "qemu", nil
	}
	return "", err
}

func optional(s string) api.OptString {
	if s == "" {
		return nil
	}
	return api.OptString{s}
}
