// Package layers holds the Plan: what a server is, as plain data, before any
// format is chosen. Every later stage (rendering, building, testing) reads the
// Plan and nothing else, so that a firewall, a document and a test cannot
// disagree about a port.
//
// Each hardening concern is a package below this one (layers/ssh, …). A layer
// is pure: it turns its typed options into a Contribution and neither touches
// the disk nor runs a program.
package layers

// TunnelInterface is the name of the WireGuard interface on every server.
// Private services are tied to it by name, because its address belongs to the
// instance and not to the image.
const TunnelInterface = "wg0"

// CustomPrefix is what the name of a layer begins with that is a folder of the
// owner's.
const CustomPrefix = "custom/"

// Site is the part of ingot.yaml that belongs to no layer.
type Site struct {
	Name     string // image name, also the default hostname
	Hostname string // instance option
	Suite    string // Debian suite of the image, e.g. "trixie"
	// SlotBytes is the size of each of the two root slots.
	SlotBytes int64
	Admin     Admin
}

// Admin is the one account that may log in.
type Admin struct {
	User string   // image option: baked into sshd_config and sudoers
	Keys []string // instance option: authorized_keys lines
	// SecurityKeysOnly accepts FIDO2 security keys alone, as sshd will: the
	// ssh layer's option of that name.
	SecurityKeysOnly bool
}

// Layer is one hardening concern with its options decoded.
type Layer interface {
	// Name is the key below "layers:" in ingot.yaml.
	Name() string
	// Validate reports every impossible option value. Finding.Path is
	// relative to the layer's own node in ingot.yaml.
	Validate(site Site) []Finding
	// Contribute returns what the layer adds. It is called only when
	// Validate reported nothing.
	Contribute(site Site) Contribution
}

// Finisher is a layer that derives something from all contributions: the
// firewall ruleset comes from the one port table. Finish sees the plan with
// every contribution merged and returns what is to be added.
type Finisher interface {
	Layer
	Finish(plan Plan) Contribution
}

// Finding is something wrong in ingot.yaml and what to do about it.
type Finding struct {
	// Path leads to the offending node: map keys are strings, list
	// positions are ints. {"allow", 0, "why"} is allow[0].why.
	Path []any
	// Missing is true when the last element of Path is a key that should
	// be there and is not; the finding then points at its parent.
	Missing bool
	Message string // what is wrong, lower case, no full stop
	Advice  string // what to do
}

// Contribution is everything one layer adds to the plan.
type Contribution struct {
	Packages   []string // Debian package names, one per element
	Image      Fragment // baked into the sealed root
	Instance   Fragment // this server's identity, applied at first boot; files and directories below /etc only
	Identity   []string // path.Match patterns of what Instance may write, e.g. /etc/ssh/authorized_keys.d/*
	Ports      []Port
	Egress     []Egress  // what the machine itself must reach, for the allowlist of the firewall
	Forwards   []Forward // what may pass through the machine
	Images     []ContainerImage
	Secrets    []SecretSlot
	State      []State
	Disposable []string  // package paths under /var that may be dropped, path.Match patterns
	SUID       []SUID    // files that keep their set-user-ID or set-group-ID bit; all others lose it
	Removed    []Removal // what packages bring and the image must not have
	Modules    []string  // of the kernel, which would not be in the image otherwise
	Profiles   []Profile // of AppArmor, for when that layer is on
	Validators []Validator
	Checks     []Check
	Logins     []Login    // who may log in; these four are what WayIn proves the way in from
	Entrances  []Entrance // what they log in to
	Tunnels    []Tunnel   // what they come through
	Firewalls  []Firewall // what lets them pass
	SealOnly   []SealOnly // what a stock system does without
}

// Fragment is machine configuration in Butane's terms.
type Fragment struct {
	Files           []File
	Directories     []Directory
	Links           []Link
	Users           []User
	Groups          []Group
	Units           []Unit
	KernelArguments []string // each "name" or "name=value"
}

// File is a regular file. Exactly one of Contents and SecretSlot is used.
type File struct {
	Path     string // absolute
	Mode     int    // permission bits, e.g. 0o644
	User     string // owner, empty is root
	Group    string // empty is root
	Contents string
	// SecretSlot names the slot whose value becomes the content. Only for
	// instance files: an image never holds a secret.
	SecretSlot string
	// Why says in one line what the file is for; "ingot explain" shows it.
	Why string
	// Option leads from the layer's node in ingot.yaml to the option that
	// made the file; nil is the layer itself. Path elements are as in [Finding].
	Option []any
}

// Directory is a directory that must exist with this owner and mode.
type Directory struct {
	Path  string
	Mode  int
	User  string
	Group string
}

// Link is a symbolic link at Path pointing to Target.
type Link struct {
	Path   string
	Target string
}

// User is a local account. Accounts have no passwords.
type User struct {
	Name   string
	UID    int // 0 lets the lock choose
	Group  string
	Groups []string
	Home   string
	Shell  string
	Gecos  string
	System bool
}

// Group is a local group.
type Group struct {
	Name   string
	GID    int
	System bool
}

// Unit is a systemd unit, or drop-ins for one that a package brings.
type Unit struct {
	Name     string
	Enabled  *bool // nil leaves the preset alone
	Mask     bool
	Contents string // empty: the unit comes from a package
	Dropins  []Dropin
	Why      string // one line, for "ingot explain"
}

// Dropin is NAME.conf in a unit's drop-in folder.
type Dropin struct {
	Name     string
	Contents string
	Why      string // one line; empty is the unit entry's
}

// From says who may reach a port.
type From string

// The places a packet can come from.
const (
	FromInternet  From = "internet"
	FromWireGuard From = "wireguard"
	FromLoopback  From = "loopback"
	// FromContainers are the machine's own containers, on bridges whose names begin
	// with BridgePrefix.
	FromContainers From = "containers"
	// FromNobody is a port that something is bound to in order to send: the firewall
	// lets in answers only.
	FromNobody From = "nobody"
)

// BridgePrefix begins the names of the containers' bridges.
const BridgePrefix = "ct-"

// Port is one line of the port table.
type Port struct {
	Layer string // set by Merge
	Proto string // "tcp" or "udp"
	Port  int    // 1 to 65535
	From  From
	Why   string // one line; becomes the nft comment
	// Silent ports answer only to peers with the right key (WireGuard): a
	// stranger's probe sees them as filtered.
	Silent bool
	// Untracked ports are the owner's way in: their packets are judged one by
	// one, without the table of connections, which a flood can fill.
	Untracked bool
	// NewPerMinute is how many new connections a minute the firewall lets one
	// address (an IPv6 /64) make; 0 is no limit.
	NewPerMinute int
	// Option leads from the layer's node in ingot.yaml to the option that
	// opened the port; nil is the layer itself.
	Option []any
}

// Egress is one thing that the machine's own programs must reach. It matters
// when the firewall's egress policy is an allowlist.
type Egress struct {
	Layer string // set by Merge
	Proto string // "tcp" or "udp"
	Port  int    // 1 to 65535
	CIDR  string // destination, e.g. "192.0.2.0/24"; empty is anywhere
	// Mark is SO_MARK of the packets instead of a port and a destination, for what
	// the kernel sends where the instance says; 0 is none.
	Mark uint32
	Why  string // one line; becomes the nft comment
}

// Forward lets packets pass from one interface to another, and the answers
// back. Everything else that would pass through the machine is dropped.
type Forward struct {
	Layer string // set by Merge
	// In and Out are interface names. An empty Out is the way to the internet: any
	// interface but the tunnel and those that forwards come from. With a Port, an
	// empty In is any but Out.
	In, Out    string
	Masquerade bool // give the packets the machine's own address
	// Port limits it to connections that were made to this port of the machine,
	// with Proto "tcp" or "udp", and that somebody has redirected to Out.
	Proto string
	Port  int
	Why   string // one line; becomes the nft comment
}

// ContainerImage is an image in the sealed root, which containers are made of.
// Without packages and archive it comes from the registry that its name says.
type ContainerImage struct {
	Layer string // set by Merge
	// Name is the reference in full, "docker.io/library/nginx:1.27".
	Name string
	// Packages are the Debian packages that Ingot makes it of.
	Packages []string
	// Archive is a docker archive or the folder of an OCI layout, a path below the
	// folder of ingot.yaml.
	Archive string
}

// ImageUser is the account, number and group, that containers of images made of
// packages run as.
const ImageUser = "65532:65532"

// ImageStore is where images are in the sealed root: Podman's additional store.
const ImageStore = "/usr/lib/containers/storage"

// SUID is a file that may keep its set-user-ID or set-group-ID bit.
type SUID struct {
	Layer string // set by Merge
	Path  string // absolute, after links, e.g. "/usr/bin/sudo"
	Why   string
}

// Removal takes paths out of the finished tree: what a package cannot be
// without and the appliance must be.
type Removal struct {
	Layer   string // set by Merge
	Pattern string // path.Match pattern of absolute paths; folders go whole
	// Unless is a package whose presence in the image keeps the paths: it, or
	// what pulled it in, works with them.
	Unless string
	Why    string
}

// Profile is an AppArmor profile, which holds one service to what it needs. The
// apparmor layer writes and loads it; without that layer it is not there.
type Profile struct {
	Layer    string // set by Merge
	Name     string // as the kernel lists it, e.g. "/usr/sbin/chronyd"
	Path     string // of its file, in /etc/apparmor.d
	Contents string // empty: the file comes from a package
	Unit     string // the service whose main process it confines
	Why      string // one line
}

// SealOnly is a part of the plan that is about the sealed image and would be
// wrong or without effect on a stock system: its renderings leave it out, and
// say so.
type SealOnly struct {
	Layer string // set by Merge
	// What is left out, in the words of [Plan.Owner]: "file /etc/fstab",
	// "drop-in x.service.d/y.conf", "kernel argument x", "check x.y", and
	// "removal PATTERN".
	What string
	Why  string // one line
}

// SecretSlot is a secret that the instance brings and the image must not hold.
type SecretSlot struct {
	Layer string // set by Merge
	Name  string // "wireguard/private-key": also its path below secrets/
	Path  string // where it is on the machine
	Why   string
	// Verify says what is wrong with a value, with the line and without the secret;
	// nil takes every one.
	Verify func(value []byte) error `json:"-"`
}

// State is a path under /var that must survive reboots and new images.
type State struct {
	Layer string // set by Merge
	Path  string // absolute, below /var
	User  string
	Group string
	Mode  int
	// Exec lets programs start from it; elsewhere below /var none does.
	Exec bool
	Why  string
}

// Validator is a program run inside the finished tree, in a network namespace
// of its own; a non-zero exit refuses the image.
type Validator struct {
	Layer string // set by Merge
	Argv  []string
	// HostKey asks for a throw-away SSH host key at the path sshd_config
	// names, so that "sshd -t" fails only for the right reason.
	HostKey string
	// PrintsErrors refuses the image also when the program prints anything,
	// for systemd-analyze verify, which exits 0 on bad units.
	PrintsErrors bool
}

// Plan is the merged, conflict-free whole.
type Plan struct {
	Site       Site
	LayerNames []string
	Packages   []string // sorted, unique
	Image      Fragment
	Instance   Fragment
	Identity   []string
	Ports      []Port
	Egress     []Egress
	Forwards   []Forward
	Images     []ContainerImage
	Secrets    []SecretSlot
	State      []State
	Disposable []string
	SUID       []SUID
	Removed    []Removal
	Modules    []string
	Profiles   []Profile
	Validators []Validator
	Checks     []Check
	Logins     []Login
	Entrances  []Entrance
	Tunnels    []Tunnel
	Firewalls  []Firewall
	SealOnly   []SealOnly
	// Owner says which layer contributed a path, unit, user or group:
	// keys are "file /etc/x", "unit x.service", "user x", "group x"; of a
	// "package x" it is the first layer that asks for it.
	Owner map[string]string
}

// VerityBytes is the size of the partition for the hash tree of a root slot:
// one 32-byte hash per 4 KiB block and level is 1/127 of the data; 1/64 leaves
// room for the superblock. It is whole MiB, as partitions are.
func VerityBytes(slot int64) int64 {
	const mib = 1 << 20
	return (slot/64 + mib - 1) / mib * mib
}
