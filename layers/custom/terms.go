package custom

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"

	"ingot/layers"
)

const (
	// Debian Policy §5.6.1.
	packageShape = `^[a-z0-9][a-z0-9+.-]+$`
	// Nothing that a tmpfiles.d line or a path pattern reads as syntax.
	statePathShape = `^/var(/[A-Za-z0-9_@+][A-Za-z0-9_.@+-]*)+$`
	// What AppArmor reads as a plain name or path, and a shell too.
	profileShape     = `^[A-Za-z0-9/][A-Za-z0-9_./+-]{0,127}$`
	profilePathShape = `^/etc/apparmor\.d/[A-Za-z0-9][A-Za-z0-9_.+-]{0,127}$`
	maxPort          = 65535
)

func (l *loader) packageName(name string, at ...any) string {
	if !matches(packageShape, name) {
		l.report(fmt.Sprintf("%q is not the name of a Debian package", name), "write one package an item, without a version", at...)
	}
	l.once("package", name, at)
	return name
}

func (l *loader) port(x port, at ...any) layers.Port {
	proto := l.proto(x.Proto, join(at, "proto"))
	l.portNumber(x.Port, join(at, "port"))
	l.why(x.Why, join(at, "why"))
	if !slices.Contains([]layers.From{layers.FromInternet, layers.FromWireGuard, layers.FromLoopback}, layers.From(x.From)) {
		l.report(fmt.Sprintf("%q is not a place to come from", x.From), "use wireguard for the tunnel's peers, internet for everybody, or loopback", join(at, "from")...)
	}
	if x.NewPerMinute < 0 || x.NewPerMinute > 1_000_000 {
		l.report(fmt.Sprintf("%d new connections a minute is no limit", x.NewPerMinute), "use 1 to 1000000, or leave it out for no limit", join(at, "newPerMinute")...)
	}
	l.once("port", fmt.Sprintf("%s/%d from %s", proto, x.Port, x.From), join(at, "port"))
	return layers.Port{Proto: proto, Port: x.Port, From: layers.From(x.From), Why: x.Why, NewPerMinute: x.NewPerMinute}
}

func (l *loader) proto(proto string, at []any) string {
	switch proto {
	case "":
		return "tcp"
	case "tcp", "udp":
		return proto
	}
	l.report(fmt.Sprintf("%q is not a protocol with ports", proto), "use tcp or udp", at...)
	return proto
}

func (l *loader) portNumber(n int, at []any) {
	if n < 1 || n > maxPort {
		l.report(fmt.Sprintf("%d is not a port", n), "use a number from 1 to 65535", at...)
	}
}

func (l *loader) why(why string, at []any) {
	if problem := layers.WhyProblem(why); problem != "" {
		l.report(strings.Replace(problem, "an open port needs a reason", "there is no reason", 1), "say in a few words what it is for", at...)
	}
}

func (l *loader) egress(x egress, at ...any) layers.Egress {
	l.portNumber(x.Port, join(at, "port"))
	l.why(x.Why, join(at, "why"))
	if x.CIDR != "" {
		l.network(x.CIDR, ", or leave it out for everywhere", join(at, "cidr"))
	}
	return layers.Egress{Proto: l.proto(x.Proto, join(at, "proto")), Port: x.Port, CIDR: x.CIDR, Why: x.Why}
}

func (l *loader) state(x state, at ...any) layers.State {
	switch {
	case !matches(statePathShape, x.Path):
		l.report(fmt.Sprintf("%q is not a plain path below /var", x.Path), "write one such as /var/lib/my-app", join(at, "path")...)
	case within(x.Path, "/var/lib/ingot", "/var/home", "/var/tmp", "/var/cache") || slices.Contains([]string{"/var/lib", "/var/log", "/var/spool"}, x.Path):
		l.report(fmt.Sprintf("%s is not a layer's own folder", x.Path), "use one of your own, such as /var/lib/my-app", join(at, "path")...)
	}
	l.once("state", x.Path, join(at, "path"))
	l.why(x.Why, join(at, "why"))
	return layers.State{
		Path: x.Path, Mode: x.Mode.or(0o750), Exec: x.Exec, Why: x.Why,
		User:  orRoot(l.account(x.User, join(at, "user"))),
		Group: orRoot(l.account(x.Group, join(at, "group"))),
	}
}

func orRoot(account string) string {
	if account == "" {
		return "root"
	}
	return account
}

func (l *loader) disposable(pattern string, at ...any) string {
	_, err := path.Match(pattern, "/")
	if err != nil || !strings.HasPrefix(pattern, "/var/") || strings.Contains(pattern, "..") || strings.ContainsFunc(pattern, unicode.IsControl) {
		l.report(fmt.Sprintf("%q is not a pattern of paths below /var", pattern), "write one such as /var/lib/my-app/cache/*", at...)
	}
	return pattern
}

func (l *loader) profile(x profile, at ...any) layers.Profile {
	if !matches(profileShape, x.Name) {
		l.report(fmt.Sprintf("%q is not the name of an AppArmor profile", x.Name), "write the word after profile in its file, or the path of the program", join(at, "name")...)
	}
	if !matches(profilePathShape, x.Path) {
		l.report(fmt.Sprintf("%q is not a file in /etc/apparmor.d", x.Path), "write one such as /etc/apparmor.d/my-app", join(at, "path")...)
	}
	if !matches(unitShape, x.Unit) || !strings.HasSuffix(x.Unit, ".service") {
		l.report(fmt.Sprintf("%q is not a service", x.Unit), "use a name such as my-app.service", join(at, "unit")...)
	}
	l.once("AppArmor profile", x.Name, join(at, "name"))
	l.once("AppArmor profile of", x.Unit, join(at, "unit"))
	l.why(x.Why, join(at, "why"))
	return layers.Profile{Name: x.Name, Path: x.Path, Unit: x.Unit, Why: x.Why}
}

func (l *loader) suid(x suid, at ...any) layers.SUID {
	l.target("suid", x.Path, join(at, "path"))
	l.why(x.Why, join(at, "why"))
	return layers.SUID{Path: x.Path, Why: x.Why}
}

// argv checks a command: it is run as it is, without a shell.
func (l *loader) argv(argv []string, at ...any) {
	if len(argv) == 0 || argv[0] == "" {
		l.report("there is no command", "write the program and its arguments as a list, such as [my-app, --check]", at...)
		return
	}
	for i, word := range argv {
		if strings.ContainsFunc(word, func(r rune) bool { return r == 0 || unicode.IsControl(r) && r != '\n' && r != '\t' }) {
			l.report("a word of the command holds a control character", "remove it", join(at, i)...)
		}
	}
}
