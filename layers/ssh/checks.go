package ssh

import (
	"fmt"
	"slices"
	"strings"

	"ingot/layers"
)

func (l Layer) checks(site layers.Site) []layers.Check {
	return slices.Concat(l.loginChecks(site.Admin.User), l.placeChecks(site.Admin.User), l.offerChecks(), l.settingChecks(site))
}

// rewritten is a sabotage: sshd with an edited configuration. Connections that
// are open outlive the restart. Each edit is a script for sed.
func rewritten(edits ...string) string { return layers.SabotageEtc + " && " + edited(edits...) }

func edited(edits ...string) string {
	return "sed -i -e '" + strings.Join(edits, "' -e '") + "' " + ConfigPath + " && systemctl restart ssh.service"
}

// SabotageAlgorithms lets sshd offer all algorithms it has.
func SabotageAlgorithms() string { return rewritten("/^KexAlgorithms /d", "/^Ciphers /d", "/^MACs /d") }

// SabotageForwarding lets sshd forward connections, for the assay's own check.
func SabotageForwarding() string {
	return rewritten(set("DisableForwarding", "no"), set("AllowTcpForwarding", "yes"))
}

// set is sed's script that gives a keyword another value.
func set(keyword, value string) string { return fmt.Sprintf("s/^%s .*/%[1]s %s/", keyword, value) }

// noMethods is sed's script that lets sshd take what its other keywords allow.
const noMethods = "/^AuthenticationMethods/d"

func (l Layer) loginChecks(user string) []layers.Check {
	return []layers.Check{
		{
			ID: "ssh.key", Title: "the administrator logs in with the key",
			SSHAuth:  &layers.SSHAuthCheck{User: user, Method: "publickey"},
			Sabotage: layers.SabotageEtc + " && : >" + keysPath(user),
		},
		{
			ID: "ssh.no-password", Title: "password login is refused",
			SSHAuth: &layers.SSHAuthCheck{User: user, Method: "password", Refused: true},
			// PAM lets everybody in, once sshd asks it.
			Sabotage: rewritten(noMethods, set("PasswordAuthentication", "yes")) + anyPassword,
		},
		{
			ID: "ssh.no-keyboard-interactive", Title: "keyboard-interactive login is refused",
			SSHAuth:  &layers.SSHAuthCheck{User: user, Method: "keyboard-interactive", Refused: true},
			Sabotage: rewritten(noMethods, set("KbdInteractiveAuthentication", "yes")) + anyPassword,
		},
		{
			ID: "ssh.no-root", Title: "root login is refused, even with the administrator's key",
			SSHAuth:  &layers.SSHAuthCheck{User: "root", Method: "publickey", Refused: true},
			Sabotage: rewritten(set("PermitRootLogin", "yes"), set("AllowUsers", user+" root")) + " && cp " + keysPath(user) + " " + keysPath("root"),
		},
	}
}

// anyPassword follows a sabotage that made /etc writable.
const anyPassword = ` && for kind in auth account session; do echo "$kind required pam_permit.so"; done >/etc/pam.d/sshd`

func (l Layer) placeChecks(user string) []layers.Check {
	title := "sshd listens on the tunnel interface"
	if l.exposed() {
		title = "sshd listens, whether the tunnel is up or not"
	}
	return []layers.Check{
		{
			ID: "ssh.socket", Title: title,
			Unit:     &layers.UnitCheck{Name: "ssh.socket", State: "active"},
			Sabotage: "systemctl stop ssh.socket",
		},
		{
			ID: "ssh.no-vsock", Title: "systemd offers no second way to sshd",
			Command: &layers.CommandCheck{
				Argv:  []string{"systemctl", "list-units", "--all", "--plain", "--no-legend", "sshd-*.socket"},
				Lacks: "sshd-",
			},
			Sabotage: "systemd-run --quiet --unit=sshd-unix-local --socket-property=ListenStream=/run/sshd-sabotage true",
		},
		{
			ID: "ssh.config", Title: "sshd_config is sealed and root's alone", SurvivesReboot: true,
			File:     &layers.FileCheck{Path: ConfigPath, Owner: "root:root", Mode: 0o600, ReadOnly: true},
			Sabotage: layers.SabotageEtc,
		},
		{
			ID: "ssh.authorized-keys", Title: "the administrator's keys are root's",
			File:     &layers.FileCheck{Path: keysPath(user), Owner: "root:root", Mode: 0o644, ReadOnly: true},
			Sabotage: layers.SabotageEtc,
		},
		{
			ID: "ssh.host-key-sandbox", Title: "the host key is made in a sandbox",
			Exposure: &layers.ExposureCheck{Unit: "ingot-hostkey.service", Max: layers.MaxExposure},
			Sabotage: layers.SabotageSandbox("ingot-hostkey.service"),
		},
		{
			ID: "ssh.host-key", Title: "the host key is root's and private",
			File:     &layers.FileCheck{Path: HostKey, Owner: "root:root", Mode: 0o600},
			Sabotage: "chmod 0644 " + HostKey,
		},
	}
}

// offered are the keywords of what sshd says of itself on every connection.
var offered = map[string]bool{"KexAlgorithms": true, "HostKeyAlgorithms": true, "Ciphers": true, "MACs": true}

// offerChecks connect and look at what sshd names, which is what the process that
// runs has made of its configuration.
func (l Layer) offerChecks() []layers.Check {
	lists, edits := map[string]*layers.Names{}, []string{"1i HostKey /etc/ssh/sabotage"}
	for _, a := range l.algorithms() {
		if offered[a.keyword] {
			lists[a.keyword] = &layers.Names{Exactly: strings.Split(a.names, ",")}
			edits = append(edits, "/^"+a.keyword+" /d")
		}
	}
	return []layers.Check{
		{
			ID: "ssh.algorithms", Title: "sshd offers no other algorithms", SurvivesReboot: true,
			SSHOffer: &layers.SSHOfferCheck{
				Kex: lists["KexAlgorithms"], HostKeys: lists["HostKeyAlgorithms"], Ciphers: lists["Ciphers"], MACs: lists["MACs"],
			},
			// Of host key algorithms, sshd offers those that it has a key for.
			Sabotage: layers.SabotageEtc + " && ssh-keygen -q -t ecdsa -N '' -f /etc/ssh/sabotage && " + edited(edits...),
		},
		{
			ID: "ssh.methods", Title: "sshd names a key as the only way to log in",
			SSHOffer: &layers.SSHOfferCheck{Methods: &layers.Names{Exactly: []string{"publickey"}}},
			Sabotage: rewritten(noMethods, set("PasswordAuthentication", "yes")),
		},
	}
}

// settingChecks ask sshd what it makes of its configuration.
func (l Layer) settingChecks(site layers.Site) []layers.Check {
	var allowed strings.Builder
	for _, name := range l.names(site) {
		allowed.WriteString("allowusers " + name + "\n")
	}
	checks := []layers.Check{
		{
			ID: "ssh.no-forwarding", Title: "sshd forwards nothing",
			Command: said("disableforwarding yes\n"), Sabotage: rewritten(set("DisableForwarding", "no")),
		},
		{
			ID: "ssh.allow-users", Title: "sshd lets in " + strings.Join(l.names(site), ", ") + " and nobody else",
			Command:  &layers.CommandCheck{Argv: []string{"sh", "-c", "echo all:; /usr/sbin/sshd -T | grep ^allowusers; echo end"}, Contains: "all:\n" + allowed.String() + "end\n"},
			Sabotage: rewritten("s/^AllowUsers .*/& root/"),
		},
	}
	for _, a := range l.algorithms() {
		if offered[a.keyword] {
			continue // a connection shows them, which says more
		}
		keyword := strings.ToLower(a.keyword)
		checks = append(checks, layers.Check{
			ID: "ssh." + keyword, Title: "sshd uses no other " + a.keyword,
			Command: said(keyword + " " + a.names + "\n"), Sabotage: rewritten("/^" + a.keyword + " /d"),
		})
	}
	if l.Options.VerifyRequired {
		checks = append(checks, layers.Check{
			ID: "ssh.verify-required", Title: "a security key asks who holds it",
			Command: said("pubkeyauthoptions verify-required"), Sabotage: rewritten("/^PubkeyAuthOptions/d"),
		})
	}
	return checks
}

// said wants a line of the configuration as sshd understands it.
func said(line string) *layers.CommandCheck {
	return &layers.CommandCheck{Argv: []string{"/usr/sbin/sshd", "-T"}, Contains: line}
}

// certificateChecks are about those whom an authority vouches for.
func certificateChecks(user string) []layers.Check {
	return []layers.Check{
		{
			ID: "ssh.certificate." + user, Title: "a certificate of the authority lets " + user + " in",
			SSHAuth:  &layers.SSHAuthCheck{User: user, Method: layers.Certificate},
			Sabotage: layers.SabotageEtc + " && : >" + UserCAPath,
		},
		{
			ID: "ssh.certificate-expired." + user, Title: "one that has ended does not let " + user + " in",
			SSHAuth: &layers.SSHAuthCheck{User: user, Method: layers.CertificateExpired, Refused: true},
			// It ended half an hour ago and began two hours ago.
			Sabotage: "date --set='1 hour ago'",
		},
		{
			ID: "ssh.certificate-of-stranger." + user, Title: "one of another authority does not let " + user + " in",
			SSHAuth:  &layers.SSHAuthCheck{User: user, Method: layers.CertificateOfStranger, Refused: true},
			Sabotage: layers.SabotageEtc + ` && echo "$stranger" >>` + UserCAPath,
		},
		{
			ID: "ssh.certificate-for-other." + user, Title: "one for somebody else does not let " + user + " in",
			SSHAuth:  &layers.SSHAuthCheck{User: user, Method: layers.CertificateForOther, Refused: true},
			Sabotage: rewritten("1i AuthorizedPrincipalsFile /etc/ssh/principals") + " && echo " + layers.OtherPrincipal + " >/etc/ssh/principals && chmod 0644 /etc/ssh/principals",
		},
	}
}

func userChecks(u User) []layers.Check {
	checks := []layers.Check{
		{
			ID: "ssh.user-home." + u.Name, Title: "the home of " + u.Name + " is private",
			File:     &layers.FileCheck{Path: "/var/home/" + u.Name, Owner: u.Name + ":" + u.Name, Mode: 0o700},
			Sabotage: "chmod 0755 /var/home/" + u.Name,
		},
		{
			ID: "ssh.user-no-password." + u.Name, Title: u.Name + " has no password",
			Command:  &layers.CommandCheck{Argv: []string{"passwd", "-S", u.Name}, Contains: u.Name + " L "},
			Sabotage: layers.SabotageEtc + " && echo '" + u.Name + ":sabotage' | chpasswd",
		},
		{
			ID: "ssh.user-no-sudo." + u.Name, Title: u.Name + " does not become root",
			Command:  &layers.CommandCheck{Argv: []string{"runuser", "-u", u.Name, "--", "sudo", "-n", "true"}, Exit: 1},
			Sabotage: layers.SabotageEtc + " && echo '" + u.Name + " ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/sabotage",
		},
	}
	if len(u.Keys) == 0 {
		return checks // a certificate lets them in
	}
	return append(checks, layers.Check{
		ID: "ssh.user-key." + u.Name, Title: u.Name + " logs in with a key",
		SSHAuth:  &layers.SSHAuthCheck{User: u.Name, Method: "publickey"},
		Sabotage: layers.SabotageEtc + " && : >" + keysPath(u.Name),
	})
}
