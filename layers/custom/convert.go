package custom

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"ingot/layers"
)

// Shapes of names that end up in file names and in lines of other files.
const (
	accountShape = `^[a-z_][a-z0-9_-]{0,31}$`
	// systemd.unit(5): names are up to 255 of these characters and a suffix.
	unitShape   = `^[A-Za-z0-9:_.\\@-]{1,240}\.(service|socket|timer|path|target|mount|automount|slice|swap)$`
	dropinShape = `^[A-Za-z0-9:_.@-]{1,240}\.conf$`
	// Nothing that GRUB's or the kernel's command line reads as syntax.
	kernelArgumentShape = `^[A-Za-z0-9_.-]+(=[A-Za-z0-9_.,:=/+@%-]*)?$`
	versionShape        = `^[0-9]+\.[0-9]+\.[0-9]+(-experimental)?$`
)

func matches(shape, s string) bool { return regexp.MustCompile(shape).MatchString(s) }

// join appends to a path without touching the caller's.
func join(at []any, more ...any) []any { return slices.Concat(at, more) }

// once notes the claim of a name, in the words of [layers.Merge], and reports
// the second one within the folder.
func (l *loader) once(what, name string, at []any) {
	if _, twice := l.claims[what+" "+name]; !twice {
		l.claims[what+" "+name] = l.doc.Finding(at, false, "", "")
	}
	if l.seen[what+" "+name] {
		l.report(fmt.Sprintf("%s %s is defined twice", what, name), "keep one of the two", at...)
	}
	l.seen[what+" "+name] = true
}

func (l *loader) header(c butane) {
	if c.Variant != "" && !slices.Contains([]string{"fcos", "flatcar", "fiot", "r4e"}, c.Variant) {
		l.report(fmt.Sprintf("%q is not a variant of Butane with these keys", c.Variant), "remove it, or use fcos", "variant")
	}
	if c.Version != "" && !matches(versionShape, c.Version) {
		l.report(fmt.Sprintf("%q is not a version of Butane", c.Version), "remove it, or use 1.6.0", "version")
	}
}

func (l *loader) file(x file, at ...any) layers.File {
	l.target("file", x.Path, join(at, "path"))
	if x.Contents == nil || x.Contents.Inline == nil && x.Contents.Local == nil {
		l.report("the file has no content", "add inline: with the text or local: with the name of a file below files", join(at, "contents")...)
		return layers.File{}
	}
	return layers.File{
		Path: x.Path, Mode: x.Mode.or(0o644),
		User: l.account(x.User.Name, join(at, "user", "name")), Group: l.account(x.Group.Name, join(at, "group", "name")),
		Contents: l.content(x.Contents.Inline, x.Contents.Local, "local", join(at, "contents")...),
	}
}

func (l *loader) directory(x directory, at ...any) layers.Directory {
	l.target("directory", x.Path, join(at, "path"))
	return layers.Directory{
		Path: x.Path, Mode: x.Mode.or(0o755),
		User: l.account(x.User.Name, join(at, "user", "name")), Group: l.account(x.Group.Name, join(at, "group", "name")),
	}
}

func (l *loader) link(x link, at ...any) layers.Link {
	l.target("file", x.Path, join(at, "path"))
	if x.Target == "" || strings.ContainsFunc(x.Target, unicode.IsControl) {
		l.report(fmt.Sprintf("%q cannot be the target of a link", x.Target), "give a path", join(at, "target")...)
	}
	return layers.Link{Path: x.Path, Target: x.Target}
}

// target checks where something is to be written on the machine.
func (l *loader) target(what, p string, at []any) {
	l.once(what, p, at)
	if message, advice := targetProblem(p); message != "" {
		l.report(message, advice, at...)
	}
}

func targetProblem(p string) (message, advice string) {
	switch {
	case !path.IsAbs(p) || path.Clean(p) != p || p == "/" || strings.ContainsFunc(p, unicode.IsControl):
		return fmt.Sprintf("%q is not a plain absolute path", p), "write the path from / without . and .. in it"
	case within(p, "/proc", "/sys", "/dev", "/run", "/tmp"):
		return fmt.Sprintf("%s is empty at every boot", p), "write below /etc or /usr; use a tmpfiles.d file for what must be made at boot"
	case within(p, "/etc/ingot"):
		return fmt.Sprintf("%s belongs to the machine's identity", p), "write elsewhere: an image holds no secrets"
	}
	for _, r := range reserved {
		if within(p, strings.Fields(r.paths)...) {
			return fmt.Sprintf("%s decides %s", p, r.what), r.advice
		}
	}
	return "", ""
}

// reserved are paths that could lock everybody out, or let somebody in, and what
// to use instead. The layers that own such files are looked at as a whole.
var reserved = []struct{ paths, what, advice string }{
	{"/etc/sudoers /etc/sudoers.d", "who may become root", "use the layer sudo"},
	{"/etc/ssh /etc/pam.conf /etc/pam.d /etc/security /etc/nologin /etc/nsswitch.conf", "who may log in", "use the options of the layer ssh"},
	{"/etc/passwd /etc/group /etc/shadow /etc/gshadow", "who has an account", "use passwd: in " + ConfigName},
	{"/etc/systemd/network /usr/lib/systemd/network /etc/systemd/networkd.conf /etc/systemd/networkd.conf.d /usr/lib/systemd/networkd.conf.d",
		"how the machine is reached", "leave the network as it is"},
	{"/etc/modprobe.d /usr/lib/modprobe.d", "which modules the kernel loads", "use the options of the layer kernel"},
	{"/etc/sysctl.conf /etc/sysctl.d /usr/lib/sysctl.d", "settings of the kernel", "use the options of the layer sysctl"},
}

func within(p string, folders ...string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return p == f || strings.HasPrefix(p, f+"/") })
}

// account checks an optional user or group name.
func (l *loader) account(name string, at []any) string {
	if name != "" && !matches(accountShape, name) {
		l.report(fmt.Sprintf("%q is not an account name", name), "use up to 32 lower-case letters, digits, - and _", at...)
	}
	return name
}

func (l *loader) user(x user, at ...any) layers.User {
	l.once("user", x.Name, join(at, "name"))
	l.accountRequired(x.Name, join(at, "name"))
	l.number(x.UID, join(at, "uid"))
	l.account(x.PrimaryGroup, join(at, "primary_group"))
	for i, g := range x.Groups {
		l.accountRequired(g, join(at, "groups", i))
	}
	for key, text := range map[string]string{"home_dir": x.HomeDir, "shell": x.Shell, "gecos": x.Gecos} {
		if strings.ContainsFunc(text, func(r rune) bool { return r == ':' || unicode.IsControl(r) }) {
			l.report(fmt.Sprintf("%q does not fit into a line of /etc/passwd", text), "leave out colons and line breaks", join(at, key)...)
		}
	}
	return layers.User{
		Name: x.Name, UID: x.UID, Group: x.PrimaryGroup, Groups: x.Groups,
		Home: x.HomeDir, Shell: x.Shell, Gecos: x.Gecos, System: x.System,
	}
}

func (l *loader) group(x group, at ...any) layers.Group {
	l.once("group", x.Name, join(at, "name"))
	l.accountRequired(x.Name, join(at, "name"))
	l.number(x.GID, join(at, "gid"))
	return layers.Group{Name: x.Name, GID: x.GID, System: x.System}
}

func (l *loader) accountRequired(name string, at []any) {
	if name == "" {
		l.report("the account name is empty", "give it a name", at...)
	}
	l.account(name, at)
}

// number checks a uid or gid; 0 is "not given". 65534 is nobody, and what
// systemd's policy gives to containers and dynamic users begins above 60000.
func (l *loader) number(n int, at []any) {
	if n < 0 || n > 60000 {
		l.report(fmt.Sprintf("%d is not a number for an account", n), "use 1 to 60000, or leave it out and the lock chooses", at...)
	}
}

func (l *loader) unit(x unit, at ...any) layers.Unit {
	l.once("unit", x.Name, join(at, "name"))
	if !matches(unitShape, x.Name) {
		l.report(fmt.Sprintf("%q is not the name of a unit", x.Name), "use a name such as my-app.service", join(at, "name")...)
	}
	u := layers.Unit{
		Name: x.Name, Enabled: x.Enabled, Mask: x.Mask,
		Contents: l.content(x.Contents, x.ContentsLocal, "contents_local", at...),
	}
	for i, d := range x.Dropins {
		here := join(at, "dropins", i)
		l.once("drop-in", x.Name+".d/"+d.Name, join(here, "name"))
		if !matches(dropinShape, d.Name) {
			l.report(fmt.Sprintf("%q is not the name of a drop-in", d.Name), "use a name such as 10-my-app.conf", join(here, "name")...)
		}
		u.Dropins = append(u.Dropins, layers.Dropin{
			Name: d.Name, Contents: l.content(d.Contents, d.ContentsLocal, "contents_local", here...),
		})
	}
	return u
}

func (l *loader) kernelArgument(argument string, at ...any) {
	if !matches(kernelArgumentShape, argument) {
		l.report(fmt.Sprintf("%q is not one kernel argument", argument), "write name or name=value, without blanks and quotes", at...)
		return
	}
	name, _, _ := strings.Cut(argument, "=")
	claim := name
	if name == "console" { // the only one that adds up
		claim = argument
	}
	l.once("kernel argument", claim, at)
	own := []string{"init", "rdinit", "root", "roothash", "ro", "rw", "single", "s", "S", "1", "2", "3", "4", "5", "emergency", "rescue"}
	if slices.Contains(own, name) || strings.HasPrefix(name, "systemd.") || strings.HasPrefix(name, "rd.") {
		l.report(fmt.Sprintf("the kernel argument %s is the image's own", name), "remove it: the sealed root and the way in depend on it", at...)
	}
}
