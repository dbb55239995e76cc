package containers

import (
	"fmt"
	"slices"
	"strings"

	"ingot/layers"
	"ingot/layers/containers/compose"
	"ingot/layers/vpn"
)

// Finish implements [layers.Finisher]: what containers are held to depends on
// whether there is AppArmor.
func (l Layer) Finish(plan layers.Plan) layers.Contribution {
	c := layers.Contribution{Checks: l.checks(slices.Contains(plan.LayerNames, "apparmor"))}
	for _, check := range c.Checks {
		c.SealOnly = append(c.SealOnly, layers.SealOnly{What: "check " + check.ID, Why: stock})
	}
	return c
}

func (l Layer) checks(apparmor bool) []layers.Check {
	t := l.Translation
	list := []layers.Check{{
		ID: "containers.images", Title: "there are no images but those of the sealed root", SurvivesReboot: true,
		Command: &layers.CommandCheck{
			Argv: []string{"sh", "-c", `list=$(podman images --all --format '{{.ReadOnly}} {{.Repository}}') || exit 1; printf '%s\n' "$list" | grep -v '^true '; :`}, Silent: true,
		},
		Sabotage: "tar --create --directory /etc hostname | podman import - localhost/sabotage",
	}}
	for _, s := range t.Services {
		if !s.Stays {
			continue
		}
		list = append(list, layers.Check{
			ID: "containers." + s.Name, Title: "the container " + s.Name + " runs", SurvivesReboot: true,
			Unit:     &layers.UnitCheck{Name: s.Unit, State: "active"},
			Sabotage: "systemctl stop " + s.Unit,
		})
	}
	if check, ok := l.confined(apparmor); ok {
		list = append(list, check)
	}
	if members := l.inVPN(); len(members) > 0 {
		list = append(list, layers.Check{
			ID: "containers.in-vpn", Title: "what lives in the VPN namespace is in no other", SurvivesReboot: true,
			Command: &layers.CommandCheck{Argv: []string{"sh", "-c", fmt.Sprintf(`want=$(stat -L -c %%i %s) || exit 1
list=$(podman ps --format '{{.Names}} {{.Pid}}') || exit 1
printf '%%s\n' "$list" | while read -r name pid; do
case $name in %s) [ "$(stat -L -c %%i "/proc/$pid/ns/net")" = "$want" ] || echo "$name is elsewhere" ;; esac
done`, vpn.NamespacePath, strings.Join(members, "|"))}, Silent: true},
			Sabotage: "systemctl stop " + vpn.LinkUnit + " && ip netns delete " + vpn.Namespace + " && ip netns add " + vpn.Namespace,
		})
	}
	for _, p := range t.Published {
		if p.From != layers.FromWireGuard || p.Proto != "tcp" || p.InVPN {
			continue // loopback is not reached from outside; the internet's ports are the firewall's
		}
		list = append(list, layers.Check{
			ID: fmt.Sprintf("containers.%s.port-%d", p.Service, p.Port.Port), Title: fmt.Sprintf("the container %s answers peers at port %d", p.Service, p.Port.Port),
			Reach:    &layers.ReachCheck{Proto: "tcp", Port: p.Port.Port, From: layers.FromWireGuard, State: "open"},
			Sabotage: "systemctl stop " + compose.UnitName(p.Service) + ".service",
		})
	}
	return list
}

// What the first process of a container is held to, by the override that gives it
// up. $status is its /proc/PID/status.
var confinements = []struct{ override, name, test string }{
	{"security_opt=no-new-privileges", "new privileges", `grep -q '^NoNewPrivs:[[:space:]]*1$' "/proc/$pid/status"`},
	{"security_opt=seccomp", "all system calls", `grep -q '^Seccomp:[[:space:]]*2$' "/proc/$pid/status"`},
	{"userns_mode=", "the machine's accounts", `{ read -r _ outside _ <"/proc/$pid/uid_map" && [ "$outside" -gt 0 ]; }`},
	{"network_mode=", "the machine's network", `[ "$(readlink "/proc/$pid/ns/net")" != "$(readlink /proc/1/ns/net)" ]`},
	{"pid=", "the machine's processes", `[ "$(readlink "/proc/$pid/ns/pid")" != "$(readlink /proc/1/ns/pid)" ]`},
	{"ipc=", "the machine's shared memory", `[ "$(readlink "/proc/$pid/ns/ipc")" != "$(readlink /proc/1/ns/ipc)" ]`},
}

// profile is AppArmor's part of it.
const profile = `grep -q '^containers-default-.*(enforce)' "/proc/$pid/attr/apparmor/current"`

// confined looks at the first process of every container that runs on.
func (l Layer) confined(apparmor bool) (layers.Check, bool) {
	var script strings.Builder
	script.WriteString("list=$(podman ps --format '{{.Names}} {{.Pid}}') || exit 1\nprintf '%s\\n' \"$list\" | while read -r name pid; do\n[ -n \"$pid\" ] || continue\n")
	test := func(name, condition string, but []string) {
		match := "*"
		if len(but) > 0 {
			match = strings.Join(but, "|") + ") ;; *"
		}
		fmt.Fprintf(&script, "case $name in %s) %s || echo \"$name has %s\" ;; esac\n", match, condition, name)
	}
	script.WriteString("case $name in\n")
	for _, s := range l.Translation.Services {
		if mask := l.capabilities(s.Name); mask != 0 {
			fmt.Fprintf(&script, "%s) allowed=%#x ;;\n", s.Container, mask)
		}
	}
	script.WriteString("*) allowed=0 ;;\nesac\n")
	test("capabilities that it was not allowed", `[ $((0x$(sed -n 's/^CapBnd:[[:space:]]*//p' "/proc/$pid/status") & ~allowed)) -eq 0 ]`, nil)
	for _, c := range confinements {
		test(c.name, c.test, l.without(c.override))
	}
	if apparmor {
		test("no AppArmor profile", profile, l.without("security_opt=apparmor"))
	}
	script.WriteString("done")
	for _, s := range l.Translation.Services {
		if s.Oneshot || !s.Stays || l.capabilities(s.Name)&(1<<slices.Index(capabilityNames, "SYS_ADMIN")) != 0 {
			continue // the sabotage would not be seen
		}
		folder := "/run/containers/systemd/" + compose.UnitName(s.Name) + ".container.d"
		return layers.Check{
			ID: "containers.confined", Title: "containers have no more rights than the compose file was allowed", SurvivesReboot: true,
			Command: &layers.CommandCheck{Argv: []string{"sh", "-c", script.String()}, Silent: true},
			Sabotage: "mkdir -p " + folder + " && printf '[Container]\\nAddCapability=SYS_ADMIN\\nNoNewPrivileges=false\\n' >" + folder + "/sabotage.conf" +
				" && systemctl daemon-reload && systemctl restart " + s.Unit,
		}, true
	}
	return layers.Check{}, false
}

// inVPN are the containers that live in the VPN namespace.
func (l Layer) inVPN() []string {
	var names []string
	for _, s := range l.Translation.Services {
		if l.Translation.VPN != nil && slices.Contains(l.Translation.VPN.Members, s.Name) {
			names = append(names, s.Container)
		}
	}
	return names
}

// capabilityNames are the kernel's, each at its number (include/uapi/linux/capability.h
// of Linux 6.12).
var capabilityNames = strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
	NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT
	SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
	MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE`)

// capabilities are those that a service was allowed, a bit for each.
func (l Layer) capabilities(service string) (mask uint64) {
	for _, o := range l.Translation.Overrides {
		if name, ok := strings.CutPrefix(o.What, "cap_add="); ok && o.Service == service && o.Allowed {
			if n := slices.Index(capabilityNames, name); n >= 0 {
				mask |= 1 << n
			}
		}
	}
	return mask
}

// without are the containers' names whose services were allowed an override.
func (l Layer) without(prefix string) []string {
	var names []string
	for _, s := range l.Translation.Services {
		if slices.ContainsFunc(l.Translation.Overrides, func(o compose.Override) bool {
			return o.Service == s.Name && strings.HasPrefix(o.What, prefix)
		}) {
			names = append(names, s.Container)
		}
	}
	return names
}
