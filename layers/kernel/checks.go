package kernel

import (
	"fmt"
	"strings"

	"ingot/layers"
)

func (l Layer) checks() []layers.Check {
	checks := []layers.Check{
		l.argumentsCheck(),
		{
			ID: "kernel.modules-sealed", Title: "the list of modules that are off is sealed",
			File:     &layers.FileCheck{Path: modulesPath, Owner: "root:root", Mode: 0o644, ReadOnly: true},
			Sabotage: "mount -t tmpfs tmpfs /etc/modprobe.d && : >" + modulesPath,
		},
		{
			ID: "kernel.core-sessions", Title: "programs in sessions leave no core dumps",
			Command:  &layers.CommandCheck{Argv: []string{"runuser", "-u", "nobody", "--", "sh", "-c", `[ "$(ulimit -Hc)" = 0 ]`}},
			Sabotage: "mkdir /run/limits && echo '* hard core unlimited' >/run/limits/core.conf && mount --bind /run/limits /etc/security/limits.d",
		},
		{
			ID: "kernel.core-services", Title: "services leave no core dumps",
			Command: &layers.CommandCheck{Argv: []string{"systemctl", "show", "--property=LimitCORE", "dbus-broker.service"}, Contains: "LimitCORE=0\n"},
			Sabotage: "mkdir -p /run/systemd/system/dbus-broker.service.d && " +
				"printf '[Service]\\nLimitCORE=infinity\\n' >/run/systemd/system/dbus-broker.service.d/core.conf && systemctl daemon-reload",
		},
	}
	if level := l.Options.lockdown(); level != LockdownOff {
		checks = append(checks, layers.Check{
			ID: "kernel.lockdown", Title: "the kernel is locked down: " + string(level),
			File:     &layers.FileCheck{Path: lockdownFile, Contains: "[" + string(level) + "]"},
			Sabotage: "echo '[none] integrity confidentiality' >/run/lockdown && mount --bind /run/lockdown " + lockdownFile,
		})
	}
	for _, g := range l.Options.modules() {
		checks = append(checks, modulesOffCheck(g))
	}
	return append(checks, l.unloadedCheck())
}

const lockdownFile = "/sys/kernel/security/lockdown"

// argumentsCheck prints the arguments that the kernel was not started with.
func (l Layer) argumentsCheck() layers.Check {
	var texts []string
	for _, a := range l.Options.arguments() {
		texts = append(texts, a.text)
	}
	const missing = `line=" $(cat /proc/cmdline) "; for a; do case $line in *" $a "*) ;; *) echo "$a" ;; esac; done`
	return layers.Check{
		ID: "kernel.arguments", Title: "the kernel was started with the hardening arguments",
		Command:  &layers.CommandCheck{Argv: append([]string{"sh", "-c", missing, "sh"}, texts...), Silent: true},
		Sabotage: fmt.Sprintf("sed 's/ %s\\b//' /proc/cmdline >/run/cmdline && mount --bind /run/cmdline /proc/cmdline", sedPattern(texts[len(texts)-1])),
	}
}

// sedPattern matches the argument itself: the names have dots.
func sedPattern(text string) string { return strings.ReplaceAll(text, ".", `\.`) }

// modulesOffCheck prints the modules that modprobe would load: it asks for
// modprobe's whole configuration once, because starting it is what takes time.
func modulesOffCheck(g blocked) layers.Check {
	const loadable = `all=$(modprobe --showconfig) || exit 1
for m; do case $all in *"install $m /bin/false"*) ;; *) echo "$m" ;; esac; done`
	return layers.Check{
		ID: "kernel." + g.id, Title: "modules are off: " + strings.Join(g.names[:min(3, len(g.names))], ", ") + ", …",
		Command: &layers.CommandCheck{Argv: append([]string{"sh", "-c", loadable, "sh"}, g.names...), Silent: true},
		Sabotage: fmt.Sprintf("mkdir /run/modprobe && grep -v ' %s ' %s >/run/modprobe/50-ingot.conf && mount --bind /run/modprobe /etc/modprobe.d",
			g.names[0], modulesPath),
	}
}

// unloadedCheck prints the loaded ones: the initrd has a configuration of its
// own, and root can go around modprobe's.
func (l Layer) unloadedCheck() layers.Check {
	var all []string
	for _, g := range l.Options.modules() {
		all = append(all, g.names...)
	}
	const loaded = `for m; do if [ -e "/sys/module/$m/initstate" ]; then echo "$m"; fi; done`
	return layers.Check{
		ID: "kernel.unloaded", Title: "none of the modules that are off is loaded",
		Command: &layers.CommandCheck{Argv: append([]string{"sh", "-c", loaded, "sh"}, all...), Silent: true},
		// The image has none of them: what would be there if one were loaded.
		Sabotage: fmt.Sprintf("mount -t tmpfs tmpfs /sys/module && mkdir /sys/module/%[1]s && : >/sys/module/%[1]s/initstate", all[0]),
	}
}
