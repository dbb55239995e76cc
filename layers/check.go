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

	Sysctl   *SysctlCheck
	File     *FileCheck
	Unit     *UnitCheck
	Command  *CommandCheck
	SSHAuth  *SSHAuthCheck
	Listener *ListenerCheck
	Ping     *PingCheck
	Exposure *ExposureCheck
	HTTP     *HTTPCheck
	Reach    *ReachCheck
	Through  *ThroughCheck
	Resolve  *ResolveCheck
	DropLog  *DropLogCheck
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
	Name  string
	State string // what "systemctl is-active" prints
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

// ListenerCheck wants the set of listening sockets ("tcp/22") not bound to
// loopback to equal the port table.
type ListenerCheck struct{}

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
