package fail2ban

import "ingot/layers"

// service: the positions in the journal that fail2ban keeps let the sshd jail
// go on where it stopped. The second tier must start over: the bans that it
// counts are lines of the past, and its counters do not outlive a restart.
const service = `[Unit]
# Debian's unit orders itself after the firewall; without one there is nothing
# to put a ban into.
Requires=nftables.service
After=nftables.service
RequiresMountsFor=` + StateDir + `

[Service]
ExecStartPre=` + rereadProgram + `
# Its log is the journal, by itself; this is for what goes wrong before.
StandardOutput=journal
`

// sandbox leaves root without root's powers: CAP_NET_ADMIN for nft, and
// CAP_DAC_READ_SEARCH for journals that belong to others.
const sandbox = layers.Sandbox + `CapabilityBoundingSet=CAP_NET_ADMIN CAP_DAC_READ_SEARCH
ReadWritePaths=` + StateDir + `
ProtectProc=invisible
PrivateTmp=yes
DevicePolicy=closed
# netlink is nft's, the other the journal's and fail2ban-client's.
RestrictAddressFamilies=AF_UNIX AF_NETLINK
RemoveIPC=yes
SystemCallFilter=~@privileged @resources
`
