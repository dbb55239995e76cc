package fail2ban

import "ingot/layers"

// jailsUp waits until both jails are there: the unit is active as soon as
// fail2ban runs, some seconds before it has read its settings.
const jailsUp = `for try in 1 2 3 4 5 6 7 8; do
	jails=$(fail2ban-client status) && case $jails in *"` + recidiveJail + ", " + sshdJail + `"*) break ;; esac
	sleep 1
done
printf '%s\n' "$jails"`

// peersIgnored asks about every address that a peer may have.
const peersIgnored = `set -e
addresses=$(wg show ` + layers.TunnelInterface + ` allowed-ips | cut -f2- | tr ' ' '\n' | cut -d/ -f1)
[ -n "$addresses" ]
for address in $addresses; do
	` + ignoreProgram + ` "$address" || { echo "$address would be banned"; exit 1; }
done
echo ignored: $addresses`

// ban bans an address for a moment (RFC 5737, nobody's) and prints the rule that
// drops its packets.
const ban = `set -e
fail2ban-client set ` + sshdJail + ` banip 198.51.100.1 >/dev/null
trap 'fail2ban-client set ` + sshdJail + ` unbanip 198.51.100.1 >/dev/null' EXIT
for try in 1 2 3 4 5 6 7 8 9 10; do
	if nft list set inet f2b-table addr-set-` + sshdJail + ` 2>/dev/null | grep -qwF 198.51.100.1; then break; fi
	sleep 0.5
done
nft list set inet f2b-table addr-set-` + sshdJail + ` | grep -wF 198.51.100.1 >/dev/null
nft list chain inet f2b-table f2b-chain | grep -F 'saddr @addr-set-` + sshdJail + ` drop'`

func checks() []layers.Check {
	return []layers.Check{
		{
			ID: "fail2ban.service", Title: "fail2ban runs",
			Unit:     &layers.UnitCheck{Name: "fail2ban.service", State: "active"},
			Sabotage: "systemctl stop fail2ban.service",
		},
		{
			ID: "fail2ban.jails", Title: "both tiers are on: failed logins, and bans of those who come back",
			Command:  &layers.CommandCheck{Argv: []string{"sh", "-c", jailsUp}, Contains: recidiveJail + ", " + sshdJail},
			Sabotage: "fail2ban-client stop " + recidiveJail,
		},
		{
			ID: "fail2ban.tunnel", Title: "no peer of the tunnel is ever banned",
			Command:  &layers.CommandCheck{Argv: []string{"sh", "-c", peersIgnored}, Contains: "ignored: "},
			Sabotage: "mount --bind /usr/bin/false " + ignoreProgram,
		},
		{
			ID: "fail2ban.internet", Title: "an address of the internet can be banned",
			// 198.51.100.1: RFC 5737, nobody's.
			Command:  &layers.CommandCheck{Argv: []string{ignoreProgram, "198.51.100.1"}, Exit: 1},
			Sabotage: "mount --bind /usr/bin/true " + ignoreProgram,
		},
		{
			ID: "fail2ban.ban", Title: "a ban is in the firewall, and not for the tunnel",
			Command: &layers.CommandCheck{
				Argv: []string{"sh", "-c", ban}, Contains: `iifname != { "lo", "` + layers.TunnelInterface + `" } tcp dport`,
			},
			Sabotage: "for action in $(fail2ban-client get " + sshdJail + " actions | tail -n 1 | tr -d ,); do fail2ban-client set " + sshdJail + " action $action actionban true; done",
		},
		{
			ID: "fail2ban.config", Title: "the jails are sealed",
			File:     &layers.FileCheck{Path: jailPath, Owner: "root:root", Mode: 0o644, ReadOnly: true},
			Sabotage: layers.SabotageEtc,
		},
		{
			ID: "fail2ban.state", Title: "the bans are root's",
			File:     &layers.FileCheck{Path: StateDir, Owner: "root:root", Mode: 0o700},
			Sabotage: "chmod 0755 " + StateDir,
		},
		{
			ID: "fail2ban.exposure", Title: "fail2ban runs in a sandbox",
			Exposure: &layers.ExposureCheck{Unit: "fail2ban.service", Max: layers.MaxExposure},
			Sabotage: `mkdir -p /run/systemd/system/fail2ban.service.d &&
				printf '[Service]\nProtectSystem=no\nProtectHome=no\nPrivateDevices=no\nSystemCallFilter=\nRestrictNamespaces=no\nProtectKernelModules=no\n' >/run/systemd/system/fail2ban.service.d/99-open.conf &&
				systemctl daemon-reload`,
		},
	}
}
