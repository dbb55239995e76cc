package admin

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"ingot/layers"
)

// userShape is adduser's NAME_REGEX without the trailing dollar that only
// Samba machine accounts need.
const userShape = `^[a-z_][a-z0-9_-]*$`

// maxUser is the longest login name that useradd takes (LOGIN_NAME_MAX in
// shadow's chkname.c is 32 without the terminator).
const maxUser = 32

func validateUser(user string) []layers.Finding {
	if user == "" {
		return []layers.Finding{{Path: []any{"user"}, Message: "the user name is empty", Advice: "give the account that may log in a name, such as clawadmin"}}
	}
	if message, advice := NameProblem(user); message != "" {
		return []layers.Finding{{Path: []any{"user"}, Message: message, Advice: advice}}
	}
	return nil
}

// NameProblem says why an account that Ingot makes cannot have a name, and
// what to do. Both are empty for one that it can have.
func NameProblem(user string) (message, advice string) {
	switch {
	case user == "":
		return "the user name is empty", "give the account a name, such as openclaw"
	case len(user) > maxUser:
		return fmt.Sprintf("the user name is longer than %d characters", maxUser), "choose a shorter one"
	case !regexp.MustCompile(userShape).MatchString(user):
		return fmt.Sprintf("%q is not a user name", user), "use lower-case letters, digits, - and _, and begin with a letter"
	case user == "root":
		return "root does not log in", "name an account of its own"
	case slices.Contains(strings.Fields(taken), user) || strings.HasPrefix(user, "systemd-"):
		return fmt.Sprintf("the name %s belongs to the system", user), "choose a name that Debian does not use"
	}
	return "", ""
}

// taken are the users and groups of Debian trixie's base-passwd (passwd.master
// and group.master) and of the packages that every image has.
const taken = `_apt adm audio avahi backup bin bluetooth cdrom clock crontab daemon dialout dip disk fax floppy games
	input irc kmem kvm list lp mail man messagebus netdev news nobody nogroup operator plugdev polkitd proxy render
	sasl sgx shadow src ssh-agent sshd staff sudo sync sys tape tty users utmp uucp video voice www-data _ssh`
