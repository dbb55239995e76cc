package ignition

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"ingot/layers"
)

//go:embed packaged.sh
var packagedProgram string

const (
	packagedPath  = "/usr/libexec/ingot/packaged"
	packagedLists = "/usr/lib/ingot/packaged"
	packagedUnit  = `[Unit]
Description=Take away what packages bring and this machine must not have
DefaultDependencies=no
After=local-fs.target
Before=sysinit.target shutdown.target systemd-networkd.service
Conflicts=shutdown.target
RequiresMountsFor=/usr /run

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=` + packagedPath + `

[Install]
WantedBy=sysinit.target
# What is not as it should be does not face a network.
RequiredBy=systemd-networkd.service
`
)

// listable reports what cannot be a line of a list.
func listable(plan layers.Plan) Findings {
	var found Findings
	for _, r := range plan.Removed {
		if strings.Contains(r.Pattern, "\n") {
			found = append(found, Finding{Layer: r.Layer, Message: fmt.Sprintf("the removal of %q is of several lines", r.Pattern)})
		}
	}
	for _, s := range plan.SUID {
		if strings.Contains(s.Path, "\n") {
			found = append(found, Finding{Layer: s.Layer, Message: fmt.Sprintf("the set-user-ID file %q is of several lines", s.Path)})
		}
	}
	return found
}

// notEnabled are the units that layers name and do not enable. An image's base
// has nothing enabled; a stock system has what its packages want, such as sshd
// on every address. Ignition's own way to disable a unit fails in an initrd when
// the unit has an init script as well.
func notEnabled(units []layers.Unit) []string {
	var names []string
	for _, u := range units {
		if !u.Mask && (u.Enabled == nil || !*u.Enabled) {
			names = append(names, u.Name)
		}
	}
	slices.Sort(names)
	return names
}

// afterPackages adds a unit for what Ignition, which knows nothing of packages,
// cannot do to their files.
func afterPackages(f layers.Fragment, plan layers.Plan) layers.Fragment {
	var removed, suid []string
	for _, r := range plan.Removed {
		removed = append(removed, r.Pattern)
	}
	for _, s := range plan.SUID {
		suid = append(suid, s.Path)
	}
	before := len(f.Files)
	for name, lines := range map[string][]string{"removed": removed, "suid": suid, "off": notEnabled(f.Units)} {
		if len(lines) > 0 {
			f.Files = append(f.Files, layers.File{Path: packagedLists + "/" + name, Mode: 0o644, Contents: strings.Join(lines, "\n") + "\n"})
		}
	}
	if len(f.Files) > before {
		f.Files = append(f.Files, layers.File{Path: packagedPath, Mode: 0o755, Contents: packagedProgram})
		f.Units = append(slices.Clone(f.Units), layers.Unit{Name: "ingot-packaged.service", Enabled: new(true), Contents: packagedUnit})
	}
	return f
}
