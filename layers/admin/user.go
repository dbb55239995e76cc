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
	path := []any{"user"}
	switch {
	case user == "":
		return []layers.Finding{{Path: path, Message: "the user name is empty", Advice: "give the account that may log in a name, such as clawadmin"}}
	case len(user) > maxUser:
		return []layers.Finding{{Path: path, Message: fmt.Sprintf("the user name is longer than %d characters", maxUser), Advice: "choose a shorter one"}}
	case !regexp.MustCompile(userShape).MatchString(user):
		return []layers.Finding{{Path: path, Message: fmt.Sprintf("%q is not a user name", user), Advice: "use lower-case letters, digits, - and _, and begin with a letter"}}
	case user == "root":
		return []layers.Finding{{Path: path, Message: "root does not log in", Advice: "name an account of its own; it has sudo"}}
	case slices.Contains(strings.Fields(taken), user) || strings.HasPrefix(user, "systemd-"):
		return []layers.Finding{{Path: path, Message: fmt.Sprintf("the name %s belongs to the system", user), Advice: "choose a name that Debian does not use"}}
	}
	return nil
}

// taken are the users and groups of Debian trixie's base-passwd (passwd.master
// and group.master) and of the packages that every image has.
const taken = `_apt adm audio avahi backup bin bluetooth cdrom clock crontab daemon dialout dip disk fax floppy games
	input irc kmem kvm list lp mail man messagebus netdev news nobody nogroup operator plugdev polkitd proxy render
	sasl sgx shadow src ssh-agent sshd staff sudo sync sys tape tty users utmp uucp video voice www-data _ssh`
