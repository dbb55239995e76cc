package sudo

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// command is one thing that an account may run as root.
type command struct {
	path string
	args []string
	// noexec keeps the program from starting others: for those that would
	// start a pager on a terminal.
	noexec bool
}

// problem is why a command is refused.
type problem struct{ message, advice string }

func refusef(advice, format string, a ...any) *problem {
	return &problem{message: fmt.Sprintf(format, a...), advice: advice}
}

// maxCommand is the longest command in bytes: what a reader can judge.
const maxCommand = 512

// special are characters that mean something in sudoers, and what to do
// instead. sudo's own "*" matches blanks and slashes too: "restart openclaw*"
// would allow "restart openclaw sshd". It is rendered as a regular expression.
var special = []struct{ chars, message, advice string }{
	{",", "a comma ends a command in sudoers", "write each command as an item of its own"},
	{`\`, "a backslash quotes the next character in sudoers", "name a program and arguments that need none"},
	{"#", "a # begins a comment, a number or an #include in sudoers", "name a program and arguments that need none"},
	{"!", "a ! denies a command in sudoers, and what is denied can be reached by another name", "list only what is allowed"},
	{"?[]", "a wildcard matches more than it shows", "write the arguments in full; * is for part of a unit's name in systemctl"},
	{`"'` + "`$;&|<>(){}~^", "sudo starts the program without a shell, which would read this character", "put what needs a shell into a program of the image and name that"},
}

// plain is what is left: what a command may be made of.
var plain = regexp.MustCompile(`^[A-Za-z0-9@%._/+=:* -]+$`)

const example = "write an absolute path with its arguments, such as /usr/bin/systemctl restart openclaw*"

// parse reads one command, or says why it cannot be allowed.
func parse(text string) (command, *problem) {
	fields := strings.Fields(text)
	switch {
	case len(fields) == 0:
		return command{}, refusef(example, "the command is empty")
	case len(text) > maxCommand:
		return command{}, refusef("put it into a program of the image and name that", "the command is longer than %d bytes", maxCommand)
	case slices.Contains(fields, "ALL"):
		return command{}, refusef("list the commands that the account needs", "ALL makes the account root")
	case fields[0] == "sudoedit":
		return command{}, refusef("change the image instead: its files are read-only", "sudoedit lets the account write files as root")
	}
	for _, s := range special {
		if i := strings.IndexAny(text, s.chars); i >= 0 {
			return command{}, refusef(s.advice, "%s: %q", s.message, text[i:i+1])
		}
	}
	if !plain.MatchString(text) {
		return command{}, refusef(example, "the command holds a character that cannot be in one")
	}
	program, problem := programPath(fields[0])
	if problem != nil {
		return command{}, problem
	}
	return arguments(program, fields[1:])
}

// programPath returns the program's path below /usr, where /bin and /sbin lead.
func programPath(text string) (string, *problem) {
	switch {
	case !path.IsAbs(text):
		return "", refusef(example, "%q is not an absolute path: PATH would choose the program", text)
	case strings.Contains(text, "*"):
		return "", refusef("name one program", "a wildcard in the path lets any program through that is put there")
	case path.Clean(text) != text:
		return "", refusef("write the path as it is, without a / at its end: a folder means every program in it", "%q is not the path of one program", text)
	case strings.HasPrefix(text, "/bin/"), strings.HasPrefix(text, "/sbin/"):
		text = "/usr" + text
	case !strings.HasPrefix(text, "/usr/") && !strings.HasPrefix(text, "/opt/"):
		return "", refusef(ownProgram, "%q is not in the sealed part of the image: whoever can write there becomes root", text)
	}
	if reason := escapes(path.Base(text)); reason != "" {
		return "", refusef(ownProgram, "%s %s: the account would be root", path.Base(text), reason)
	}
	if !slices.Contains(judged, text) && !isOwn(text) {
		return "", refusef(ownProgram, "%s is a program of Debian's, and nobody has judged what it starts, reads or writes as root", path.Base(text))
	}
	return text, nil
}

const ownProgram = "write a program that does only what is needed, let a custom layer put it below /usr/local or /opt, and name that"

// judged are the programs of packages whose arguments are looked at below.
var judged = []string{"/usr/bin/systemctl", "/usr/bin/journalctl"}

// isOwn tells programs of the owner's from those of packages, which never
// install there (Debian Policy §9.1.2, Filesystem Hierarchy Standard §3.13).
func isOwn(program string) bool {
	return strings.HasPrefix(program, "/usr/local/") || strings.HasPrefix(program, "/opt/")
}

// arguments checks what follows the program.
func arguments(program string, args []string) (command, *problem) {
	switch program {
	case "/usr/bin/systemctl":
		return systemctl(program, args)
	case "/usr/bin/journalctl":
		return journalctl(program, args)
	}
	for _, a := range args {
		if strings.Contains(a, "*") {
			return command{}, refusef("write the arguments in full; * is for part of a unit's name in systemctl", "%q lets any argument through, options among them", a)
		}
	}
	return command{path: program, args: args}, nil
}

// unitShape is a unit's name with at most one "*" in it. Three characters
// before it are the least that can name a service.
var unitShape = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9@._-]*$|^[A-Za-z0-9][A-Za-z0-9@._-]{2,}\*[A-Za-z0-9@._-]*$`)

// Verbs of systemctl that act on units that are there, and those that only
// look. All others take paths, edit or make units, or change the whole machine.
var (
	acts  = []string{"start", "stop", "restart", "try-restart", "reload", "reload-or-restart", "try-reload-or-restart", "reset-failed"}
	looks = []string{"status", "show", "is-active", "is-enabled", "is-failed"}
)

// reserved are what the names of units begin with that no service account may
// start or stop, and why.
var reserved = []struct{ prefixes, why string }{
	{"debug-shell rescue emergency runlevel initrd breakpoint", "a root shell on the console"},
	{"ssh systemd- nftables dbus wg ingot- sys- apparmor fail2ban user@ user- session- init. -", "what everybody's way in or safety depends on"},
	{"reboot poweroff halt kexec soft-reboot shutdown exit ctrl-alt-del sleep suspend hibernate hybrid-sleep umount final " +
		"default multi-user graphical basic sysinit sockets timers paths slices network local-fs remote-fs cryptsetup getty swap time- nss-", "the state of the whole machine"},
}

var systemctlOptions = regexp.MustCompile(`^(--no-pager|--no-block|--quiet|-q|--full|-l|--plain|--value|--lines=[0-9]+|--property=[A-Za-z]+)$`)

func systemctl(program string, args []string) (command, *problem) {
	var verb string
	var units []string
	pager := true
	for _, a := range args {
		switch {
		case strings.HasPrefix(a, "-") && !systemctlOptions.MatchString(a):
			return command{}, refusef("use --no-pager, --no-block, --quiet, --full, --plain, --value, --lines=N or --property=NAME", "the option %q of systemctl is not known to be harmless", a)
		case strings.HasPrefix(a, "-"):
			pager = pager && a != "--no-pager"
		case verb == "":
			verb = a
		default:
			units = append(units, a)
		}
	}
	if problem := systemctlVerb(verb, pager); problem != nil {
		return command{}, problem
	}
	if len(units) == 0 {
		return command{}, refusef("name the units, such as openclaw*", "systemctl %s without a unit is not a minimal command", verb)
	}
	for _, u := range units {
		if problem := unit(u, slices.Contains(acts, verb)); problem != nil {
			return command{}, problem
		}
	}
	return command{path: program, args: args, noexec: slices.Contains(looks, verb)}, nil
}

func systemctlVerb(verb string, pager bool) *problem {
	known := "use one of " + strings.Join(slices.Concat(acts, looks), ", ")
	switch {
	case verb == "":
		return refusef(known, "systemctl without a verb lets any through")
	case strings.Contains(verb, "*"):
		return refusef(known, "systemctl %s allows every verb: edit and link would make the account root", verb)
	case !slices.Contains(acts, verb) && !slices.Contains(looks, verb):
		return refusef(known, "systemctl %s can do more than handle a service: edit, link and enable take files of the account's own", verb)
	case (verb == "status" || verb == "show") && pager:
		return refusef("add --no-pager: /usr/bin/systemctl "+verb+" --no-pager openclaw*", "systemctl %s starts a pager on a terminal, and the pager a root shell", verb)
	}
	return nil
}

func unit(name string, act bool) *problem {
	const advice = "write a unit's name; one * may stand for the rest of a name that has three letters before it"
	if !unitShape.MatchString(name) {
		return refusef(advice, "%q is not the name of one service's units", name)
	}
	prefix, _, wild := strings.Cut(name, "*")
	for _, group := range reserved {
		for other := range strings.FieldsSeq(group.prefixes) {
			if act && (strings.HasPrefix(prefix, other) || wild && strings.HasPrefix(other, prefix)) {
				return refusef("name other units, those of the account's own service", "%q includes %s, %s", name, other, group.why)
			}
		}
	}
	return nil
}

var journalctlOptions = regexp.MustCompile(`^(--no-pager|-f|--follow|-b|--boot|-q|--quiet|--utc|--lines=[0-9]+|--output=[a-z-]+|--priority=[a-z0-9.]+|--unit=[A-Za-z0-9][A-Za-z0-9@._-]*)$`)

func journalctl(program string, args []string) (command, *problem) {
	for _, a := range args {
		if !journalctlOptions.MatchString(a) {
			return command{}, refusef("use --no-pager, --unit=NAME, --lines=N, --follow, --boot, --output=FORMAT, --priority=LEVEL, --utc or --quiet",
				"the argument %q of journalctl is not known to be harmless", a)
		}
	}
	if !slices.Contains(args, "--no-pager") {
		return command{}, refusef("add --no-pager", "journalctl starts a pager on a terminal, and the pager a root shell")
	}
	if !slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--unit=") }) {
		return command{}, refusef("add --unit=NAME", "journalctl without a unit shows everybody's messages")
	}
	return command{path: program, args: args, noexec: true}, nil
}
