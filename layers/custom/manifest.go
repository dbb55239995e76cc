package custom

import "ingot/layers"

// ManifestName is the file in a layer's folder with what Butane has no words
// for. It may be missing.
const ManifestName = "layer.yaml"

// manifest is layer.yaml.
type manifest struct {
	// Packages are Debian packages to install.
	Packages []string `yaml:"packages"`
	// Ports are those on which the layer's services listen.
	Ports []port `yaml:"ports"`
	// Egress is what the layer's services must reach.
	Egress []egress `yaml:"egress"`
	// State are folders that outlive reboots and new images.
	State []state `yaml:"state"`
	// Disposable are patterns of paths under /var that packages bring and
	// nothing needs.
	Disposable []string `yaml:"disposable"`
	// Profiles are AppArmor profiles, loaded when the layer apparmor is on.
	Profiles []profile `yaml:"profiles"`
	// SUID are files that keep their set-user-ID bit.
	SUID []suid `yaml:"suid"`
	// Validators are programs that look at the finished tree.
	Validators []validator `yaml:"validators"`
}

func (manifest) KeyAdvice(key string) (message, advice string) {
	switch key {
	case "files", "storage", "units", "systemd", "users", "passwd":
		return key + " does not belong here", "write it into " + ConfigName
	case "checks":
		return key + " does not belong here", "write it into " + ChecksName
	case "secrets":
		return "a custom layer has no secret slots", "remove it: a service may make its secret itself, in a folder of state"
	}
	return "", ""
}

type port struct {
	// Port is 1 to 65535.
	Port int `yaml:"port" ingot:"required"`
	// Proto is tcp, the default, or udp.
	Proto string `yaml:"proto"`
	// From says who may reach it: internet, wireguard or loopback.
	From string `yaml:"from" ingot:"required"`
	// Why says what the port is for; it becomes the firewall rule's comment.
	Why string `yaml:"why" ingot:"required"`
	// NewPerMinute is how many new connections a minute one address may make.
	NewPerMinute int `yaml:"newPerMinute"`
}

func (port) KeyAdvice(key string) (message, advice string) {
	if key == "comment" || key == "reason" {
		return "unknown key \"" + key + "\"", "the reason of an open port is called why"
	}
	return "", ""
}

type egress struct {
	// Port is 1 to 65535.
	Port int `yaml:"port" ingot:"required"`
	// Proto is tcp, the default, or udp.
	Proto string `yaml:"proto"`
	// CIDR is a network, such as 192.0.2.0/24; everywhere by default.
	CIDR string `yaml:"cidr"`
	// Why says what the service wants there.
	Why string `yaml:"why" ingot:"required"`
}

type state struct {
	// Path is a folder below /var.
	Path string `yaml:"path" ingot:"required"`
	// User is its owner, root by default.
	User string `yaml:"user"`
	// Group is root by default.
	Group string `yaml:"group"`
	// Mode is octal, 0750 by default.
	Mode mode `yaml:"mode"`
	// Exec lets programs start from the folder; /var is mounted noexec.
	Exec bool `yaml:"exec"`
	// Why says why it must persist.
	Why string `yaml:"why" ingot:"required"`
}

type profile struct {
	// Name is the profile's, as "aa-status" lists it.
	Name string `yaml:"name" ingot:"required"`
	// Path is its file in /etc/apparmor.d, of a package or of config.bu.
	Path string `yaml:"path" ingot:"required"`
	// Unit is the service that it confines.
	Unit string `yaml:"unit" ingot:"required"`
	// Why says what it keeps the service from.
	Why string `yaml:"why" ingot:"required"`
}

type suid struct {
	// Path is absolute, after links.
	Path string `yaml:"path" ingot:"required"`
	// Why says why it needs the bit.
	Why string `yaml:"why" ingot:"required"`
}

type validator struct {
	// Argv is run inside the finished tree, without a network; it must end with 0.
	Argv []string `yaml:"argv" ingot:"required"`
	// PrintsErrors refuses the image also when the program prints anything.
	PrintsErrors bool `yaml:"printsErrors"`
}

// add puts what the manifest says into the layer's contribution.
func (l *loader) manifest(m manifest, c *layers.Contribution) {
	for i, name := range m.Packages {
		c.Packages = append(c.Packages, l.packageName(name, "packages", i))
	}
	for i, x := range m.Ports {
		c.Ports = append(c.Ports, l.port(x, "ports", i))
	}
	for i, x := range m.Egress {
		c.Egress = append(c.Egress, l.egress(x, "egress", i))
	}
	for i, x := range m.State {
		c.State = append(c.State, l.state(x, "state", i))
	}
	for i, pattern := range m.Disposable {
		c.Disposable = append(c.Disposable, l.disposable(pattern, "disposable", i))
	}
	for i, x := range m.Profiles {
		c.Profiles = append(c.Profiles, l.profile(x, "profiles", i))
	}
	for i, x := range m.SUID {
		c.SUID = append(c.SUID, l.suid(x, "suid", i))
	}
	for i, x := range m.Validators {
		l.argv(x.Argv, "validators", i, "argv")
		c.Validators = append(c.Validators, layers.Validator{Argv: x.Argv, PrintsErrors: x.PrintsErrors})
	}
}
