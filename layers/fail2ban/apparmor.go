package fail2ban

// Names of the AppArmor profile.
const (
	profileName = "ingot-fail2ban"
	profilePath = "/etc/apparmor.d/ingot-fail2ban"
)

// profile is short enough to be compiled at each boot in no time: the
// abstractions that come with AppArmor are for desktops. What fail2ban starts
// (sh, sed, grep, nft, ip) stays in it.
const profile = `abi <abi/4.0>,

include <tunables/global>

profile ` + profileName + ` /usr/bin/fail2ban-server flags=(attach_disconnected) {
  # The firewall, and journals that belong to others.
  capability net_admin,
  capability dac_read_search,
  network netlink raw,
  # Its own socket, the journal's, and systemd's for "ready".
  unix (create, getattr, getopt, setopt, bind, listen, accept, connect, send, receive, shutdown),
  signal (send, receive) peer=` + profileName + `,
  signal (receive) peer=unconfined,

  # Programs, and Python.
  /usr/bin/fail2ban-{server,client} r,
  /usr/bin/{python3*,dash,grep,ip,sed} mrix,
  /usr/sbin/nft mrix,
  ` + ignoreProgram + ` rix,
  ` + rereadProgram + ` rix,
  /usr/{,local/}lib/** mr,
  /usr/{,bin/,sbin/,libexec/ingot/} r,
  /usr/share/{nftables,iproute2,python3,zoneinfo}/{,**} r,
  /etc/{fail2ban,iproute2,python3*}/{,**} r,
  /etc/{ld.so.cache,localtime,nsswitch.conf,passwd,group,machine-id,hostname,host.conf,hosts,services,protocols,gai.conf,resolv.conf,ssl/openssl.cnf} r,

  # What it reads, what it keeps.
  /var/log/journal/{,**} r,
  /run/log/journal/{,**} r,
  ` + StateDir + `/{,**} rwk,
  /run/fail2ban/{,**} rw,
  /run/systemd/journal/* rw,
  /run/systemd/notify w,
  /{,var/}tmp/{,**} rwk,

  /dev/{null,zero,full,random,urandom} rw,
  /dev/log w,
  @{PROC}/filesystems r,
  @{PROC}/{stat,meminfo,cpuinfo} r,
  @{PROC}/@{pid}/{,**} r,
  @{PROC}/sys/{kernel,net,vm}/** r,
  @{sys}/devices/system/{cpu,node}/{,**} r,
  @{sys}/fs/cgroup/** r,
}
`
