package main

import (
	"os"
	"path/filepath"
	"strings"
)

// dmiRule names the Ignition platform of a machine whose DMI field starts
// with a prefix.
type dmiRule struct {
	field    string // file below /sys/class/dmi/id
	prefix   string
	platform string
}

// dmiRules is read from the top: what a provider sets on purpose comes before
// the hypervisor's default vendor. The strings are those cloud-init's
// ds-identify and systemd-detect-virt look for.
var dmiRules = []dmiRule{
	{"chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77", "azure"},
	{"chassis_asset_tag", "OpenTelekomCloud", "openstack"},
	{"sys_vendor", "Hetzner", "hetzner"},
	{"sys_vendor", "DigitalOcean", "digitalocean"},
	{"sys_vendor", "Vultr", "vultr"},
	{"sys_vendor", "Akamai", "akamai"},
	{"sys_vendor", "Linode", "akamai"},
	{"sys_vendor", "Scaleway", "scaleway"},
	{"sys_vendor", "UpCloud", "upcloud"},
	{"sys_vendor", "Exoscale", "exoscale"},
	{"product_name", "Exoscale", "exoscale"},
	{"sys_vendor", "Amazon EC2", "aws"},
	{"product_name", "Google Compute Engine", "gcp"},
	{"product_name", "OpenStack", "openstack"},
	{"sys_vendor", "OpenStack", "openstack"},
	{"sys_vendor", "QEMU", "qemu"},
}

// platformID is the Ignition platform of this machine, "" when nothing in DMI
// says. An override, from the kernel argument ignition.platform.id=, wins.
func platformID(dmiDir, override string) string {
	if override != "" {
		return override
	}
	for _, r := range dmiRules {
		b, err := os.ReadFile(filepath.Join(dmiDir, r.field))
		if err == nil && strings.HasPrefix(string(b), r.prefix) {
			return r.platform
		}
	}
	return ""
}
