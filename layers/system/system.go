// Package system is the layer every image has: the packages and settings that
// make a Debian tree a sealed appliance. It has no options.
package system

import (
	"fmt"
	"slices"
	"strings"

	"ingot/layers"
)

// Layer is always part of a plan.
type Layer struct{}

// Name returns "system".
func (Layer) Name() string { return "system" }

// Validate finds nothing: there are no options.
func (Layer) Validate(layers.Site) []layers.Finding { return nil }

// packages is everything the appliance needs besides what the layers ask for.
// linux-image-cloud-amd64 is Debian's kernel for virtual machines: no
// firmware, no drivers for hardware that no provider has. libnss-myhostname
// knows the machine's own name, which is otherwise asked of a stranger's DNS
// server whenever sudo starts.
var packages = []string{
	"ca-certificates", "dbus-broker", "e2fsprogs", "iproute2", "kmod", "libnss-myhostname", "libpam-systemd",
	"linux-image-cloud-amd64", "netbase", "procps", "systemd", "systemd-resolved", "systemd-sysv",
	"tzdata", "udev",
}

// procGroup sees everybody's processes in /proc; others see their own. fstab has
// the number.
const (
	procGroup = "proc"
	procGID   = 600 // in Debian's range for system groups, above the sudo layer's accounts
)

// egress is to anywhere: which servers they are, a provider's DHCP says.
var egress = []layers.Egress{
	{Proto: "udp", Port: 53, Why: "DNS, of the resolvers that DHCP names"},
	{Proto: "tcp", Port: 53, Why: "DNS, answers too long for UDP"},
}

// Contribute returns the sealed system's settings.
func (Layer) Contribute(layers.Site) layers.Contribution {
	return layers.Contribution{
		Packages: packages,
		Image: layers.Fragment{
			Files:           files(),
			Units:           units(),
			Groups:          []layers.Group{{Name: procGroup, GID: procGID, System: true}},
			Links:           []layers.Link{{Path: "/etc/systemd/system/default.target", Target: "/usr/lib/systemd/system/multi-user.target"}},
			KernelArguments: kernelArguments,
		},
		Identity: []string{"/etc/machine-id", "/etc/hostname"},
		Egress:   egress,
		State: []layers.State{
			{Path: "/var/lib/ingot", Mode: 0o700, Why: "this machine's identity"},
			{Path: "/var/log", Mode: 0o755, Why: "the journal and the logs"},
			{Path: "/var/home", Mode: 0o755, Why: "people's homes"},
			{Path: "/var/roothome", Mode: 0o700, Why: "root's home"},
			{Path: "/var/lib/systemd", Mode: 0o755, Why: "random seed, clock and timers"},
		},
		Removed: removed(),
		// systemd's own tmpfiles.d makes these two links.
		Disposable: []string{"/var/lock", "/var/run"},
		Validators: []layers.Validator{
			{Argv: []string{"/usr/bin/systemd-analyze", "verify", "--man=no", "--recursive-errors=no", "default.target"}, PrintsErrors: true},
		},
		Checks:   checks(),
		SealOnly: sealOnly(),
	}
}

// Finish writes what follows from the whole plan: the list of what an identity
// may hold, and the folders of the declared state.
func (Layer) Finish(plan layers.Plan) layers.Contribution {
	identity := slices.Sorted(slices.Values(plan.Identity))
	repart := repartFiles(plan.Site.SlotBytes)
	c := layers.Contribution{Image: layers.Fragment{Files: append(repart,
		file(identityList, "what an identity may hold; anything else is refused", strings.Join(identity, "\n")+"\n"),
		file("/usr/lib/tmpfiles.d/ingot-state.conf", "makes the folders of the declared state on an empty /var", stateFolders(plan.State)),
	)}, Checks: treeChecks(plan.SUID)}
	if !slices.Contains(plan.Packages, "chrony") {
		keepTime(&c)
	}
	for _, u := range execMounts(plan.State) {
		c.Image.Units = append(c.Image.Units, u)
		c.SealOnly = append(c.SealOnly, layers.SealOnly{What: "unit " + u.Name, Why: "a stock system has file systems of its own"})
	}
	for _, k := range execChecks(plan.State) {
		c.Checks = append(c.Checks, k)
		c.SealOnly = append(c.SealOnly, layers.SealOnly{What: "check " + k.ID, Why: "a stock system has file systems of its own"})
	}
	for _, f := range repart {
		c.SealOnly = append(c.SealOnly, layers.SealOnly{What: "file " + f.Path, Why: "a stock system has no slots"})
	}
	return c
}

// keepTime is for an image without a layer that keeps the clock: Debian's time
// daemons exclude each other.
func keepTime(c *layers.Contribution) {
	on := true
	c.Packages = append(c.Packages, "systemd-timesyncd")
	c.Image.Units = append(c.Image.Units, layers.Unit{
		Name: "systemd-timesyncd.service", Enabled: &on, Why: "keeps the clock: certificates and logs need the time",
	})
	c.Egress = append(c.Egress, layers.Egress{Proto: "udp", Port: 123, Why: "NTP, the clock"})
	c.Checks = append(c.Checks, exposureCheck("systemd-timesyncd"))
}

// file is a file of root's with its reason, in one line.
func file(path, why, contents string) layers.File {
	return layers.File{Path: path, Mode: 0o644, Why: why, Contents: contents}
}

func stateFolders(state []layers.State) string {
	var s strings.Builder
	s.WriteString("# State that outlives reboots and new images.\n")
	for _, st := range slices.SortedFunc(slices.Values(state), func(a, b layers.State) int { return strings.Compare(a.Path, b.Path) }) {
		fmt.Fprintf(&s, "# %s: %s\nd %s %04o %s %s -\n", st.Layer, st.Why, st.Path, st.Mode, orRoot(st.User), orRoot(st.Group))
	}
	return s.String()
}

func orRoot(name string) string {
	if name == "" {
		return "root"
	}
	return name
}
