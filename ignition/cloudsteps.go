package ignition

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"ingot/layers"
)

// Steps are lists of arguments, which cloud-init quotes for the shell one by
// one; a value of the plan is never part of a program text.

// step is one list of arguments.
type step []string

// MarshalYAML implements [yaml.Marshaler]: a step is a line, unless it has a
// program of several.
func (s step) MarshalYAML() (any, error) {
	n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, w := range s {
		// The library's own choice for several lines does not always come back.
		word := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: w, Style: yaml.DoubleQuotedStyle}
		switch {
		case !strings.Contains(w, "\n"): // quoted as needed
			if err := word.Encode(w); err != nil {
				return nil, err
			}
		case readable(w + "\n"):
			word.Style, n.Style = yaml.LiteralStyle, 0
		}
		n.Content = append(n.Content, word)
	}
	return n, nil
}

// argv is one step.
func argv(words ...string) step { return words }

// shell is a step with a program of its own; arguments are $1 and on.
func shell(program string, arguments ...string) step {
	return append(step{"sh", "-euc", program, "sh"}, arguments...)
}

// doors are what a stock system lets people in by.
var doors = []string{"ssh.socket", "ssh.service"}

// bootcmd runs at every boot until the machine is configured, before sshd.
func (c cloudConfig) bootcmd(f layers.Fragment) []any {
	steps := []any{
		// invoke-rc.d(8): 101 forbids every action. Runtime masks are gone
		// after the restart that ends the configuration.
		shell(`printf '#!/bin/sh\nexit 101\n' >"$1"; chmod 0755 "$1"`, policyRCD),
		append(argv("systemctl", "mask", "--runtime", "--now"), doors...),
		// Debian's resolved answers to its neighbours on 5355 and 5353.
		shell(`mkdir -p "${1%/*}"; printf '[Resolve]\nLLMNR=no\nMulticastDNS=no\n' >"$1"; systemctl try-restart systemd-resolved.service`, quietResolved),
	}
	for _, g := range f.Groups {
		// cloud-init's own groups cannot have numbers.
		create := []string{}
		if g.System {
			create = append(create, "--system")
		}
		if g.GID != 0 {
			create = append(create, "--gid", strconv.Itoa(g.GID))
		}
		steps = append(steps, shell(`getent group "$1" >/dev/null || groupadd "$@"`, append([]string{g.Name}, create...)...))
	}
	return steps
}

// failed tells on the console why nobody can log in.
const failed = `trap 'status=$?; if [ $status -ne 0 ]; then echo "ingot: the configuration failed, the machine stays closed; see /var/log/cloud-init-output.log" >/dev/console; fi' EXIT`

// runcmd is one shell script; strings are lines of it.
func (c cloudConfig) runcmd(f layers.Fragment) []any {
	steps := []any{"set -eu", failed}
	for _, part := range [][]step{
		c.complete(f), places(f), accounts(f), c.sealed(), c.kernel(f), c.validators(), units(f.Units),
	} {
		for _, s := range part {
			steps = append(steps, s)
		}
	}
	return append(steps,
		argv("rm", policyRCD),
		// Whoever can change the user-data later does not change the machine.
		argv("touch", "/etc/cloud/cloud-init.disabled"),
		argv("touch", configured),
	)
}

// complete refuses to go on when a step before did not succeed.
func (c cloudConfig) complete(f layers.Fragment) []step {
	steps := []step{argv("test", "-e", filesWritten)}
	if len(c.plan.Packages) > 0 {
		steps = append(steps, shell(`dpkg-query --status "$@" >/dev/null`, c.plan.Packages...))
	}
	for _, s := range c.plan.Secrets {
		steps = append(steps, argv("test", "-s", s.Path))
	}
	for _, u := range f.Users {
		if u.UID != 0 {
			steps = append(steps, shell(`test "$(id -u "$1")" -eq "$2"`, u.Name, strconv.Itoa(u.UID)))
		}
	}
	return steps
}

// places are directories and links, and the folders of the declared state.
func places(f layers.Fragment) []step {
	var steps []step
	for _, d := range f.Directories {
		steps = append(steps, argv("install", "-d", "-o", orRoot(d.User), "-g", orRoot(d.Group), "-m", fmt.Sprintf("%04o", d.Mode), d.Path))
	}
	for _, l := range f.Links {
		steps = append(steps, argv("mkdir", "-p", path.Dir(l.Path)),
			argv("ln", "--symbolic", "--force", "--no-target-directory", "--", l.Target, l.Path))
	}
	for _, v := range f.Files {
		if path.Base(path.Dir(v.Path)) == "tmpfiles.d" && strings.HasSuffix(v.Path, ".conf") {
			steps = append(steps, argv("systemd-tmpfiles", "--create", v.Path))
		}
	}
	return steps
}

// accounts locks root, and does what has to wait for the packages' groups and
// for the state folders. A sealed image has all of /home on /var; here only
// the homes of its users are there.
func accounts(f layers.Fragment) []step {
	steps := []step{argv("passwd", "--lock", "root")}
	for _, u := range f.Users {
		if len(u.Groups) > 0 {
			steps = append(steps, argv("usermod", "--append", "--groups", strings.Join(u.Groups, ","), u.Name))
		}
		if strings.HasPrefix(u.Home, "/home/") {
			steps = append(steps, shell(`if [ -d "$1" ] && [ ! -e "$2" ]; then ln -s "$1" "$2"; fi`, "/var"+u.Home, u.Home))
		}
	}
	return steps
}

// sealed does by hand what an image build does to the finished tree.
func (c cloudConfig) sealed() []step {
	var steps []step
	for _, r := range c.plan.Removed {
		// Without IFS the pattern is expanded and not split.
		steps = append(steps, shell(`IFS=; for found in $1; do rm -rf -- "$found"; done`, r.Pattern))
	}
	if len(c.plan.SUID) > 0 {
		var keep []string
		for _, s := range c.plan.SUID {
			keep = append(keep, s.Path)
		}
		// An override outlives upgrades of the package.
		steps = append(steps, shell(`find / -xdev -type f -perm /6000 -printf '%p\t%u\t%g\t%m\n' | while IFS='	' read -r found user group mode; do
  for keep; do if [ "$keep" = "$found" ]; then continue 2; fi; done
  dpkg-statoverride --force-statoverride-add --update --add "$user" "$group" "0${mode#?}" "$found"
done`, keep...))
	}
	return steps
}

// kernel: without GRUB the arguments would silently be missing.
func (c cloudConfig) kernel(f layers.Fragment) []step {
	if len(f.KernelArguments) == 0 {
		return nil
	}
	return []step{argv("update-grub")}
}

// validators are the plan's, with a throw-away host key where sshd looks for
// the real one.
func (c cloudConfig) validators() []step {
	// systemd-analyze and systemctl enable refuse a masked unit. Nothing starts
	// it before the restart; after one without success bootcmd masks it again.
	steps := []step{append(argv("systemctl", "unmask", "--runtime", "--quiet"), doors...), argv("systemctl", "daemon-reload")}
	for _, v := range c.plan.Validators {
		switch {
		case v.HostKey != "":
			steps = append(steps, shell(`key=$1; shift
if [ ! -e "$key" ]; then
  mkdir -p "${key%/*}"
  ssh-keygen -q -t ed25519 -N '' -f "$key"
  trap 'rm -f "$key" "$key.pub"' EXIT
fi
"$@"`, append([]string{v.HostKey}, v.Argv...)...))
		case v.PrintsErrors:
			steps = append(steps, shell(`printed=$("$@" 2>&1) || { echo "$printed"; exit 1; }
if [ -n "$printed" ]; then echo "$printed"; exit 1; fi`, v.Argv...))
		default:
			steps = append(steps, v.Argv)
		}
	}
	return steps
}

// units enables what the plan enables. As in an image, a unit that the plan
// names and does not enable is not enabled, whatever its package did.
func units(list []layers.Unit) []step {
	var enable, mask []string
	disable := notEnabled(list)
	for _, u := range list {
		switch {
		case u.Mask:
			mask = append(mask, u.Name)
		case u.Enabled != nil && *u.Enabled:
			enable = append(enable, u.Name)
		}
	}
	var steps []step
	if len(disable) > 0 {
		steps = append(steps, shell(`for unit; do
  if systemctl is-enabled --quiet -- "$unit" 2>/dev/null; then systemctl disable --quiet -- "$unit"; fi
done`, disable...))
	}
	if len(mask) > 0 {
		steps = append(steps, append(argv("systemctl", "mask", "--quiet", "--"), mask...))
	}
	if len(enable) > 0 {
		steps = append(steps, append(argv("systemctl", "enable", "--quiet", "--"), enable...))
	}
	return slices.Clip(steps)
}

func orRoot(name string) string {
	if name == "" {
		return "root"
	}
	return name
}
