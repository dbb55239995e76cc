package config

import (
	"fmt"
	"strconv"
	"strings"

	"ingot/config/document"
	"ingot/layers/apparmor"
	"ingot/layers/containers"
	"ingot/layers/fail2ban"
	"ingot/layers/kernel"
	"ingot/layers/nftables"
	"ingot/layers/ssh"
	"ingot/layers/sudo"
	"ingot/layers/sysctl"
	"ingot/layers/timesync"
	"ingot/layers/vpn"
	"ingot/layers/wireguard"
)

// ingotFile is ingot.yaml. Fields tagged "instance" are the identity of one
// server, those tagged "verdict" say which verdicts are relied on, those tagged
// "download" where packages come from; all others are baked into the image.
type ingotFile struct {
	// Name is the image's name: up to 63 lower-case letters, digits and dashes.
	Name string `yaml:"name" ingot:"required"`
	// Hostname is the server's, up to 64 lower-case letters, digits, dashes and
	// dots; the image's name by default.
	Hostname string `yaml:"hostname" ingot:"instance"`
	// Base is the Debian below the layers.
	Base base `yaml:"base"`
	// Admin is the one account that may log in.
	Admin adminOptions `yaml:"admin" ingot:"required"`
	// Layers are what is on: a mapping of their options, or a list of their
	// names. A bare name takes the layer's defaults. ssh, nftables and wireguard
	// must be on: without them nobody could log in, everything would be open, or
	// nobody could connect.
	Layers layerOptions `yaml:"layers" ingot:"required,names"`
	// Test is which verdicts about the image are relied on: see docs/verdict.md.
	Test testOptions `yaml:"test" ingot:"verdict"`
}

// base is the Debian below the layers.
type base struct {
	// Suite is Debian's; trixie is the only one.
	Suite string `yaml:"suite"`
	// SlotSize is that of each of the two root slots: 512MiB to 64GiB, in whole
	// MiB or GiB.
	SlotSize size `yaml:"slotSize"`
	// Mirrors are base URLs of Debian's archives, which are asked one after the
	// other: http, https or file, with debian and debian-security below. The
	// image does not depend on them.
	Mirrors []mirrorURL `yaml:"mirrors" ingot:"download"`
}

// adminOptions is the one account that may log in.
type adminOptions struct {
	// User is its name. It has sudo without a password, and uid and gid 1000.
	User string `yaml:"user" ingot:"required"`
	// Keys are lines of .pub files, at least one: ed25519, ECDSA, security keys,
	// or RSA of 3072 bits or more; no options before the key.
	Keys []string `yaml:"keys" ingot:"instance"`
}

func (adminOptions) KeyAdvice(key string) (message, advice string) {
	if key == "password" {
		return "accounts have no passwords", "remove it; the admin logs in with one of keys"
	}
	return "", ""
}

// layerOptions has a field for each layer; nil is a layer that is off.
type layerOptions struct {
	SSH        *ssh.Options        `yaml:"ssh"`
	Nftables   *nftables.Options   `yaml:"nftables"`
	Sudo       *sudo.Options       `yaml:"sudo"`
	Sysctl     *sysctl.Options     `yaml:"sysctl"`
	Kernel     *kernel.Options     `yaml:"kernel"`
	Time       *timesync.Options   `yaml:"time"`
	AppArmor   *apparmor.Options   `yaml:"apparmor"`
	WireGuard  *wireguard.Options  `yaml:"wireguard"`
	Fail2ban   *fail2ban.Options   `yaml:"fail2ban"`
	Containers *containers.Options `yaml:"containers"`
	VPN        *vpn.Options        `yaml:"vpn"`
	// Custom are folders below that of ingot.yaml, such as ./layers/my-app; each
	// is a layer of your own: see docs/custom-layers.md.
	Custom []string `yaml:"custom"`
}

// size is a number of bytes, written in MiB or GiB.
type size int64

// Limits of base.slotSize. Below 512 MiB no Debian fits; above 64 GiB it is a
// disk and not a root.
const (
	defaultSlotSize = 2 << 30 // DESIGN §7
	minSlotSize     = 512 << 20
	maxSlotSize     = 64 << 30
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *size) UnmarshalText(text []byte) error {
	number, factor := string(text), int64(0)
	if n, ok := strings.CutSuffix(number, "GiB"); ok {
		number, factor = n, 1<<30
	} else if n, ok := strings.CutSuffix(number, "MiB"); ok {
		number, factor = n, 1<<20
	}
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 32)
	if err != nil || factor == 0 {
		return document.ValueError{Message: fmt.Sprintf("%q is not a size", clip(string(text))), Advice: "write a whole number of MiB or GiB, such as 2GiB"}
	}
	if n *= factor; n < minSlotSize || n > maxSlotSize {
		return document.ValueError{Message: fmt.Sprintf("a slot of %s cannot be", clip(string(text))), Advice: "use 512MiB to 64GiB; 2GiB is the default"}
	}
	*s = size(n)
	return nil
}

// clip cuts a value to what fits into a message.
func clip(s string) string {
	if runes := []rune(s); len(runes) > 40 {
		return string(runes[:39]) + "…"
	}
	return s
}
