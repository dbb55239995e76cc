package system

import (
	"fmt"
	"strings"

	"github.com/coreos/go-systemd/v22/unit"

	"ingot/layers"
)

// execMount lays a folder over itself, without the flag that keeps the programs
// of the file system around it from starting.
const execMount = `[Unit]
Description=Let programs start from %[1]s
# Not by default: local file systems come before the folder is made.
DefaultDependencies=no
After=systemd-tmpfiles-setup.service
Before=sysinit.target umount.target
Conflicts=umount.target

[Mount]
What=%[1]s
Where=%[1]s
Type=none
Options=bind,exec,nosuid,nodev

[Install]
WantedBy=sysinit.target
`

// execChecks want programs to start from those folders, and from no other.
func execChecks(state []layers.State) []layers.Check {
	var list []layers.Check
	for _, s := range state {
		if s.Exec {
			list = append(list, layers.Check{
				ID: "system.exec" + strings.ReplaceAll(s.Path, "/", "."), Title: "programs start from " + s.Path,
				Command:  &layers.CommandCheck{Argv: []string{"findmnt", "-no", "OPTIONS", s.Path}, Contains: "nosuid,nodev", Lacks: "noexec"},
				Sabotage: "mount -o remount,bind,nosuid,nodev,noexec " + s.Path,
			})
		}
	}
	return list
}

// execMounts are for the state that holds programs.
func execMounts(state []layers.State) []layers.Unit {
	on := true
	var units []layers.Unit
	for _, s := range state {
		if s.Exec {
			units = append(units, layers.Unit{
				Name: unit.UnitNamePathEscape(s.Path) + ".mount", Enabled: &on, Contents: fmt.Sprintf(execMount, s.Path),
				Why: "lets programs start from " + s.Path + ": " + s.Why,
			})
		}
	}
	return units
}
