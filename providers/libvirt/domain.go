package libvirt

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	api "github.com/digitalocean/go-libvirt"

	"ingot/fault"
	"ingot/providers"
)

// namespace is of the element in a domain's metadata that holds the labels.
const namespace = "urn:ingot:labels:1"

const (
	arch        = "x86_64"
	machineType = "q35"
)

// The disks of a server. The state's is known by its serial number, which the server
// sees as well.
const (
	diskTarget, seedTarget, stateTarget = "vda", "vdb", "vdc"

	stateSerial = "ingot-state"
)

// definition describes a server to libvirt.
func (p *Provider) definition(m providers.Machine, id string, labels map[string]string, mac, accelerator string) node {
	volume := func(what, target string, more ...node) node {
		return element("disk", "type", "volume", "device", "disk").with(
			element("driver", "name", "qemu", "type", "raw", "discard", "unmap"),
			element("source", "pool", p.o.Pool, "volume", serverVolume(id, m.Name, what)),
			element("target", "dev", target, "bus", "virtio"),
		).with(more...)
	}
	devices := element("devices")
	if p.o.Emulator != "" {
		devices = devices.with(element("emulator").text("%s", p.o.Emulator))
	}
	devices = devices.with(
		volume("disk.raw", diskTarget),
		volume("config.iso", seedTarget, element("readonly")),
	)
	if p.o.State > 0 {
		devices = devices.with(volume("state.raw", stateTarget, element("serial").text(stateSerial)))
	}
	serial := element("serial", "type", "pty")
	if p.o.ConsoleDir != "" {
		serial = serial.with(element("log", "file", strings.TrimRight(p.o.ConsoleDir, "/")+"/"+m.Name+".log", "append", "on"))
	}
	devices = devices.with(
		element("interface", "type", "network").with(
			element("mac", "address", mac),
			element("source", "network", p.o.Network),
			element("model", "type", "virtio"),
			element("filterref", "filter", filterName(m.Name)),
		),
		serial,
		element("rng", "model", "virtio").with(element("backend", "model", "random").text("/dev/urandom")),
	)
	cpu := "host-model"
	if accelerator == "qemu" {
		cpu = "maximum" // of what QEMU can imitate
	}
	return element("domain", "type", accelerator).with(
		element("name").text("%s", m.Name),
		element("metadata").with(labelNode(labels)),
		element("memory", "unit", "MiB").text("%d", p.o.Memory),
		element("vcpu").text("%d", p.o.CPUs),
		element("os").with(element("type", "arch", arch, "machine", machineType).text("hvm"), element("boot", "dev", "hd")),
		element("features").with(element("acpi"), element("apic")),
		element("cpu", "mode", cpu),
		element("clock", "offset", "utc"),
		element("on_poweroff").text("destroy"),
		element("on_reboot").text("restart"),
		element("on_crash").text("restart"),
		devices,
	)
}

func labelNode(labels map[string]string) node {
	n := element("ingot:labels", "xmlns:ingot", namespace)
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		n = n.with(element("ingot:label", "name", name, "value", labels[name]))
	}
	return n
}

// server is a domain as libvirt has it.
type server struct {
	domain api.Domain
	text   string // its definition
	node
}

// labels are nil for a domain that Ingot did not make.
func (s server) labels() map[string]string {
	for _, n := range s.child("metadata").Nodes {
		if n.XMLName.Space != namespace || n.XMLName.Local != "labels" {
			continue
		}
		labels := map[string]string{}
		for _, l := range n.children("label") {
			labels[l.attr("name")] = l.attr("value")
		}
		if idForm.MatchString(labels[providers.LabelID]) {
			return labels
		}
	}
	return nil
}

func (s server) id() string { return s.labels()[providers.LabelID] }

// volumes are the names of those of our pool that the domain uses.
func (s server) volumes(pool string) []string {
	var names []string
	for _, d := range s.child("devices").children("disk") {
		if source := d.child("source"); source.attr("pool") == pool && source.attr("volume") != "" {
			names = append(names, source.attr("volume"))
		}
	}
	return names
}

// state is the name of the volume with the server's state, empty when that is on the
// disk it boots from.
func (s server) state() string {
	for _, d := range s.child("devices").children("disk") {
		if d.child("serial").value() == stateSerial {
			return d.child("source").attr("volume")
		}
	}
	return ""
}

func (s server) mac() string { return s.child("devices", "interface", "mac").attr("address") }

func (s server) filter() string { return s.child("devices", "interface", "filterref").attr("filter") }

// uuid in the spelling of libvirt's XML.
func uuid(u api.UUID) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// domains are all of the host's, ours or not.
func (p *Provider) domains(ctx context.Context) ([]server, error) {
	list, err := ask(ctx, p, "list the domains", func(l *api.Libvirt) ([]api.Domain, error) {
		domains, _, err := l.ConnectListAllDomains(1, 0)
		return domains, err
	})
	if err != nil {
		return nil, err
	}
	var servers []server
	for _, d := range list {
		s, err := p.describe(ctx, d)
		if isGone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		servers = append(servers, s)
	}
	return servers, nil
}

// describe reads what a domain is at its next start.
func (p *Provider) describe(ctx context.Context, d api.Domain) (server, error) {
	text, err := ask(ctx, p, "look at the domain "+d.Name, func(l *api.Libvirt) (string, error) {
		return l.DomainGetXMLDesc(d, api.DomainXMLInactive)
	})
	if err != nil {
		return server{}, err
	}
	n, err := parse(text)
	if err != nil {
		return server{}, fault.Provider(err)
	}
	return server{d, text, n}, nil
}

// find is the domain that providers.Server.ID names, which must be one of ours.
func (p *Provider) find(ctx context.Context, of providers.Server) (server, error) {
	list, err := p.domains(ctx)
	if err != nil {
		return server{}, err
	}
	for _, s := range list {
		if uuid(s.domain.UUID) == of.ID {
			if s.labels() == nil {
				return server{}, fault.Input(fmt.Errorf("the domain %s was not made by Ingot", s.domain.Name))
			}
			return s, nil
		}
	}
	return server{}, fault.Input(fmt.Errorf("libvirt has no server %s", of.Name))
}

// states are libvirt's words for a domain's states, by number.
var states = []string{"no state", "running", "idle", "paused", "in shutdown", "shut off", "crashed", "pmsuspended"}

func (p *Provider) stateOf(ctx context.Context, d api.Domain) (api.DomainState, error) {
	state, err := ask(ctx, p, "look at the domain "+d.Name, func(l *api.Libvirt) (int32, error) {
		state, _, err := l.DomainGetState(d, 0)
		return state, err
	})
	return api.DomainState(state), err
}

// Servers implements providers.Provider: by name.
func (p *Provider) Servers(ctx context.Context) ([]providers.Server, error) {
	list, err := p.domains(ctx)
	if err != nil {
		return nil, err
	}
	var servers []providers.Server
	for _, s := range list {
		if s.labels() == nil {
			continue
		}
		one, err := p.show(ctx, s)
		if isGone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		servers = append(servers, one)
	}
	slices.SortFunc(servers, func(a, b providers.Server) int { return strings.Compare(a.Name, b.Name) })
	return servers, nil
}

// show is a domain as everybody else knows it.
func (p *Provider) show(ctx context.Context, s server) (providers.Server, error) {
	state, err := p.stateOf(ctx, s.domain)
	if err != nil {
		return providers.Server{}, err
	}
	addresses, err := p.addresses(ctx, s)
	if err != nil {
		return providers.Server{}, err
	}
	word := fmt.Sprint(state)
	if int(state) >= 0 && int(state) < len(states) {
		word = states[state]
	}
	return providers.Server{ID: uuid(s.domain.UUID), Name: s.domain.Name, State: word, Addresses: addresses, Labels: s.labels()}, nil
}
