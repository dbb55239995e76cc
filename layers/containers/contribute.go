package containers

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"ingot/layers"
	"ingot/layers/containers/compose"
)

// packages are Podman and what it needs here: crun starts containers, netavark
// and aardvark-dns make their networks and know their names. What it recommends
// is for builds and for containers of ordinary users. gpg is here because apt
// would take the whole of gnupg, of which Podman's library needs either.
var packages = []string{"aardvark-dns", "crun", "gpg", "netavark", "nftables", "podman"}

// storage: images are read from the sealed root; what containers write into
// their own root is on the state partition.
const storage = `[storage]
driver = "overlay"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"

[storage.options]
additionalimagestores = ["` + layers.ImageStore + `"]
`

// engine is containers.conf. default_sysctls: Debian's ping_group_range makes a
// user namespace in a network namespace of another's fail. network_config_dir:
// on a read-only /etc a network's unit says that it succeeded and saves nothing.
const engine = `[containers]
log_driver = "journald"
default_sysctls = []
host_containers_internal_ip = "none"

[engine]
events_logger = "journald"

[network]
firewall_driver = "nftables"
network_config_dir = "/run/containers/netconf"
`

// subordinate ids are what containers' user namespaces are cut from. Ranges
// differ from start to start; nothing on the disk has such an owner (idmap).
const subordinate = "containers:1000000:16777216\n"

// stock says why there are no containers on a system that Ingot did not make.
const stock = "the containers' images are in the sealed root"

// Contribute implements [layers.Layer].
func (l Layer) Contribute(layers.Site) layers.Contribution {
	t := l.Translation
	c := layers.Contribution{
		Packages: slices.Clone(packages),
		Image: layers.Fragment{Files: []layers.File{
			file("/etc/containers/storage.conf", storage, "images are read from the sealed root"),
			file("/etc/containers/containers.conf", engine, "how Podman runs on a sealed root"),
			file("/etc/subuid", subordinate, "the accounts that containers' user namespaces are cut from"),
			file("/etc/subgid", subordinate, "the groups that containers' user namespaces are cut from"),
		}},
		State: append([]layers.State{
			{Path: "/var/lib/containers", Mode: 0o700, Why: "what containers write into their own root"},
			{Path: compose.StateDir, Mode: 0o700, Why: "the volumes of the containers"},
		}, t.State...),
		Secrets: t.Secrets,
		// systemd leaves out what Quadlet does not take, and says so in the journal.
		Validators: []layers.Validator{{Argv: []string{"/usr/libexec/podman/quadlet", "-dryrun"}}},
	}
	if strings.Contains(l.quadlets(), "RunInit=true\n") {
		c.Packages = append(c.Packages, "catatonit")
	}
	for _, q := range t.Quadlets {
		c.Image.Files = append(c.Image.Files, file(path.Join(compose.QuadletDir, q.Name), q.Contents, q.Why))
	}
	for _, b := range t.Baked {
		c.Image.Files = append(c.Image.Files, file(b.Name, b.Contents, b.Why))
	}
	if len(t.Secrets) > 0 {
		// The folder keeps everybody out; in it, a file is for all accounts of a
		// container, whose numbers are not known before.
		c.Instance.Directories = []layers.Directory{{Path: compose.SecretsDir, Mode: 0o700}}
		c.Identity = []string{compose.SecretsDir, compose.SecretsDir + "/*"}
	}
	for _, s := range t.Secrets {
		c.Instance.Files = append(c.Instance.Files, layers.File{Path: s.Path, Mode: 0o444, SecretSlot: s.Name, Why: s.Why, Option: []any{"compose"}})
	}
	l.ports(&c)
	c.Images = l.images()
	// A stock system has no images, and its Podman is its owner's.
	for _, f := range c.Image.Files {
		c.SealOnly = append(c.SealOnly, layers.SealOnly{What: "file " + f.Path, Why: stock})
	}
	return c
}

// ports: those of the internet are the firewall's own entries, which Load was
// told of. Podman redirects them to the containers' bridges; what may pass there
// is for the firewall to say.
func (l Layer) ports(c *layers.Contribution) {
	for _, p := range l.Translation.Published {
		if p.InVPN {
			continue // the vpn layer carries it out
		}
		port := p.Port
		port.Option = []any{"compose"}
		if port.From != layers.FromInternet {
			c.Ports = append(c.Ports, port)
		}
		if port.From == layers.FromLoopback {
			continue // redirected where the machine's own packets leave, not forwarded
		}
		in := ""
		if port.From == layers.FromWireGuard {
			in = layers.TunnelInterface
		}
		for _, network := range l.Translation.Networks {
			if slices.Contains(p.Networks, network.Name) {
				c.Forwards = append(c.Forwards, layers.Forward{In: in, Out: network.Interface, Proto: port.Proto, Port: port.Port, Why: port.Why})
			}
		}
	}
	if len(l.Translation.Networks) > 0 {
		for _, proto := range []string{"tcp", "udp"} {
			c.Ports = append(c.Ports, layers.Port{Proto: proto, Port: 53, From: layers.FromContainers, Why: "names of containers and of the internet"})
		}
	}
	for _, network := range l.Translation.Networks {
		// Only where bridges are filtered; and so that no other network's way out
		// leads here.
		c.Forwards = append(c.Forwards, layers.Forward{In: network.Interface, Out: network.Interface, Why: "containers of the network " + network.Name + " reach each other"})
		if !network.Internal {
			c.Forwards = append(c.Forwards, layers.Forward{In: network.Interface, Why: "containers of the network " + network.Name + " reach the internet"})
		}
	}
}

func (l Layer) quadlets() string {
	var b strings.Builder
	for _, q := range l.Translation.Quadlets {
		b.WriteString(q.Contents)
	}
	return b.String()
}

func file(name, contents, why string) layers.File {
	return layers.File{Path: name, Mode: 0o644, Contents: contents, Why: why, Option: []any{"compose"}}
}

// Quadlets renders all units for people, each below its path.
func (l Layer) Quadlets() string {
	var b strings.Builder
	for i, q := range l.Translation.Quadlets {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "# %s\n%s", path.Join(compose.QuadletDir, q.Name), q.Contents)
	}
	return b.String()
}
