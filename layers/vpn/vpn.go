// Package vpn is the layer of the VPN namespace: a network namespace that holds
// lo and a WireGuard interface and nothing else. What lives in it reaches the
// internet through a VPN provider or not at all.
//
// The interface is made outside and moved in, so that its encrypted packets leave
// from the machine and there is no moment and no failure in which the namespace
// has another way out.
package vpn

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ingot/layers"
)

// Options of the layer.
type Options struct {
	// Services are those of the compose file that live in the namespace, beside
	// those whose network_mode names the service of a VPN client.
	Services []string `yaml:"services"`
	// Pages are TCP ports of those services that peers of the tunnel may open,
	// beside those that the compose file publishes.
	Pages []PageOptions `yaml:"pages"`
	// Allow are the ports that answer to the VPN's side, such as one that the
	// provider forwards. All others do not.
	Allow []Allow `yaml:"allow"`
	// DNS are addresses of resolvers in the VPN. By default those of the
	// provider's file; one of the two must name some.
	DNS []string `yaml:"dns"`
}

// PageOptions is one page.
type PageOptions struct {
	// Port is the one that peers open, 1 to 65535.
	Port int `yaml:"port" ingot:"required"`
	// Target is the service's own, the same by default.
	Target int `yaml:"target"`
	// Why says in a few words what it is.
	Why string `yaml:"why" ingot:"required"`
}

// Allow is one port that answers to the VPN's side.
type Allow struct {
	// Port is 1 to 65535.
	Port int `yaml:"port" ingot:"required"`
	// Proto is tcp, the default, or udp.
	Proto string `yaml:"proto"`
	// Why becomes the rule's comment.
	Why string `yaml:"why" ingot:"required"`
}

// Names and places on the machine.
const (
	// ConfigSlot is the slot of the provider's file.
	ConfigSlot = "vpn/config"
	// ConfigPath is where the provider's file is on the machine.
	ConfigPath = "/etc/ingot/secrets/vpn/config"

	// Interface is the tunnel's, in the namespace.
	Interface = "vpn0"
	// Namespace is its name for "ip netns".
	Namespace = "vpn"
	// NamespacePath is where others find it.
	NamespacePath = "/run/netns/" + Namespace

	// NamespaceUnit makes the namespace, LinkUnit the interface in it.
	NamespaceUnit = "netns-vpn.service"
	LinkUnit      = "wg-vpn.service"

	// RunDir is the folder of what changes with the provider's file.
	RunDir = "/run/ingot-vpn"
	// Resolver is the resolv.conf of the namespace.
	Resolver = RunDir + "/resolv.conf"
	// StatusPath is what the tunnel's service last saw.
	StatusPath = RunDir + "/status.json"

	// SourcePort is the UDP port that the tunnel's packets leave from: known, so
	// that it is in the port table. No program gets it by chance, since
	// net.ipv4.ip_local_port_range ends at 60999.
	SourcePort = 61820
	// Mark is on the tunnel's packets (SO_MARK, "vpn" in ASCII), which only root
	// can set: the firewall knows them by it.
	Mark = 0x76706e
)

// KeyAdvice implements the decoder's interface of that name.
func (Options) KeyAdvice(key string) (message, advice string) {
	switch key {
	case "config", "conf", "privateKey", "endpoint", "endpoints", "address", "peers":
		return fmt.Sprintf("unknown key %q", key), "the provider's WireGuard file is a secret: put it into secrets/" + ConfigSlot + " with mode 0600"
	case "ports":
		return fmt.Sprintf("unknown key %q", key), "a page for peers belongs into pages, a port that the provider forwards into allow"
	}
	return "", ""
}

// Page is a TCP port of the namespace that is reached from elsewhere.
type Page struct {
	Port   int         // 1 to 65535
	Target int         // in the namespace
	From   layers.From // FromWireGuard or FromLoopback
	Why    string      // one line
	Option []any       // as in [layers.Port]; nil: the compose file brought it
}

// Layer is the vpn layer with its options.
type Layer struct {
	Options Options
	// Published are the pages of the compose file.
	Published []Page
	// Known are the services of the compose file, nil without one.
	Known []string
}

// Name implements [layers.Layer].
func (Layer) Name() string { return "vpn" }

// pages are all of them.
func (l Layer) pages() []Page {
	var list []Page
	for i, p := range l.Options.Pages {
		page := Page{Port: p.Port, Target: p.Target, From: layers.FromWireGuard, Why: p.Why, Option: []any{"pages", i}}
		if page.Target == 0 {
			page.Target = p.Port
		}
		list = append(list, page)
	}
	return append(list, l.Published...)
}

func (a Allow) proto() string {
	if a.Proto == "" {
		return "tcp"
	}
	return a.Proto
}

// Validate implements [layers.Layer].
func (l Layer) Validate(layers.Site) []layers.Finding {
	var findings []layers.Finding
	wrong := func(message, advice string, path ...any) {
		findings = append(findings, layers.Finding{Path: path, Message: message, Advice: advice})
	}
	port := func(n int, path ...any) {
		if n < 1 || n > 65535 {
			wrong(fmt.Sprintf("%d is not a port", n), "use a number from 1 to 65535", path...)
		}
	}
	why := func(text string, path ...any) {
		if message := layers.WhyProblem(text); message != "" {
			wrong(message, "say in a few words what it is for", path...)
		}
	}
	for i, p := range l.Options.Pages {
		port(p.Port, "pages", i, "port")
		if p.Target != 0 {
			port(p.Target, "pages", i, "target")
		}
		why(p.Why, "pages", i, "why")
	}
	for i, a := range l.Options.Allow {
		port(a.Port, "allow", i, "port")
		if a.Proto != "" && a.Proto != "tcp" && a.Proto != "udp" {
			wrong(fmt.Sprintf("%q is not a protocol with ports", a.Proto), "use tcp or udp", "allow", i, "proto")
		}
		why(a.Why, "allow", i, "why")
		for j, other := range l.Options.Allow[:i] {
			if other.Port == a.Port && other.proto() == a.proto() {
				wrong(fmt.Sprintf("this is the same as allow[%d]", j), "keep one of the two", "allow", i, "port")
			}
		}
	}
	for i, text := range l.Options.DNS {
		if a, err := netip.ParseAddr(text); err != nil || a.Zone() != "" || a.IsUnspecified() {
			wrong(fmt.Sprintf("%q is not the address of a resolver", text), "write one of the VPN's, such as 10.64.0.1", "dns", i)
		} else if a.IsLoopback() {
			wrong(fmt.Sprintf("%s is the namespace itself, where no resolver is", a), "write one of the VPN's, such as 10.64.0.1", "dns", i)
		}
	}
	return append(findings, l.strangers()...)
}

// strangers are services that the compose file does not have.
func (l Layer) strangers() []layers.Finding {
	var findings []layers.Finding
	for i, name := range l.Options.Services {
		switch {
		case l.Known == nil:
			findings = append(findings, layers.Finding{
				Path:    []any{"services", i},
				Message: fmt.Sprintf("there is no compose file that could have a service %q", name),
				Advice:  "add the layer containers",
			})
		case !slices.Contains(l.Known, name):
			findings = append(findings, layers.Finding{
				Path:    []any{"services", i},
				Message: fmt.Sprintf("the compose file has no service %q", name),
				Advice:  "it has " + orNone(l.Known),
			})
		}
	}
	return findings
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// stock says why there is no VPN namespace on a system that Ingot did not make.
const stock = "its interface is made by ingot-agent, which is in the sealed root"

// Contribute implements [layers.Layer].
func (l Layer) Contribute(layers.Site) layers.Contribution {
	on := true
	c := layers.Contribution{
		Packages: []string{"iproute2", "nftables", "procps", "wireguard-tools"},
		Image: layers.Fragment{
			Files: []layers.File{
				{Path: rulesPath, Mode: 0o644, Contents: l.rules(), Option: []any{"allow"}, Why: "what may reach the services in the VPN namespace from the VPN's side"},
				{Path: optionsPath, Mode: 0o644, Contents: l.agentOptions(), Option: []any{"dns"}, Why: "what ingot.yaml says about the VPN beside the provider's file"},
			},
			// For "ip netns exec", with which people look around in it.
			Links: []layers.Link{{Path: "/etc/netns/" + Namespace + "/resolv.conf", Target: Resolver}},
			Units: []layers.Unit{
				{Name: NamespaceUnit, Enabled: &on, Contents: namespaceUnit, Why: "makes the VPN namespace"},
				{Name: LinkUnit, Enabled: &on, Contents: linkUnit, Why: "makes the tunnel in the VPN namespace and changes to the next endpoint when one is silent"},
			},
		},
		Instance: layers.Fragment{
			Directories: []layers.Directory{{Path: "/etc/ingot/secrets/vpn", Mode: 0o700}},
			Files:       []layers.File{{Path: ConfigPath, Mode: 0o600, SecretSlot: ConfigSlot, Why: "the VPN provider's file"}},
		},
		Identity: []string{"/etc/ingot/secrets/vpn", ConfigPath},
		Secrets: []layers.SecretSlot{{Name: ConfigSlot, Path: ConfigPath, Why: "the WireGuard file of the VPN's provider", Verify: func(value []byte) error {
			tunnels, err := Parse(value)
			if err == nil && len(l.Options.DNS) == 0 {
				err = named(tunnels)
			}
			return err
		}}},
		Ports:  []layers.Port{{Proto: "udp", Port: SourcePort, From: layers.FromNobody, Why: "packets of the VPN leave from here"}},
		Egress: []layers.Egress{{Proto: "udp", Mark: Mark, Why: "packets of the VPN's tunnel"}},
		Checks: l.checks(),
	}
	for _, p := range l.pages() {
		c.Image.Units = append(c.Image.Units, p.units()...)
		c.Ports = append(c.Ports, layers.Port{Proto: "tcp", Port: p.Port, From: p.From, Why: p.Why, Option: p.Option})
	}
	l.sealOnly(&c)
	return c
}

// sealOnly: a stock system has nothing of it.
func (l Layer) sealOnly(c *layers.Contribution) {
	leave := func(what string) { c.SealOnly = append(c.SealOnly, layers.SealOnly{What: what, Why: stock}) }
	for _, f := range append(c.Image.Files, c.Instance.Files...) {
		leave("file " + f.Path)
	}
	for _, d := range c.Instance.Directories {
		leave("directory " + d.Path)
	}
	for _, link := range c.Image.Links {
		leave("file " + link.Path)
	}
	for _, u := range c.Image.Units {
		leave("unit " + u.Name)
	}
	for _, k := range c.Checks {
		leave("check " + k.ID)
	}
}

// named wants a resolver for every endpoint.
func named(tunnels []Tunnel) error {
	for _, t := range tunnels {
		if len(t.DNS) == 0 {
			return fmt.Errorf("line %d: no DNS names a resolver in the VPN, and neither does ingot.yaml; add DNS = ADDRESS here, or layers.vpn.dns there", t.Line)
		}
	}
	return nil
}
