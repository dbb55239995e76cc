// Package ssh is the OpenSSH layer: sshd answers on the tunnel interface only,
// for one account, with public keys and nothing else (field notes §2.1 and §7.4).
package ssh

import (
	_ "embed"
	"fmt"
	"path"

	"ingot/layers"
	"ingot/layers/admin"
)

// Options of the layer. The zero value is a good server.
type Options struct {
	// Port is where sshd listens on the tunnel interface, 22 by default
	// (IANA). It makes nothing safer to change it: the internet sees neither.
	Port int `yaml:"port"`
	// MaxAuthTries is how many keys a client may offer on one connection, 3
	// by default (the field notes' maxretry). Agents with many keys need more.
	MaxAuthTries int `yaml:"maxAuthTries"`
	// Expose is "internet" for the transition in which the tunnel is not yet
	// proven: sshd answers everywhere, and the firewall limits how often.
	// Rebuild without it as soon as the tunnel works (field notes §10.2).
	Expose string `yaml:"expose"`
}

// Layer is the ssh layer with its options.
type Layer struct{ Options Options }

// Defaults and limits of [Options].
const (
	DefaultPort         = 22
	DefaultMaxAuthTries = 3  // field notes §2.2, maxretry
	maxMaxAuthTries     = 20 // an agent full of keys; more is brute force

	// exposeInternet is the one value of [Options.Expose].
	exposeInternet = "internet"
	// newPerMinute is how many connections a minute an address of the internet
	// gets: people need one or two.
	newPerMinute = 10
)

// Where things are on the machine.
const (
	// AuthorizedKeysDir holds one root-owned file a user: keys are part of
	// the machine's identity, not of a home that its user could write.
	AuthorizedKeysDir = "/etc/ssh/authorized_keys.d"
	// HostKeyDir is on /var, because every machine makes its own host key and
	// keeps it when its image changes.
	HostKeyDir = "/var/lib/ingot/ssh"
	// HostKey is the one host key.
	HostKey = HostKeyDir + "/ssh_host_ed25519_key"

	hostKeyProgram = "/usr/libexec/ingot/hostkey"
)

//go:embed hostkey.sh
var hostKeyScript string

// Name implements [layers.Layer].
func (Layer) Name() string { return "ssh" }

// Validate implements [layers.Layer].
func (l Layer) Validate(layers.Site) []layers.Finding {
	var findings []layers.Finding
	if p := l.Options.Port; p < 0 || p > 65535 {
		findings = append(findings, layers.Finding{
			Path: []any{"port"}, Message: fmt.Sprintf("%d is not a port", p), Advice: "use a number from 1 to 65535, or leave it out for 22",
		})
	}
	if n := l.Options.MaxAuthTries; n < 0 || n > maxMaxAuthTries {
		findings = append(findings, layers.Finding{
			Path: []any{"maxAuthTries"}, Message: fmt.Sprintf("%d tries is not sensible", n),
			Advice: fmt.Sprintf("use a number from 1 to %d, or leave it out for %d", maxMaxAuthTries, DefaultMaxAuthTries),
		})
	}
	if e := l.Options.Expose; e != "" && e != exposeInternet {
		findings = append(findings, layers.Finding{
			Path: []any{"expose"}, Message: "SSH can be exposed to the internet and to nothing else",
			Advice: "write expose: internet for a transition, or leave it out: sshd then answers in the tunnel only",
		})
	}
	return findings
}

// Contribute implements [layers.Layer].
func (l Layer) Contribute(site layers.Site) layers.Contribution {
	keys := path.Join(AuthorizedKeysDir, site.Admin.User)
	return layers.Contribution{
		Packages: []string{"openssh-server"},
		Image: layers.Fragment{
			Directories: []layers.Directory{{Path: AuthorizedKeysDir, Mode: 0o755}},
			Files: []layers.File{
				{Path: "/etc/ssh/sshd_config", Mode: 0o644, Contents: l.config(site.Admin.User)},
				{Path: hostKeyProgram, Mode: 0o755, Contents: hostKeyScript},
			},
			// systemd's generator offers sshd on an AF_VSOCK and an AF_UNIX
			// socket of its own: ways in that are not the tunnel.
			Links: []layers.Link{{Path: "/etc/systemd/system-generators/systemd-ssh-generator", Target: "/dev/null"}},
			Units: l.units(),
		},
		Instance: layers.Fragment{
			Files: []layers.File{{Path: keys, Mode: 0o644, Contents: admin.AuthorizedKeys(site.Admin.Keys)}},
		},
		Identity: []string{keys},
		Ports:    l.ports(site.Admin.User),
		Entrances: []layers.Entrance{{
			Proto: "tcp", Port: l.port(), Interface: l.listensOn(), Users: []string{site.Admin.User},
			Units: []string{"ssh.socket", "ssh.service", "ingot-hostkey.service"},
		}},
		State: []layers.State{{
			Path: HostKeyDir, User: "root", Group: "root", Mode: 0o700,
			Why: "the host key: clients know the machine by it",
		}},
		Validators: []layers.Validator{
			// At run time ssh.service makes the folder without which sshd refuses.
			{Argv: []string{"/bin/sh", "-c", "mkdir -p /run/sshd && exec /usr/sbin/sshd -t"}, HostKey: HostKey},
			{Argv: []string{"/usr/bin/systemd-analyze", "verify", "--man=no", "ssh.socket", "ssh.service", "ingot-hostkey.service"}, PrintsErrors: true},
		},
		Checks: l.checks(site.Admin.User, keys),
	}
}

func (l Layer) ports(user string) []layers.Port {
	ports := []layers.Port{{Proto: "tcp", Port: l.port(), From: layers.FromWireGuard, Why: "SSH for " + user}}
	if l.exposed() {
		ports = append(ports, layers.Port{
			Proto: "tcp", Port: l.port(), From: layers.FromInternet, NewPerMinute: newPerMinute,
			Why: "SSH for " + user + ", until the tunnel is proven", Option: []any{"expose"},
		})
	}
	return ports
}

// listensOn is the interface that sshd is tied to; empty is every one.
func (l Layer) listensOn() string {
	if l.exposed() {
		return ""
	}
	return layers.TunnelInterface
}

func (l Layer) exposed() bool { return l.Options.Expose == exposeInternet }

func (l Layer) port() int {
	if l.Options.Port == 0 {
		return DefaultPort
	}
	return l.Options.Port
}

func (l Layer) maxAuthTries() int {
	if l.Options.MaxAuthTries == 0 {
		return DefaultMaxAuthTries
	}
	return l.Options.MaxAuthTries
}
