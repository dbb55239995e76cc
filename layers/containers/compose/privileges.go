package compose

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// capability is the name of one without its prefix, in capitals.
func capability(name string) string {
	return strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(name)), "CAP_")
}

// privileges are the safe defaults, and what the file and ingot.yaml together
// take back of them.
func (s service) privileges() {
	if s.Privileged {
		s.wrong("a privileged container has the whole machine", "name what it needs with cap_add and devices", "privileged")
	}
	s.container("DropCapability", "all")
	for _, name := range s.CapAdd {
		c := capability(name)
		at := s.project.item(s.Name, "cap_add", name)
		if !regexp.MustCompile(`^[A-Z_]{3,32}$`).MatchString(c) {
			s.wrong(fmt.Sprintf("%q is not a capability", clip(name)), "write one such as NET_BIND_SERVICE", at...)
			continue
		}
		if c == "ALL" {
			s.wrong("all capabilities are the whole machine", "name those that it needs", at...)
			continue
		}
		if s.allowed("cap_add="+c, fmt.Sprintf("the capability %s is not given by default", c), "remove it", at...) {
			s.container("AddCapability", c)
		}
	}
	s.securityOptions()
	if !s.has("read_only") || s.ReadOnly || !s.allowed("read_only=false", "the container may write into its root", "remove it, and name the folders that it writes with tmpfs or volumes", "read_only") {
		s.container("ReadOnly", "true")
	}
	s.account()
	s.namespaces()
	for _, d := range s.Devices {
		at := s.project.item(s.Name, "devices", d.Source)
		if !path.IsAbs(d.Source) || !strings.HasPrefix(path.Clean(d.Source), "/dev/") {
			s.wrong(fmt.Sprintf("%q is not a device", clip(d.Source)), "write a path such as /dev/dri/renderD128", at...)
			continue
		}
		if s.allowed("devices="+d.Source, fmt.Sprintf("the device %s is the machine's", clip(d.Source)), "remove it", at...) {
			s.unit.words("Container", "AddDevice", strings.Trim(strings.Join([]string{d.Source, d.Target, d.Permissions}, ":"), ":"))
		}
	}
}

// account: a user namespace of its own, or an account that is not root.
func (s service) account() {
	user, group, _ := strings.Cut(s.User, ":")
	for _, name := range []string{user, group} {
		if name != "" && !regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`).MatchString(name) {
			s.wrong(fmt.Sprintf("%q is not an account", clip(s.User)), "write a name or a number, and its group after a colon, such as 1000:1000", "user")
			return
		}
	}
	if user != "" {
		s.container("User", user)
	}
	if group != "" {
		s.container("Group", group)
	}
	for _, g := range s.GroupAdd {
		if s.line(g, s.project.item(s.Name, "group_add", g)...) {
			s.container("GroupAdd", g)
		}
	}
	switch s.UserNSMode {
	case "":
		s.container("UserNS", "auto")
	case "host":
		// A number: what a name means, only the image knows.
		harmless := regexp.MustCompile(`^[1-9][0-9]*$`).MatchString(user)
		if !harmless && !s.allowed("userns_mode=host", "root in the container is root on the machine", "remove it, or give it a number with user", "userns_mode") {
			s.container("UserNS", "auto")
		}
	default:
		s.wrong(fmt.Sprintf("the user namespace %q is not there", clip(s.UserNSMode)), "remove it: every container has one of its own", "userns_mode")
	}
}

// namespaces that a container may share with the machine.
func (s service) namespaces() {
	for _, n := range []struct{ key, value string }{{"pid", s.Pid}, {"ipc", s.Ipc}, {"cgroup", s.Cgroup}} {
		switch {
		case n.value == "" || n.value == "private" || n.key == "ipc" && n.value == "shareable":
		case n.value == "host" && n.key != "cgroup":
			if s.allowed(n.key+"=host", fmt.Sprintf("the container shares the machine's %s namespace", n.key), "remove it", n.key) {
				s.unit.words("Container", "PodmanArgs", "--"+n.key+"=host")
			}
		default:
			s.wrong(fmt.Sprintf("%s: %s cannot be translated", n.key, clip(n.value)), "remove it: the container has a namespace of its own", n.key)
		}
	}
}

func (s service) securityOptions() {
	noNew := true
	for _, option := range s.SecurityOpt {
		at := s.project.item(s.Name, "security_opt", option)
		name, value, _ := strings.Cut(strings.Replace(option, ":", "=", 1), "=")
		switch name {
		case "no-new-privileges":
			if value == "false" && s.allowed("security_opt=no-new-privileges:false", "programs in the container may gain rights by set-user-ID", "remove it", at...) {
				noNew = false
			}
		case "label":
			s.remark("label is left out", "Debian has no SELinux", at...)
		case "seccomp":
			s.seccomp(value, at)
		case "apparmor":
			if !regexp.MustCompile(`^[A-Za-z0-9_.-]+$`).MatchString(value) {
				s.wrong(fmt.Sprintf("%q is not an AppArmor profile", clip(value)), "write the name of one", at...)
			} else if s.allowed("security_opt=apparmor="+value, "the container is not held to Podman's AppArmor profile", "remove it", at...) {
				s.unit.words("Container", "PodmanArgs", "--security-opt=apparmor="+value)
			}
		case "systempaths":
			if s.allowed("security_opt=systempaths=unconfined", "the container sees what /proc and /sys hide", "remove it", at...) {
				s.unit.words("Container", "Unmask", "ALL")
			}
		default:
			s.wrong(fmt.Sprintf("the security option %q is not known", clip(option)), "use no-new-privileges, seccomp, apparmor or systempaths", at...)
		}
	}
	if noNew {
		s.container("NoNewPrivileges", "true")
	}
}

func (s service) seccomp(value string, at []any) {
	if value == "unconfined" {
		if s.allowed("security_opt=seccomp=unconfined", "the container may call every part of the kernel", "remove it", at...) {
			s.container("SeccompProfile", "unconfined")
		}
		return
	}
	if !s.allowed("security_opt=seccomp="+value, "the container is not held to Podman's seccomp profile", "remove it", at...) {
		return
	}
	if file, ok := s.bake(value, at); ok {
		s.container("SeccompProfile", file)
	}
}
