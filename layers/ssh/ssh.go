// Package ssh is the OpenSSH layer: sshd answers on the tunnel interface only,
// with public keys and nothing else (field notes §2.1 and §7.4).
package ssh

import (
	"cmp"
	_ "embed"
	"fmt"
	"slices"
	"strings"

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
	// Expose says who reaches sshd: "tunnel", the default, or "internet", for
	// the time until the tunnel is known to work (field notes §7.4 and §10.2).
	Expose string `yaml:"expose"`
	// NewPerMinute is how many new connections a minute one address of the
	// internet (one IPv6 /64) may make, 1 to 600, 10 by default. The tunnel is
	// never limited.
	NewPerMinute int `yaml:"newPerMinute"`
	// Users are people who may log in besides the administrator, without sudo.
	Users []User `yaml:"users"`
	// UserCA are public keys of authorities: ed25519, RSA, or in a token. A
	// certificate of theirs lets in the users that it names as principals.
	UserCA []string `yaml:"userCA" ingot:"instance"`
	// SecurityKeysOnly lets only keys in that live in FIDO2 tokens; admin.keys
	// and users may then hold no others.
	SecurityKeysOnly bool `yaml:"securityKeysOnly"`
	// VerifyRequired wants tokens to ask for the PIN or the fingerprint at each
	// login (ssh-keygen -O verify-required makes such a key). Keys that are in no
	// token are not asked.
	VerifyRequired bool `yaml:"verifyRequired"`
}

// The values of Options.Expose.
const (
	ExposeTunnel   = "tunnel"
	ExposeInternet = "internet"
)

// Layer is the ssh layer with its options.
type Layer struct{ Options Options }

// Defaults and limits of [Options].
const (
	DefaultPort         = 22
	DefaultMaxAuthTries = 3  // field notes §2.2, maxretry
	maxMaxAuthTries     = 20 // an agent full of keys; more is brute force
	// DefaultNewPerMinute is more than any person needs, and leaves a guesser
	// nothing: sshd's penalties and bans count failures, this counts attempts.
	DefaultNewPerMinute = 10
	maxNewPerMinute     = 600 // ten a second: more is no limit
)

// Where things are on the machine.
const (
	// AuthorizedKeysDir holds one root-owned file a user: keys are part of
	// the machine's identity, not of a home that its user could write.
	AuthorizedKeysDir = "/etc/ssh/authorized_keys.d"
	// ConfigPath is the whole configuration.
	ConfigPath = "/etc/ssh/sshd_config"
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
func (l Layer) Validate(site layers.Site) []layers.Finding {
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
	findings = append(findings, l.validateExpose()...)
	return slices.Concat(findings, l.validateUsers(site), l.validateCA())
}

func (l Layer) validateExpose() []layers.Finding {
	var findings []layers.Finding
	switch l.Options.Expose {
	case "", ExposeTunnel, ExposeInternet:
	default:
		findings = append(findings, layers.Finding{
			Path: []any{"expose"}, Message: fmt.Sprintf("ssh cannot be exposed to %q", l.Options.Expose), Advice: "use tunnel or internet, or leave it out for tunnel",
		})
	}
	n := l.Options.NewPerMinute
	switch {
	case n < 0 || n > maxNewPerMinute:
		findings = append(findings, layers.Finding{
			Path: []any{"newPerMinute"}, Message: fmt.Sprintf("%d new connections a minute is no sensible limit", n),
			Advice: fmt.Sprintf("use a number from 1 to %d, or leave it out for %d", maxNewPerMinute, DefaultNewPerMinute),
		})
	case n > 0 && !l.exposed():
		findings = append(findings, layers.Finding{
			Path: []any{"newPerMinute"}, Message: "the limit is for the internet, and ssh answers in the tunnel only", Advice: "remove it",
		})
	}
	return findings
}

func (l Layer) exposed() bool { return l.Options.Expose == ExposeInternet }

// Contribute implements [layers.Layer].
func (l Layer) Contribute(site layers.Site) layers.Contribution {
	keys := keysPath(site.Admin.User)
	c := layers.Contribution{
		Packages: []string{"openssh-server"},
		Image: layers.Fragment{
			Directories: []layers.Directory{{Path: AuthorizedKeysDir, Mode: 0o755}},
			Files: []layers.File{
				{Path: ConfigPath, Mode: 0o600, Contents: l.config(l.names(site)), Why: "the whole configuration of sshd"},
				{Path: hostKeyProgram, Mode: 0o755, Contents: hostKeyScript, Why: "makes this machine's host key when there is none"},
			},
			// systemd's generator offers sshd on an AF_VSOCK and an AF_UNIX
			// socket of its own: ways in that are not the tunnel.
			Links: []layers.Link{{Path: "/etc/systemd/system-generators/systemd-ssh-generator", Target: "/dev/null"}},
			Units: l.units(),
		},
		Instance: layers.Fragment{Files: []layers.File{{
			Path: keys, Mode: 0o644, Contents: admin.AuthorizedKeys(site.Admin.Keys), Why: "the administrator's keys",
		}}},
		Identity:  []string{keys},
		Ports:     l.ports(site),
		Entrances: []layers.Entrance{l.entrance(site)},
		State: []layers.State{{
			Path: HostKeyDir, User: "root", Group: "root", Mode: 0o700,
			Why: "the host key: clients know the machine by it",
		}},
		Validators: []layers.Validator{
			// At run time ssh.service makes the folder without which sshd refuses.
			{Argv: []string{"/bin/sh", "-c", "mkdir -p /run/sshd && exec /usr/sbin/sshd -t"}, HostKey: HostKey},
			{Argv: []string{"/usr/bin/systemd-analyze", "verify", "--man=no", "ssh.socket", "ssh.service", "ingot-hostkey.service"}, PrintsErrors: true},
		},
		Checks: l.checks(site),
	}
	l.addUsers(&c)
	l.addCA(&c, l.names(site))
	return c
}

// ports: who comes through the tunnel is never limited, exposed or not.
func (l Layer) ports(site layers.Site) []layers.Port {
	var option []any
	if l.port() != DefaultPort {
		option = []any{"port"}
	}
	why := "SSH for " + strings.Join(l.names(site), ", ")
	ports := []layers.Port{{Proto: "tcp", Port: l.port(), From: layers.FromWireGuard, Untracked: true, Why: why, Option: option}}
	if l.exposed() {
		ports = append(ports, layers.Port{
			Proto: "tcp", Port: l.port(), From: layers.FromInternet, NewPerMinute: cmp.Or(l.Options.NewPerMinute, DefaultNewPerMinute),
			Why: "SSH until the tunnel is known to work", Option: []any{"expose"},
		})
	}
	return ports
}

func (l Layer) entrance(site layers.Site) layers.Entrance {
	e := layers.Entrance{
		Proto: "tcp", Port: l.port(), Interface: layers.TunnelInterface, Users: l.names(site),
		Units: []string{"ssh.socket", "ssh.service", "ingot-hostkey.service"},
	}
	if l.exposed() {
		e.Interface = "" // everywhere
	}
	return e
}

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
