// Package admin is the layer of the one account that may log in: no password,
// SSH keys only, full sudo. root stays locked.
package admin

import (
	"fmt"

	"ingot/layers"
)

// UID and GID of the account: the first of Debian's ordinary users
// (adduser.conf, FIRST_UID), the same in every image because /var outlives it.
const (
	UID = 1000
	GID = 1000
)

// Layer is the admin account. Its options are the site's "admin" node, so
// findings are relative to that node and not to one below "layers".
type Layer struct{}

// Name implements [layers.Layer].
func (Layer) Name() string { return "admin" }

// Validate implements [layers.Layer].
func (Layer) Validate(site layers.Site) []layers.Finding {
	findings := validateUser(site.Admin.User)
	if len(site.Admin.Keys) == 0 {
		return append(findings, layers.Finding{
			Path: []any{"keys"}, Missing: true, Message: "nobody would be able to log in: there is no admin key",
			Advice: "add the line of your ~/.ssh/id_ed25519.pub to keys; ssh-keygen -t ed25519 makes one",
		})
	}
	return append(findings, KeyFindings(site.Admin.Keys, site.Admin.SecurityKeysOnly, "keys")...)
}

// Contribute implements [layers.Layer].
func (Layer) Contribute(site layers.Site) layers.Contribution {
	user := site.Admin.User
	return layers.Contribution{
		Packages: []string{"bash", "sudo"},
		Image: layers.Fragment{
			Groups: []layers.Group{{Name: user, GID: GID}},
			Users: []layers.User{{
				Name: user, UID: UID, Group: user, Home: "/home/" + user,
				Shell: "/bin/bash", Gecos: "administrator",
			}},
			Files: []layers.File{{
				Path: "/etc/sudoers.d/10-ingot-admin", Mode: 0o440, Contents: sudoers(user), Option: []any{"user"},
				Why: "lets the administrator become root without a password",
			}},
		},
		State: []layers.State{{
			Path: "/var/home/" + user, User: user, Group: user, Mode: 0o700,
			Why: "the administrator's files; /home leads here",
		}},
		Logins: []layers.Login{{User: user, Keys: len(site.Admin.Keys)}},
		SUID:   []layers.SUID{{Path: "/usr/bin/sudo", Why: "the administrator becomes root; nothing else crosses that line"}},
		Validators: []layers.Validator{
			{Argv: []string{"/usr/sbin/visudo", "-c"}},
			// No hash can match "!" or "*": nobody becomes root by password.
			{Argv: []string{"/usr/bin/grep", "-q", "^root:[!*]", "/etc/shadow"}},
		},
		Checks: checks(user),
	}
}

// sudoers lets the account do everything without a password: it has none, and
// its key is the one proof there is (field notes §2.5, the broad form).
func sudoers(user string) string {
	return fmt.Sprintf(`# The account has no password to ask for; whoever holds its SSH key is root.
%s ALL=(ALL:ALL) NOPASSWD: ALL
`, user)
}

func checks(user string) []layers.Check {
	return []layers.Check{
		{
			ID: "admin.sudoers", Title: "sudoers is root's and read-only",
			File:     &layers.FileCheck{Path: "/etc/sudoers.d/10-ingot-admin", Owner: "root:root", Mode: 0o440, ReadOnly: true},
			Sabotage: layers.SabotageEtc,
		},
		{
			ID: "admin.sudo", Title: "the administrator becomes root without a password",
			Command:  &layers.CommandCheck{Argv: []string{"runuser", "-u", user, "--", "sudo", "-n", "id", "-un"}, Contains: "root"},
			Sabotage: layers.SabotageEtc + " && : >/etc/sudoers.d/10-ingot-admin",
		},
		{
			ID: "admin.no-password", Title: "the administrator has no password",
			Command:  &layers.CommandCheck{Argv: []string{"passwd", "-S", user}, Contains: user + " L "},
			Sabotage: layers.SabotageEtc + " && echo '" + user + ":sabotage' | chpasswd",
		},
		{
			ID: "admin.root-locked", Title: "root has no password",
			Command:  &layers.CommandCheck{Argv: []string{"passwd", "-S", "root"}, Contains: "root L "},
			Sabotage: layers.SabotageEtc + " && echo root:sabotage | chpasswd",
		},
		{
			ID: "admin.home", Title: "the administrator's home is private",
			File:     &layers.FileCheck{Path: "/var/home/" + user, Owner: user + ":" + user, Mode: 0o700},
			Sabotage: "chmod 0755 /var/home/" + user,
		},
	}
}
