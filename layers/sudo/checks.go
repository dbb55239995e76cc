package sudo

import (
	"fmt"
	"slices"
	"strings"

	"ingot/layers"
)

// as is how root runs something in the account's name.
func as(account string, argv ...string) []string {
	return append([]string{"runuser", "-u", account, "--"}, argv...)
}

func checks(a Account) []layers.Check {
	file := sudoersPath(a.Name)
	nothing := layers.SabotageEtc + " && : >" + file
	everything := layers.SabotageEtc + fmt.Sprintf(" && echo '%s ALL=(ALL:ALL) NOPASSWD: ALL' >%s", a.Name, file)
	list := []layers.Check{
		{
			ID: "sudo.file." + a.Name, Title: "the rules of " + a.Name + " are root's and sealed", Sabotage: nothing,
			File: &layers.FileCheck{Path: file, Owner: "root:root", Mode: 0o440, ReadOnly: true},
		},
		{
			ID: "sudo.login." + a.Name, Title: a.Name + " has no shell and no password",
			Command: &layers.CommandCheck{
				Argv:     []string{"sh", "-c", "getent passwd " + a.Name + " && passwd -S " + a.Name},
				Contains: fmt.Sprintf(":%s\n%s L ", noShell, a.Name),
			},
			Sabotage: layers.SabotageEtc + " && usermod --shell /bin/sh " + a.Name,
		},
		{
			ID: "sudo.refused." + a.Name, Title: a.Name + " runs nothing else as root", Sabotage: everything,
			Command: &layers.CommandCheck{Argv: as(a.Name, "sudo", "-n", "/usr/bin/id", "-u"), Exit: 1, Silent: true},
		},
	}
	for i, text := range a.Commands {
		c, problem := parse(text)
		if problem != nil {
			continue // Validate reported it
		}
		list = append(list, commandChecks(fmt.Sprintf("%s.%d", a.Name, i+1), a.Name, c, nothing, everything)...)
	}
	return list
}

// commandChecks ask sudo about one rule: allowed as it stands, refused with
// one more argument. What can be run without changing anything is run too.
func commandChecks(id, account string, c command, nothing, everything string) []layers.Check {
	sample := c.sample()
	line := strings.Join(sample, " ")
	ask := append([]string{"sudo", "-n", "-l"}, sample...)
	list := []layers.Check{
		{
			ID: "sudo.allowed." + id, Title: account + " may run " + line, Sabotage: nothing,
			Command: &layers.CommandCheck{Argv: as(account, ask...), Contains: line},
		},
		{
			ID: "sudo.exact." + id, Title: account + " may not add arguments to " + line, Sabotage: everything,
			Command: &layers.CommandCheck{Argv: as(account, append(ask, "--ingot-assay")...), Exit: 1, Silent: true},
		},
	}
	if c.harmless() {
		list = append(list, layers.Check{
			ID: "sudo.run." + id, Title: account + " runs " + line, Sabotage: nothing,
			// systemctl answers that there is no such unit, by its name; sudo
			// would say that a password is required.
			Command: &layers.CommandCheck{
				Argv:     []string{"sh", "-c", "runuser -u " + account + " -- sudo -n " + line + " 2>&1; true"},
				Contains: anyUnit,
			},
		})
	}
	return list
}

// harmless reports a command whose sample names a unit that no machine has,
// and that says so.
func (c command) harmless() bool {
	quiet := slices.ContainsFunc(c.args, func(a string) bool { return a == "-q" || a == "--quiet" })
	talks := slices.ContainsFunc(c.args, func(a string) bool { return a == "status" || slices.Contains(acts, a) })
	return talks && !quiet && slices.ContainsFunc(c.args, func(a string) bool { return strings.Contains(a, "*") })
}
