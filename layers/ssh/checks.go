package ssh

import "ingot/layers"

func (l Layer) checks(user, keys string) []layers.Check {
	return []layers.Check{
		{
			ID: "ssh.key", Title: "the administrator logs in with the key",
			SSHAuth: &layers.SSHAuthCheck{User: user, Method: "publickey"},
		},
		{
			ID: "ssh.no-password", Title: "password login is refused",
			SSHAuth: &layers.SSHAuthCheck{User: user, Method: "password", Refused: true},
		},
		{
			ID: "ssh.no-keyboard-interactive", Title: "keyboard-interactive login is refused",
			SSHAuth: &layers.SSHAuthCheck{User: user, Method: "keyboard-interactive", Refused: true},
		},
		{
			ID: "ssh.no-root", Title: "root login is refused, even with the administrator's key",
			SSHAuth: &layers.SSHAuthCheck{User: "root", Method: "publickey", Refused: true},
		},
		{
			ID: "ssh.no-forwarding", Title: "sshd forwards nothing",
			Command: &layers.CommandCheck{Argv: []string{"/usr/sbin/sshd", "-T"}, Contains: "disableforwarding yes"},
		},
		{
			ID: "ssh.allow-users", Title: "sshd knows one account",
			Command: &layers.CommandCheck{Argv: []string{"/usr/sbin/sshd", "-T"}, Contains: "allowusers " + user + "\n"},
		},
		{
			ID: "ssh.socket", Title: "sshd listens",
			Unit:     &layers.UnitCheck{Name: "ssh.socket", State: "active"},
			Sabotage: "systemctl stop ssh.socket",
		},
		{
			ID: "ssh.no-vsock", Title: "systemd offers no second way to sshd",
			Command: &layers.CommandCheck{
				Argv:  []string{"systemctl", "list-units", "--all", "--plain", "--no-legend", "sshd-*.socket"},
				Lacks: "sshd-",
			},
		},
		{
			ID: "ssh.config", Title: "sshd_config is sealed",
			File:     &layers.FileCheck{Path: "/etc/ssh/sshd_config", Owner: "root:root", Mode: 0o644, ReadOnly: true},
			Sabotage: layers.SabotageEtc,
		},
		{
			ID: "ssh.authorized-keys", Title: "the administrator's keys are root's",
			File: &layers.FileCheck{Path: keys, Owner: "root:root", Mode: 0o644, ReadOnly: true},
		},
		{
			ID: "ssh.host-key", Title: "the host key is root's and private",
			File:     &layers.FileCheck{Path: HostKey, Owner: "root:root", Mode: 0o600},
			Sabotage: "chmod 0644 " + HostKey,
		},
	}
}
