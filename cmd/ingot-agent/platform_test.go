package main

import (
	"path/filepath"
	"testing"
)

// Strings as the providers set them; the table is written out here so that a
// slip in dmiRules shows.
var machines = []struct {
	name string
	dmi  map[string]string
	want string
}{
	{"Azure", map[string]string{"sys_vendor": "Microsoft Corporation\n", "chassis_asset_tag": "7783-7084-3265-9085-8269-3286-77\n"}, "azure"},
	{"Hyper-V at home", map[string]string{"sys_vendor": "Microsoft Corporation\n", "chassis_asset_tag": "1111-2222\n"}, ""},
	{"Open Telekom Cloud", map[string]string{"chassis_asset_tag": "OpenTelekomCloud\n"}, "openstack"},
	{"Hetzner", map[string]string{"sys_vendor": "Hetzner\n", "product_name": "vServer\n"}, "hetzner"},
	{"DigitalOcean", map[string]string{"sys_vendor": "DigitalOcean\n", "product_name": "Droplet\n"}, "digitalocean"},
	{"Vultr", map[string]string{"sys_vendor": "Vultr\n"}, "vultr"},
	{"Akamai", map[string]string{"sys_vendor": "Akamai\n"}, "akamai"},
	{"Linode before Akamai", map[string]string{"sys_vendor": "Linode\n"}, "akamai"},
	{"Scaleway", map[string]string{"sys_vendor": "Scaleway\n"}, "scaleway"},
	{"UpCloud", map[string]string{"sys_vendor": "UpCloud\n"}, "upcloud"},
	{"Exoscale", map[string]string{"sys_vendor": "Exoscale\n"}, "exoscale"},
	{"Exoscale by product", map[string]string{"sys_vendor": "QEMU\n", "product_name": "Exoscale Compute Platform\n"}, "exoscale"},
	{"AWS", map[string]string{"sys_vendor": "Amazon EC2\n", "product_name": "t3.micro\n"}, "aws"},
	{"Google", map[string]string{"sys_vendor": "Google\n", "product_name": "Google Compute Engine\n"}, "gcp"},
	{"OpenStack", map[string]string{"sys_vendor": "OpenStack Foundation\n", "product_name": "OpenStack Nova\n"}, "openstack"},
	{"OpenStack Compute on QEMU", map[string]string{"sys_vendor": "QEMU\n", "product_name": "OpenStack Compute\n"}, "openstack"},
	{"OpenStack by vendor", map[string]string{"sys_vendor": "OpenStack Foundation\n"}, "openstack"},
	{"QEMU", map[string]string{"sys_vendor": "QEMU\n", "product_name": "Standard PC (i440FX + PIIX, 1996)\n"}, "qemu"},
	{"nothing known", map[string]string{"sys_vendor": "LENOVO\n", "product_name": "20XW\n"}, ""},
	{"vendor not at the start", map[string]string{"sys_vendor": "not QEMU\n"}, ""},
	{"right word, wrong field", map[string]string{"product_name": "QEMU\n"}, ""},
	{"no DMI", nil, ""},
}

func fakeDMI(t *testing.T, fields map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for field, value := range fields {
		write(t, filepath.Join(dir, field), value)
	}
	return dir
}

func TestPlatformID(t *testing.T) {
	for _, m := range machines {
		t.Run(m.name, func(t *testing.T) {
			dir := fakeDMI(t, m.dmi)
			if got := platformID(dir, ""); got != m.want {
				t.Errorf("got %q, want %q", got, m.want)
			}
			if got := platformID(dir, "metal"); got != "metal" {
				t.Errorf("with a kernel argument: %q", got)
			}
		})
	}
}

// Each rule works by itself and is met by one of the machines above, so that a
// new rule comes with one.
func TestEveryDMIRuleIsTested(t *testing.T) {
	for _, r := range dmiRules {
		if got := platformID(fakeDMI(t, map[string]string{r.field: r.prefix + "\n"}), ""); got != r.platform {
			t.Errorf("%+v alone gives %q", r, got)
		}
		if !met(r) {
			t.Errorf("no machine above meets %+v", r)
		}
	}
}

func met(r dmiRule) bool {
	for _, m := range machines {
		v, ok := m.dmi[r.field]
		if ok && m.want == r.platform && len(v) >= len(r.prefix) && v[:len(r.prefix)] == r.prefix {
			return true
		}
	}
	return false
}
