package compose

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"ingot/config/document"
	"ingot/layers"
	"ingot/layers/vpn"
)

// Places on the machine.
const (
	// QuadletDir is where Podman's generator looks for units.
	QuadletDir = "/etc/containers/systemd"
	// StateDir is below which containers may write: a folder for each volume and
	// for each path beside the compose file.
	StateDir   = "/var/lib/ingot/containers"
	volumesDir = StateDir + "/volumes"
	foldersDir = StateDir + "/folders"
	// BakedDir holds what the compose file's folder gives to containers to read.
	BakedDir = "/usr/share/ingot/containers"
	// SecretsDir is where secret slots are on the machine. Its mode keeps
	// everybody out; the files in it are for whoever is in the container.
	SecretsDir = "/etc/ingot/secrets/containers"
	// SecretPrefix begins the names of slots.
	SecretPrefix = "containers/"
)

// Defaults of what a compose file leaves open.
const (
	DefaultMemory = 512 << 20 // bytes; the smallest machine that Ingot tests has 1 GiB
	DefaultPids   = 512       // Podman's own is 2048, of which a few containers exhaust a small machine
)

// Options say what ingot.yaml has to say about a compose file.
type Options struct {
	// Allow are the safe defaults that are given up.
	Allow []Allow
	// Tunnel are the server's own addresses in the tunnel: what is published
	// there is for peers.
	Tunnel []netip.Addr
	// Public are the ports that the firewall opens to the internet, as "tcp/443".
	Public []string
	// VPN is nil without a VPN namespace.
	VPN *VPNOptions
	// Users are the accounts, as "999:999", of images whose configuration is known
	// here, by the image's name in full.
	Users map[string]string
}

// VPNOptions say that there is a VPN namespace, and which services are to live in
// it beside those that the compose file says so of. Those that it does not have
// mean nothing.
type VPNOptions struct{ Services []string }

// Allow lets a service do what none does by default.
type Allow struct {
	Service string
	What    string // in the words of [Override.What]
}

// Translation is what a compose file becomes.
type Translation struct {
	Quadlets  []File // below QuadletDir, sorted by name
	Baked     []File // absolute paths, readable by everybody
	State     []layers.State
	Published []Published
	Networks  []Network
	Secrets   []layers.SecretSlot
	Images    []Image
	Services  []Service // sorted by name
	// VPN is nil when no service lives in the VPN namespace.
	VPN *VPN
	// Overrides are the safe defaults that the file gives up, allowed or not.
	Overrides []Override
	// Unused are the indexes of Options.Allow that no service asks for.
	Unused []int
	// Remarks are what is left out without harm.
	Remarks []document.Finding
}

// File is a file of the image.
type File struct {
	Name     string
	Contents string
	Why      string // one line
}

// Published is a port of a container that can be reached from outside of its
// network.
type Published struct {
	Service string
	Target  int // the container's port
	// Networks are the names of those that the container is in; empty in the VPN
	// namespace, which InVPN says.
	Networks []string
	InVPN    bool
	layers.Port
}

// Service is a service that a container is made of.
type Service struct {
	Name      string // in the compose file
	Container string // its container's name
	Unit      string // systemd's
	Oneshot   bool   // it does something and ends
	// Stays is whether it runs, or is done, at any time after the boot: without a
	// restart policy, a service may end when it likes.
	Stays bool
}

// Network is a bridge.
type Network struct {
	Name      string // in the compose file
	Interface string // on the machine
	Internal  bool   // no way out
}

// Image is one that must be in the sealed store.
type Image struct {
	// Name is the reference in full, docker.io/library/nginx:1.27, as units name it.
	Name string
	// Services are those that run it.
	Services []string
	// At is where the compose file names it first; its message is empty.
	At document.Finding
}

// VPN says which services live in the VPN namespace.
type VPN struct {
	// Client is the service of the compose file that the namespace replaces; empty
	// when there is none.
	Client string
	// Members are the services in it, sorted.
	Members []string
}

// Override is a safe default that a service gives up.
type Override struct {
	Allow
	// At is where the compose file asks for it, with a message and an advice for
	// when it is not allowed.
	At      document.Finding
	Allowed bool
}

// Translate turns a project into units. Findings are everything that cannot be
// translated or is not allowed; without any the translation is complete.
func Translate(p *Project, o Options) (Translation, []document.Finding) {
	t := translator{project: p, options: o, used: make([]bool, len(o.Allow)), folders: map[string]layers.State{}, baked: map[string]File{}, images: map[string]*Image{}}
	t.keys()
	t.findVPN()
	for _, name := range slices.Sorted(maps.Keys(p.Model.Networks)) {
		t.network(name, p.Model.Networks[name])
	}
	t.volumes()
	for _, name := range slices.Sorted(maps.Keys(p.Model.Services)) {
		c := p.Model.Services[name]
		if full, err := FullName(c.Image); err == nil && c.User == "" {
			c.User = o.Users[full]
		}
		t.service(c)
	}
	return t.finish()
}

type translator struct {
	project  *Project
	options  Options
	out      Translation
	findings []document.Finding
	used     []bool // of options.Allow
	folders  map[string]layers.State
	baked    map[string]File
	images   map[string]*Image
}

func (t *translator) finish() (Translation, []document.Finding) {
	for i, used := range t.used {
		if !used {
			t.out.Unused = append(t.out.Unused, i)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.folders)) {
		t.out.State = append(t.out.State, t.folders[name])
	}
	for _, name := range slices.Sorted(maps.Keys(t.baked)) {
		t.out.Baked = append(t.out.Baked, t.baked[name])
	}
	for _, name := range slices.Sorted(maps.Keys(t.images)) {
		t.out.Images = append(t.out.Images, *t.images[name])
	}
	slices.SortFunc(t.out.Quadlets, func(a, b File) int { return cmp.Compare(a.Name, b.Name) })
	first := path.Join(t.project.shown, t.project.file)
	document.Sort(first, t.findings)
	document.Sort(first, t.out.Remarks)
	// Two services that extend a third are told of its mistake once.
	t.findings = slices.CompactFunc(t.findings, same)
	t.out.Remarks = slices.CompactFunc(t.out.Remarks, same)
	return t.out, t.findings
}

func same(a, b document.Finding) bool {
	return a.File == b.File && a.Line == b.Line && a.Column == b.Column && a.Message == b.Message
}

// wrong reports what is the matter at a key of a service.
func (t *translator) wrong(service, message, advice string, key ...any) {
	t.findings = append(t.findings, t.project.at(service, message, advice, key...))
}

func (t *translator) remark(service, message, advice string, key ...any) {
	t.out.Remarks = append(t.out.Remarks, t.project.at(service, message, advice, key...))
}

// allowed asks whether ingot.yaml lets a service give up a safe default, and
// reports when it does not.
func (t *translator) allowed(service, what, message, advice string, key ...any) bool {
	full := fmt.Sprintf("%s, or allow it in ingot.yaml: {service: %s, what: %q, why: …}", advice, service, what)
	o := Override{Allow: Allow{service, what}, At: t.project.at(service, message, full, key...)}
	for i, a := range t.options.Allow {
		if a == o.Allow {
			t.used[i], o.Allowed = true, true
		}
	}
	t.out.Overrides = append(t.out.Overrides, o)
	if !o.Allowed {
		t.findings = append(t.findings, o.At)
	}
	return o.Allowed
}

// keys goes through every key of the file and applies its rule.
func (t *translator) keys() {
	model := t.project.Model
	main := t.project.docs[t.project.file]
	main.Walk(nil, func(at []any) bool {
		return at[0] != "services" && t.key(main, at)
	})
	for _, name := range slices.Sorted(maps.Keys(model.Services)) {
		for _, d := range t.project.chain(name) {
			d.doc.Walk([]any{"services", d.service}, func(at []any) bool { return t.key(d.doc, at) })
		}
	}
}

func (t *translator) key(doc *document.Document, at []any) (below bool) {
	name, isKey := at[len(at)-1].(string)
	if !isKey {
		return true
	}
	if strings.HasPrefix(name, "x-") {
		return false // Compose's own way to say that it is for somebody else
	}
	pattern := ""
	for _, step := range at {
		next, ok := patternOf(pattern, step)
		if !ok {
			return false
		}
		pattern = next
	}
	r := ruleOf(pattern)
	if r.fate == translated {
		return true
	}
	if _, twice := t.client(at); twice {
		return false // the VPN client's keys are told about as one
	}
	f := doc.KeyFinding(slices.Clone(at), fmt.Sprintf("%s cannot be translated", name), r.text)
	if r.fate == ignored {
		f.Message, f.Advice = fmt.Sprintf("%s is left out", name), r.text
	}
	f.Path = nil
	if r.fate == ignored {
		t.out.Remarks = append(t.out.Remarks, f)
	} else {
		t.findings = append(t.findings, f)
	}
	return false
}

// client reports whether a path is in the service that the VPN namespace
// replaces.
func (t *translator) client(at []any) (string, bool) {
	if t.out.VPN == nil || t.out.VPN.Client == "" || len(at) < 2 || at[0] != "services" || at[1] != t.out.VPN.Client {
		return "", false
	}
	return t.out.VPN.Client, true
}

// findVPN looks for the classic pattern: a container that makes a tunnel, and
// others that live in its network.
func (t *translator) findVPN() {
	services := t.project.Model.Services
	members := map[string][]string{}
	for name, s := range services {
		if target, ok := strings.CutPrefix(s.NetworkMode, "service:"); ok {
			if client, exists := services[target]; exists && makesTunnel(client) {
				members[target] = append(members[target], name)
			}
		}
	}
	for i, client := range slices.Sorted(maps.Keys(members)) {
		if i > 0 {
			t.wrong(client, "a second service makes a tunnel that others live in", "there is one VPN namespace: let all of them name the same service", "cap_add")
			continue
		}
		if t.options.VPN == nil {
			t.wrong(client, fmt.Sprintf("%s makes a tunnel that others live in, and there is no VPN namespace that could take its place", client),
				"add vpn: {} to layers in ingot.yaml", "cap_add")
		}
		t.out.VPN = &VPN{Client: client, Members: slices.Sorted(slices.Values(members[client]))}
		t.remark(client, fmt.Sprintf("no container is made of %s: the VPN namespace takes its place", client),
			"its tunnel is made outside of the containers, with the provider's file in secrets/"+vpn.ConfigSlot)
	}
	t.moveIntoVPN()
}

// moveIntoVPN are the services that ingot.yaml names.
func (t *translator) moveIntoVPN() {
	if t.options.VPN == nil {
		return
	}
	for _, name := range t.options.VPN.Services {
		s, known := t.project.Model.Services[name]
		switch {
		case !known || t.inVPN(name):
			continue
		case t.replaced(name):
			t.wrong(name, fmt.Sprintf("layers.vpn.services names %s, whose place the VPN namespace takes", name), "remove it there", "network_mode")
			continue
		case s.NetworkMode != "":
			t.wrong(name, fmt.Sprintf("layers.vpn.services names %s, which has a network mode", name), "remove network_mode", "network_mode")
			continue
		case t.project.has(name, "networks"):
			t.wrong(name, fmt.Sprintf("layers.vpn.services names %s, which is in a network of the compose file", name),
				"remove networks: the VPN namespace has one interface, and it is the tunnel", "networks")
			continue
		}
		if t.out.VPN == nil {
			t.out.VPN = &VPN{}
		}
		t.out.VPN.Members = append(t.out.VPN.Members, name)
	}
	if t.out.VPN != nil {
		slices.Sort(t.out.VPN.Members)
	}
}

// makesTunnel: a VPN client needs the right to configure its network.
func makesTunnel(s types.ServiceConfig) bool {
	return slices.ContainsFunc(s.CapAdd, func(c string) bool { return capability(c) == "NET_ADMIN" || capability(c) == "ALL" }) ||
		slices.ContainsFunc(s.Devices, func(d types.DeviceMapping) bool { return d.Source == "/dev/net/tun" })
}

func (t *translator) inVPN(service string) bool {
	return t.out.VPN != nil && slices.Contains(t.out.VPN.Members, service)
}

// UnitName is the name of a service's unit, without its type. The prefix keeps a service called
// ssh from taking the place of Debian's.
func UnitName(service string) string { return "container-" + service }

func networkUnit(name string) string { return "container-" + name + ".network" }

// bridge is the name of a network's interface, of at most 15 characters.
func bridge(name string) string {
	const prefix, most = layers.BridgePrefix, 15
	if len(prefix+name) <= most && regexp.MustCompile(`^[a-z0-9-]+$`).MatchString(name) {
		return prefix + name
	}
	sum := uint32(2166136261) // FNV-1a
	for _, b := range []byte(name) {
		sum = (sum ^ uint32(b)) * 16777619
	}
	return fmt.Sprintf("%s%08x", prefix, sum)
}

func (t *translator) network(name string, n types.NetworkConfig) {
	if !t.networkUsed(name) {
		return
	}
	wrong := func(message, advice string, key ...any) {
		f := t.project.docs[t.project.file].Finding(append([]any{"networks", name}, key...), false, message, advice)
		f.Path = nil
		t.findings = append(t.findings, f)
	}
	if n.Driver != "" && n.Driver != "bridge" && n.Driver != "default" {
		wrong(fmt.Sprintf("the network driver %q is not there", clip(n.Driver)), "remove it: every network is a bridge of the machine's", "driver")
	}
	u := newUnit("Unit", "Network")
	u.add("Unit", "Description", "Network "+plain(name)+" of the containers")
	// The prefix keeps a network called default, which most are, from Podman's own
	// words for networks.
	u.set("Network", "NetworkName", UnitName(name))
	// Quadlet's own key for it came after Podman 5.4.
	u.words("Network", "PodmanArgs", "--interface-name="+bridge(name))
	if n.Internal {
		u.add("Network", "Internal", "true")
	}
	if n.EnableIPv6 != nil && *n.EnableIPv6 {
		u.add("Network", "IPv6", "true")
	}
	for i, pool := range n.Ipam.Config {
		at := []any{"ipam", "config", i}
		prefix, err := netip.ParsePrefix(pool.Subnet)
		if err != nil {
			wrong(fmt.Sprintf("%q is not a subnet", clip(pool.Subnet)), "write one such as 10.89.7.0/24", append(at, "subnet")...)
			continue
		}
		u.set("Network", "Subnet", prefix.Masked().String())
		if pool.Gateway != "" {
			if a, err := netip.ParseAddr(pool.Gateway); err != nil || !prefix.Contains(a) {
				wrong(fmt.Sprintf("%q is not an address of the subnet", clip(pool.Gateway)), "write one of "+prefix.String(), append(at, "gateway")...)
			}
			u.set("Network", "Gateway", pool.Gateway)
		}
		if pool.IPRange != "" {
			if r, err := netip.ParsePrefix(pool.IPRange); err != nil || !prefix.Contains(r.Addr()) {
				wrong(fmt.Sprintf("%q is not a part of the subnet", clip(pool.IPRange)), "write a subnet of "+prefix.String(), append(at, "ip_range")...)
			}
			u.set("Network", "IPRange", pool.IPRange)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(n.Labels)) {
		u.words("Network", "Label", key+"="+n.Labels[key])
	}
	t.out.Networks = append(t.out.Networks, Network{Name: name, Interface: bridge(name), Internal: n.Internal})
	t.out.Quadlets = append(t.out.Quadlets, File{networkUnit(name), u.String(), "the network " + name + " of the containers"})
}

// networkUsed: compose-go adds a default network, which nobody may be in.
func (t *translator) networkUsed(name string) bool {
	for service, s := range t.project.Model.Services {
		if _, in := s.Networks[name]; in && !t.replaced(service) && !t.inVPN(service) {
			return true
		}
	}
	return false
}

func (t *translator) replaced(service string) bool {
	return t.out.VPN != nil && t.out.VPN.Client != "" && t.out.VPN.Client == service
}

// volumes looks at the declarations; the folders are those of the services.
func (t *translator) volumes() {
	for _, name := range slices.Sorted(maps.Keys(t.project.Model.Volumes)) {
		if driver := t.project.Model.Volumes[name].Driver; driver != "" && driver != "local" {
			f := t.project.docs[t.project.file].Finding([]any{"volumes", name, "driver"}, false,
				fmt.Sprintf("the volume driver %q is not there", clip(driver)), "remove it: volumes are folders on the state partition")
			f.Path = nil
			t.findings = append(t.findings, f)
		}
	}
}
