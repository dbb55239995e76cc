package system

import "ingot/layers"

func checks() []layers.Check {
	return []layers.Check{
		{ID: "system.no-failed-units", Title: "no unit has failed", Command: &layers.CommandCheck{
			Argv: []string{"systemctl", "--failed", "--plain", "--no-legend"}, Silent: true,
		}},
		{ID: "system.running", Title: "systemd reached its goal", Command: &layers.CommandCheck{
			Argv: []string{"systemctl", "is-system-running", "--wait"}, Contains: "running",
		}},
		{ID: "system.root-sealed", Title: "/ cannot be written", File: &layers.FileCheck{Path: "/", ReadOnly: true}},
		{ID: "system.etc-sealed", Title: "/etc cannot be written", File: &layers.FileCheck{Path: "/etc", ReadOnly: true}},
		{ID: "system.usr-sealed", Title: "/usr cannot be written", File: &layers.FileCheck{Path: "/usr", ReadOnly: true}},
		{ID: "system.verity", Title: "the root is verified by dm-verity", Command: &layers.CommandCheck{
			Argv: []string{"sh", "-c", "cat /sys/block/dm-0/dm/uuid"}, Contains: "CRYPT-VERITY-",
		}},
		{ID: "system.tmp", Title: "/tmp runs no programs", Command: &layers.CommandCheck{
			Argv: []string{"findmnt", "-no", "OPTIONS", "/tmp"}, Contains: "noexec",
		}},
		{ID: "system.own-name", Title: "the machine knows its own name without asking anybody", Command: &layers.CommandCheck{
			Argv: []string{"sh", "-c", `getent hosts "$(hostname)" | grep -wq "$(hostname)"`},
		}},
		{ID: "system.listeners", Title: "nothing listens that is not in the port table", Listener: &layers.ListenerCheck{}},
	}
}
