package fail2ban

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"ingot/layers"
)

func (l Layer) maxRetry() int    { return cmp.Or(l.Options.MaxRetry, DefaultMaxRetry) }
func (l Layer) findTime() string { return cmp.Or(l.Options.FindTime, DefaultFindTime) }
func (l Layer) banTime() string  { return cmp.Or(l.Options.BanTime, DefaultBanTime) }
func (l Layer) bans() int        { return cmp.Or(l.Options.Recidive.Bans, DefaultBans) }
func (l Layer) recidiveFindTime() string {
	return cmp.Or(l.Options.Recidive.FindTime, DefaultRecidiveFindTime)
}
func (l Layer) recidiveBanTime() string {
	return cmp.Or(l.Options.Recidive.BanTime, DefaultRecidiveBanTime)
}

// sshPorts are where SSH is, from wherever: once each, in order.
func sshPorts(table []layers.Port) []int {
	var ports []int
	for _, p := range table {
		if p.Layer == "ssh" && p.Proto == "tcp" {
			ports = append(ports, p.Port)
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// jails is jail.local, which fail2ban reads after Debian's jail.d/*.conf.
func (l Layer) jails(ports []int) string {
	var list []string
	for _, p := range ports {
		list = append(list, strconv.Itoa(p))
	}
	return fmt.Sprintf(jailFormat,
		strings.Join(append([]string{"127.0.0.0/8", "::1"}, l.Options.Ignore...), " "), ignoreProgram,
		sshdJail, strings.Join(list, ","), l.maxRetry(), l.findTime(), l.banTime(),
		recidiveJail, l.bans(), l.recidiveFindTime(), l.recidiveBanTime())
}

// jailFormat: journalmatch names units only, because the kernel vouches for
// the unit of a line; Debian's also takes what any process called "sshd" says,
// so that a local account could have anybody banned. mode=normal: aggressive
// counts one failure twice, as "Invalid user" and as the end of the connection.
const jailFormat = `# Who is banned, for what and for how long.

[DEFAULT]
backend = systemd
# A log line's host name is the attacker's to choose.
usedns = no
banaction = nftables[type=multiport]
banaction_allports = nftables[type=allports]

# Never banned: the machine itself, and peers in the tunnel. Which addresses
# those are belongs to the instance, so the routing table is asked.
ignoreself = false
ignoreip = %[1]s
ignorecommand = %[2]s <ip>

# First tier: failed logins.
[%[3]s]
enabled = true
filter = sshd[mode=normal]
journalmatch = _SYSTEMD_UNIT=ssh.service
port = %[4]s
maxretry = %[5]d
findtime = %[6]s
bantime = %[7]s

# Second tier: bans. Every TCP port is closed, while WireGuard's UDP port stays
# reachable for a peer who shares the address with an attacker.
[%[8]s]
enabled = true
filter = recidive
journalmatch = _SYSTEMD_UNIT=fail2ban.service
banaction = %%(banaction_allports)s
protocol = tcp
maxretry = %[9]d
findtime = %[10]s
bantime = %[11]s
`

// settings is fail2ban.local. dbpurgeage is Debian's one day by default, after
// which the bans of an address are forgotten; a year is the longest of ours.
const settings = `[Definition]
logtarget = SYSTEMD-JOURNAL
socket = /run/fail2ban/fail2ban.sock
pidfile = /run/fail2ban/fail2ban.pid
dbfile = ` + database + `
dbpurgeage = 365d
allowipv6 = yes
`

// nftAction changes Debian's action at the place it has for that. The table is
// fail2ban's own, "inet f2b-table": a reload of our ruleset, which replaces its
// own table only, leaves the bans alone. Backslashes are for the shell.
const nftAction = `[Definition]
# Whatever fail2ban believes, the tunnel and the machine itself are not cut off.
rule_stat = iifname != \{ lo, ` + layers.TunnelInterface + ` \} %(match)s <addr_family> saddr @<addr_set> <blocktype>

[Init]
# No answer at all. The default tells the banned that they are.
blocktype = drop
`

// sshdFilter adds what a failed login looks like where only keys are taken and
// the account exists: upstream's normal mode takes a connection that ends
// before authentication for no failure, so that an attacker who knows the
// account's name could go on for ever.
const sshdFilter = `[Definition]
failregex = ^<F-MLFFORGET>(?:Connection (?:closed|reset) by|Disconnected from)</F-MLFFORGET> authenticating user <F-USER>\S+</F-USER> <ADDR>%(__on_port_opt)s \[preauth\]\s*$
            %(known/failregex)s
`
