package system

import "ingot/layers"

func checks() []layers.Check {
	return append(exposureChecks(), []layers.Check{
		{ID: "system.no-failed-units", Title: "no unit has failed", SurvivesReboot: true, Sabotage: failUnit, Command: &layers.CommandCheck{
			Argv: []string{"systemctl", "--failed", "--plain", "--no-legend"}, Silent: true,
		}},
		{ID: "system.running", Title: "systemd reached its goal", Sabotage: failUnit, Command: &layers.CommandCheck{
			Argv: []string{"systemctl", "is-system-running", "--wait"}, Contains: "running",
		}},
		// Nothing makes EROFS writable: the sabotage is a shell that says so.
		{ID: "system.root-sealed", Title: "/ cannot be written", File: &layers.FileCheck{Path: "/", ReadOnly: true}, Sabotage: "mount --bind /usr/bin/true /usr/bin/dash"},
		{ID: "system.etc-sealed", Title: "/etc cannot be written", SurvivesReboot: true, File: &layers.FileCheck{Path: "/etc", ReadOnly: true}, Sabotage: layers.SabotageEtc},
		{ID: "system.usr-sealed", Title: "/usr cannot be written", File: &layers.FileCheck{Path: "/usr", ReadOnly: true}, Sabotage: layers.SabotageUsr},
		{ID: "system.verity", Title: "the root is verified by dm-verity", Command: &layers.CommandCheck{
			Argv: []string{"sh", "-c", `cat "/sys/block/$(basename "$(readlink -f "$(findmnt -no SOURCE /)")")/dm/uuid"`}, Contains: "CRYPT-VERITY-",
		}, Sabotage: "mkdir /run/dm && echo LINEAR >/run/dm/uuid && mount --bind /run/dm /sys/block/dm-0/dm"},
		{ID: "system.tmp", Title: "/tmp runs no programs", Sabotage: "mount -o remount,exec /tmp", Command: &layers.CommandCheck{
			Argv: []string{"findmnt", "-no", "OPTIONS", "/tmp"}, Contains: "noexec",
		}},
		{ID: "system.idle-shell", Title: "a forgotten shell ends by itself", Command: &layers.CommandCheck{
			Argv: []string{"env", "-i", "bash", "-lc", "echo $TMOUT"}, Contains: "900\n",
		}, Sabotage: layers.SabotageEtc + " && rm /etc/profile.d/50-ingot.sh"},
		{ID: "system.shm", Title: "no program starts from /dev/shm", Command: &layers.CommandCheck{
			Argv: []string{"findmnt", "-no", "OPTIONS", "/dev/shm"}, Contains: "noexec",
		}, Sabotage: "mount -o remount,exec /dev/shm"},
		{ID: "system.processes", Title: "a service sees its own processes only", Command: &layers.CommandCheck{
			Argv: []string{"runuser", "-u", "nobody", "--", "sh", "-c", "ls -d /proc/1 2>/dev/null; :"}, Silent: true,
		}, Sabotage: "mount -o remount,hidepid=off /proc"},
		{ID: "system.logind", Title: "logind knows who has logged in", Command: &layers.CommandCheck{
			Argv: []string{"loginctl", "list-sessions", "--no-legend"}, Contains: " ",
		}, Sabotage: "systemctl stop systemd-logind.service && systemctl mask --runtime systemd-logind.service"},
		{ID: "system.dev", Title: "no program starts from /dev", Command: &layers.CommandCheck{
			Argv: []string{"findmnt", "-no", "OPTIONS", "/dev"}, Contains: "noexec",
		}, Sabotage: "mount -o remount,exec /dev"},
		{ID: "system.var", Title: "no program starts from /var, and no device is there", Command: &layers.CommandCheck{
			Argv: []string{"findmnt", "-no", "OPTIONS", "/var"}, Contains: "nosuid,nodev,noexec",
		}, Sabotage: "mount -o remount,exec /var"},
		{ID: "system.journal", Title: "the journal is kept, and has a limit", Command: &layers.CommandCheck{
			Argv: []string{"sh", "-c", "ls /var/log/journal/*/system.journal && journalctl --boot --unit=systemd-journald --output=cat | grep 'System Journal'"}, Contains: "max 256M",
		}, Sabotage: "mv /var/log/journal /var/log/journal.away"},
		{ID: "system.umask", Title: "what people make is not readable by everybody", File: &layers.FileCheck{
			Path: "/etc/login.defs", Owner: "root:root", Mode: 0o644, Contains: "UMASK 027", ReadOnly: true,
		}, Sabotage: layers.SabotageEtc},
		{ID: "system.no-usb", Title: "the kernel knows neither USB nor FireWire", Command: &layers.CommandCheck{
			Argv: []string{"sh", "-c", "ls -d /sys/bus/usb /sys/bus/firewire 2>/dev/null; :"}, Silent: true,
		}, Sabotage: "mkdir -p /run/bus/usb && mount --bind /run/bus /sys/bus"},
		{ID: "system.own-name", Title: "the machine knows its own name without asking anybody", Command: &layers.CommandCheck{
			Argv: []string{"sh", "-c", `getent hosts "$(hostname)" | grep -wq "$(hostname)"`},
		}, Sabotage: layers.SabotageEtc + " && sed -i s/myhostname// /etc/nsswitch.conf"},
		{ID: "system.listeners", Title: "nothing listens that is not in the port table", SurvivesReboot: true, Listener: &layers.ListenerCheck{}, Sabotage: listen},
	}...)
}

// Sabotages that more than one check is there for, or that need a reason.
const (
	failUnit = "systemd-run --wait false || true"
	// Returns when the socket listens.
	listen = "systemd-run --socket-property=ListenStream=0.0.0.0:9999 --unit=sabotage true"
)
