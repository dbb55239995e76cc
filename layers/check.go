package layers

// Check is one thing that must be true of the booted machine, evaluated by the
// assay. Exactly one of the verb fields is set.
type Check struct {
	Layer string // set by Merge
	ID    string // unique, "ssh.no-password"
	Title string // one line for people, "password login is refused"
	// Sabotage is a shell command that root runs on the booted machine, after
	// which this check must fail: a check that was never seen failing is none.
	Sabotage string
	// SurvivesReboot has the check made a second time, after the assay's reboot.
	SurvivesReboot bool

	Sysctl   *SysctlCheck
	File     *FileCheck
	Unit     *UnitCheck
	Command  *CommandCheck
	SSHAuth  *SSHAuthCheck
	SSHOffer *SSHOfferCheck
	Listener *ListenerCheck
	Ping     *PingCheck
	Exposure *ExposureCheck
	HTTP     *HTTPCheck
	Reach    *ReachCheck
	Through  *ThroughCheck
	Resolve  *ResolveCheck
	DropLog  *DropLogCheck
	Packet   *PacketCheck
	Exit     *ExitCheck
}

// SysctlCheck wants /proc/sys to hold Value.
type SysctlCheck struct {
	Key   string // dotted
	Value string
}

// FileCheck wants a path with this owner, mode and content.
type FileCheck struct {
	Path     string
	Owner    string // "root:root"; empty is not looked at
	Mode     int    // 0 is not looked at
	Contains string // empty is not looked at
	ReadOnly bool   // root must not be able to write it
}

// UnitCheck wants a unit in this state.
type UnitCheck struct {
	Name    string
	State   string // what "systemctl is-active" prints; empty is not looked at
	Enabled string // what "systemctl is-enabled" prints; empty is not looked at
}

// CommandCheck runs argv as root on the machine.
type CommandCheck struct {
	Argv     []string
	Exit     int
	Contains string // of stdout; empty is not looked at
	Lacks    string // of stdout; empty is not looked at
	Silent   bool   // stdout must be empty
}

// SSHAuthCheck tries to log in through the tunnel.
type SSHAuthCheck struct {
	User    string
	Method  string // "password", "keyboard-interactive", "publickey" or one of the certificates
	Refused bool
}

// Methods of [SSHAuthCheck] that show a certificate of the user authority:
// one for the user, one that has ended, and one for [OtherPrincipal].
const (
	Certificate         = "certificate"
	CertificateExpired  = "certificate-expired"
	CertificateForOther = "certificate-for-other"
	// CertificateOfStranger is signed by nobody the machine knows. A sabotage
	// has that authority's public key in $stranger.
	CertificateOfStranger = "certificate-of-stranger"

	OtherPrincipal = "ingot-assay-other"
)

// SSHOfferCheck wants sshd to offer names to whoever comes through the tunnel
// and has not logged in. Lists that are nil are not looked at.
type SSHOfferCheck struct {
	Kex, HostKeys, Ciphers, MACs *Names // algorithms, in SSH_MSG_KEXINIT (RFC 4253 §7.1)
	Methods                      *Names // of logging in (RFC 4252 §5.1)
	User                         string // whose methods; empty is the administrator
}

// Names says what a list must be.
type Names struct {
	Exactly []string // the whole list, in any order; empty is not looked at
	Offers  []string // must be in it
	Refuses []string // must not
}

// ListenerCheck wants the set of listening sockets ("tcp/22") to be this one.
// With neither Unit nor Program it is everybody's, less what is bound to
// loopback and the ports of DHCP clients.
type ListenerCheck struct {
	Unit    string // whose sockets: the service that opened them, or the socket unit
	Program string // the name of a process that has them
	// Exactly is the set; one bound to loopback is "tcp/22@loopback". When
	// empty, nothing may listen that is not in the port table.
	Exactly []string
}

// PingCheck wants a stranger's echo request answered or not, over IPv4 and
// IPv6.
type PingCheck struct{ Answered bool }

// ExposureCheck wants a service's sandbox to leave no more than Max open.
type ExposureCheck struct {
	Unit string
	Max  float64 // "systemd-analyze security", 0.0 (tight) to 10.0
}

// HTTPCheck asks a web service through the tunnel, as a peer does.
type HTTPCheck struct {
	Port     int    // 1 to 65535
	Path     string // with the leading slash
	Status   int    // 0 is 200
	Contains string // of the first MiB of the body; empty is not looked at
}

// ReachCheck looks at one port from one place, over IPv4 and IPv6 where that
// place has both. A UDP port that does not answer a stranger is filtered.
type ReachCheck struct {
	Proto string // "tcp" or "udp"
	Port  int    // 1 to 65535
	From  From   // FromInternet, or FromWireGuard with "tcp"
	State string // "open", "closed" (refused) or "filtered" (silent)
}

// ThroughCheck lets a peer in the tunnel send to a host of the internet, over
// IPv4 and, when the tunnel has it, IPv6.
type ThroughCheck struct {
	// Passes wants the packets to arrive with the machine's own address as
	// their sender; otherwise none may be seen on the uplink.
	Passes bool
}

// ResolveCheck asks the machine's resolver, through the tunnel, for a name of
// the internet.
type ResolveCheck struct{}

// DropLogCheck wants a stranger's packet to a port that nothing has opened to be
// in the kernel's log, and of a flood of them a few.
type DropLogCheck struct {
	Prefix string // of the log's lines
}

// PacketCheck wants a packet to be seen on the uplink, or not, once root has run
// a command on the machine. It cannot tell whose packet it was: nothing else on
// the machine may send there.
type PacketCheck struct {
	After []string // argv
	Proto string   // "tcp", "udp" or "icmp", which is an echo request of either family
	Port  int      // where it goes, 1 to 65535; 0 with "icmp"
	// To are networks, such as 192.0.2.0/24: a packet must be seen to each of
	// them, or to none.
	To   []string
	Seen bool
	// Seconds is how long the packet is waited for under KVM, after the command
	// has ended; 0 is 5 for one that must be seen and 1 for one that must not.
	Seconds int
}

// ExitCheck connects from a network namespace to a host of the internet, over IPv4
// and, where the VPN has it, IPv6. The host must see the VPN's exit, and no packet
// to it may leave the machine.
type ExitCheck struct {
	Namespace string // its path on the machine
}

// SabotageEtc is the sabotage for checks that files below /etc are sealed: it
// lays a file system over /etc that root can write. More commands may follow
// after "&&".
const SabotageEtc = "mkdir --mode=0755 /run/upper /run/work && mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/upper,workdir=/run/work /etc"

// SabotageUsr does the same to /usr.
const SabotageUsr = "mkdir --mode=0755 /run/upper /run/work && mount -t overlay overlay -o lowerdir=/usr,upperdir=/run/upper,workdir=/run/work /usr"

// SabotageSandbox is the sabotage for a service's [ExposureCheck]: a drop-in
// takes away what weighs most. The service runs on as it was started.
func SabotageSandbox(unit string) string {
	folder := "/run/systemd/system/" + unit + ".d"
	return "mkdir -p " + folder + ` && printf '[Service]\nUser=\nCapabilityBoundingSet=~\nAmbientCapabilities=\nProtectSystem=no\nPrivateDevices=no\n` +
		`NoNewPrivileges=no\nRestrictNamespaces=no\nSystemCallFilter=\nProtectHome=no\nProtectKernelModules=no\nPrivateNetwork=no\n' >` +
		folder + "/99-open.conf && systemctl daemon-reload"
}
