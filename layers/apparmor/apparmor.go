// Package apparmor is the layer of mandatory access control: the kernel holds a
// service to the files and rights of its profile, root or not. Which services
// have a profile is said by the layers that bring them.
//
// Not confined on purpose: sshd, whose sessions are the administrator's, and
// systemd's own services, which run as accounts of their own and in sandboxes.
package apparmor

import (
	"fmt"
	"path"
	"strings"

	"ingot/layers"
)

// Options of the layer: there are none.
type Options struct{}

// Layer is the apparmor layer.
type Layer struct{ Options Options }

const (
	parser = "/usr/sbin/apparmor_parser"
	// features is what Debian pins a policy to, whatever kernel reads it.
	features = "/usr/share/apparmor-features/features"
	// control is the kernel's side (securityfs).
	control  = "/sys/kernel/security/apparmor"
	unitName = "apparmor.service"
	dropin   = "10-ingot.conf"
	// unitDropin is that of a service with a profile.
	unitDropin = "40-apparmor.conf"
)

// sandbox: securityfs is below /sys.
const sandbox = layers.Sandbox + `CapabilityBoundingSet=CAP_MAC_ADMIN
ProtectKernelTunables=no
ProtectProc=invisible
PrivateNetwork=yes
RestrictAddressFamilies=AF_UNIX
SystemCallFilter=~@privileged @resources
`

// Name implements [layers.Layer].
func (Layer) Name() string { return "apparmor" }

// Validate implements [layers.Layer].
func (Layer) Validate(layers.Site) []layers.Finding { return nil }

// Contribute implements [layers.Layer].
func (Layer) Contribute(layers.Site) layers.Contribution {
	on := true
	return layers.Contribution{
		Packages: []string{"apparmor"},
		Image: layers.Fragment{Units: []layers.Unit{{
			Name: unitName, Enabled: &on, Why: "gives the kernel the profiles before any service starts",
			Dropins: []layers.Dropin{{Name: "20-sandbox.conf", Contents: sandbox, Why: "leaves the parser the profiles and the kernel's side of them"}},
		}}},
		// On a stock system Debian's own script loads and keeps more than that.
		SealOnly: []layers.SealOnly{
			{What: "drop-in " + unitName + ".d/20-sandbox.conf", Why: "Debian's script, which loads all profiles, needs more"},
			{What: "check apparmor.sandbox", Why: "Debian's script, which loads all profiles, needs more"},
		},
		Checks: []layers.Check{
			{
				ID: "apparmor.enabled", Title: "the kernel enforces profiles",
				Command:  &layers.CommandCheck{Argv: []string{"cat", "/sys/module/apparmor/parameters/enabled"}, Contains: "Y\n"},
				Sabotage: "echo N >/run/enabled && mount --bind /run/enabled /sys/module/apparmor/parameters/enabled",
			},
			{
				ID: "apparmor.sandbox", Title: "profiles are loaded in a sandbox",
				Exposure: &layers.ExposureCheck{Unit: unitName, Max: layers.MaxExposure},
				Sabotage: layers.SabotageSandbox(unitName),
			},
			{
				ID: "apparmor.denials", Title: "no service wanted what its profile forbids",
				Command: &layers.CommandCheck{
					Argv: []string{"sh", "-c", `said=$(journalctl --boot --dmesg --output=cat) || exit 1; printf '%s\n' "$said" | grep 'apparmor="DENIED"'; :`}, Silent: true,
				},
				Sabotage: `echo 'apparmor="DENIED" operation="sabotage"' >/dev/kmsg && until journalctl --boot --dmesg --output=cat | grep -q DENIED; do sleep 0.2; done`,
			},
		},
	}
}

// Finish loads the profiles that the plan has, and no others: the package
// brings a hundred for programs that are not there.
func (Layer) Finish(plan layers.Plan) layers.Contribution {
	var c layers.Contribution
	var paths []string
	for _, p := range plan.Profiles {
		paths = append(paths, p.Path)
		c.Checks = append(c.Checks, confined(p))
		c.Validators = append(c.Validators, layers.Validator{Argv: []string{
			parser, "--skip-kernel-load", "--skip-cache", "--kernel-features", features, p.Path,
		}})
		if p.Contents != "" {
			c.Image.Files = append(c.Image.Files, layers.File{Path: p.Path, Mode: 0o644, Contents: p.Contents, Why: p.Why})
		}
	}
	if len(paths) == 0 {
		return c
	}
	for _, p := range plan.Profiles {
		c.Image.Units = append(c.Image.Units, layers.Unit{Name: p.Unit, Dropins: []layers.Dropin{{
			Name: unitDropin, Contents: held(p), Why: "does not start without its profile",
		}}})
	}
	// On a stock system Debian's own start loads all that there is.
	c.Image.Units = append(c.Image.Units, layers.Unit{Name: unitName, Dropins: []layers.Dropin{{
		Name: dropin, Contents: load(paths), Why: "loads the profiles of the layers, and no others",
	}}})
	c.SealOnly = []layers.SealOnly{{What: "drop-in " + unitName + ".d/" + dropin, Why: "a stock system may have programs with profiles of their own"}}
	return c
}

// load: a cache of compiled profiles on the state volume would be something
// that root can change and that outlives a reboot.
func load(paths []string) string {
	command := parser + " --replace --skip-cache " + strings.Join(paths, " ")
	return fmt.Sprintf("[Service]\nExecStart=\nExecStart=%[1]s\nExecReload=\nExecReload=%[1]s\n", command)
}

// held makes the service fail closed: a profile that is not loaded is an error.
func held(p layers.Profile) string {
	return fmt.Sprintf("[Unit]\nAfter=%s\n\n[Service]\nAppArmorProfile=%s\n", unitName, p.Name)
}

// confined asks the kernel about the service's process.
func confined(p layers.Profile) layers.Check {
	name := strings.TrimSuffix(p.Unit, path.Ext(p.Unit))
	const label = `echo "label: $(cat "/proc/$(systemctl show --property=MainPID --value "$1")/attr/apparmor/current")"`
	return layers.Check{
		ID: "apparmor.confined." + name, Title: p.Unit + " is held to its profile",
		Command:  &layers.CommandCheck{Argv: []string{"sh", "-c", label, "sh", p.Unit}, Contains: "label: " + p.Name + " (enforce)\n"},
		Sabotage: fmt.Sprintf("printf %%s %s >%s/.remove", p.Name, control),
	}
}
