package system

import (
	"path"
	"strings"

	"ingot/layers"
)

// packageManagers are programs that change a running system, by pattern. Their
// database stays: scanners read it below /usr/lib/sysimage.
const packageManagers = `/usr/bin/apt* /usr/lib/apt /usr/bin/dpkg* /usr/sbin/dpkg-* /usr/lib/dpkg /usr/libexec/dpkg /etc/dpkg /etc/apt
	/usr/bin/debconf* /usr/share/debconf /etc/debconf.conf /usr/bin/deb-systemd-* /usr/bin/ucf* /etc/ucf.conf
	/usr/bin/update-alternatives /usr/sbin/update-rc.d /usr/sbin/update-passwd /usr/sbin/invoke-rc.d
	/usr/sbin/update-initramfs /usr/sbin/mkinitramfs /usr/bin/linux-update-symlinks /usr/bin/linux-run-hooks
	/usr/bin/linux-check-removal /usr/sbin/installkernel`

// perl is essential to Debian for its package management, and to a machine without
// that for nothing. Programs in Perl pull in the package perl.
const perl = `/usr/bin/perl* /usr/lib/x86_64-linux-gnu/perl-base /usr/lib/x86_64-linux-gnu/perl5 /usr/share/perl5
	/usr/sbin/adduser /usr/sbin/addgroup /usr/sbin/deluser /usr/sbin/delgroup /usr/sbin/pam-auth-update /usr/sbin/pam_getenv
	/usr/bin/linux-version /usr/bin/c_rehash /usr/lib/ssl/misc`

// removed is what Debian's essential packages bring and a sealed machine does
// without.
func removed() []layers.Removal {
	var list []layers.Removal
	for pattern := range strings.FieldsSeq(packageManagers) {
		list = append(list, layers.Removal{Pattern: pattern, Why: "rebuild, don't patch: no package manager at run time"})
	}
	for pattern := range strings.FieldsSeq(perl) {
		list = append(list, layers.Removal{Pattern: pattern, Unless: "perl", Why: "an interpreter that nothing here needs"})
	}
	return append(list, layers.Removal{Pattern: "/usr/lib/udev/hwdb.d", Why: "what hwdb.bin was made from"})
}

// programs are names whose presence on the PATH a check looks for.
const (
	managers  = "apt apt-get dpkg dpkg-deb dpkg-query debconf deb-systemd-helper"
	compilers = "gcc g++ cc c++ clang tcc go rustc as ld make"
)

// absent prints the programs that are there.
func absent(names string) *layers.CommandCheck {
	const there = `for p; do command -v "$p"; done; :`
	return &layers.CommandCheck{Argv: append([]string{"sh", "-c", there, "sh"}, strings.Fields(names)...), Silent: true}
}

// everywhere finds in every file system that the image or its state is on.
func everywhere(expression string) []string {
	return []string{"sh", "-c", "find / /etc /var -xdev " + expression}
}

// outsideContainers is the same without the folders of containers, where files
// belong to accounts of theirs, as long as nobody but root can go there.
func outsideContainers(expression string) []string {
	var closed []string
	for _, folder := range []string{layers.ImageStore, "/var/lib/containers", "/var/lib/ingot/containers"} {
		closed = append(closed, "-path "+folder)
	}
	return everywhere(`-type d -uid 0 -perm 0700 \( ` + strings.Join(closed, " -o ") + ` \) -prune -o ` + expression + ` -print`)
}

// treeChecks look at what seal.sh has seen to at build time, on the machine.
func treeChecks(suid []layers.SUID) []layers.Check {
	return []layers.Check{
		suidCheck(suid),
		{
			ID: "system.world-writable", Title: "no file can be written by everybody",
			Command:  &layers.CommandCheck{Argv: outsideContainers(`! -type l -perm -0002 ! \( -type d -perm -1000 \)`), Silent: true},
			Sabotage: "install -m 0666 /dev/null /var/log/sabotage",
		},
		{
			ID: "system.unowned", Title: "every file belongs to an account and a group that exist",
			Command:  &layers.CommandCheck{Argv: outsideContainers(`\( -nouser -o -nogroup \)`), Silent: true},
			Sabotage: "install -m 0600 -o 4242 -g 4242 /dev/null /var/log/sabotage",
		},
		{
			ID: "system.no-package-manager", Title: "there is no package manager", Command: absent(managers),
			Sabotage: layers.SabotageUsr + " && cp /usr/bin/true /usr/bin/dpkg",
		},
		{
			ID: "system.no-compiler", Title: "there is no compiler", Command: absent(compilers),
			Sabotage: layers.SabotageUsr + " && cp /usr/bin/true /usr/bin/cc",
		},
	}
}

// suidCheck prints files with a set-ID bit that nobody declared, and declared
// ones without.
func suidCheck(suid []layers.SUID) layers.Check {
	var but strings.Builder
	var each []string
	for _, s := range suid {
		but.WriteString(" ! -path " + path.Clean(s.Path))
		each = append(each, path.Clean(s.Path))
	}
	const lost = ` -print; for f; do [ -u "$f" ] || [ -g "$f" ] || echo "$f has lost its bit"; done`
	argv := everywhere("-type f -perm /6000" + but.String() + lost)
	return layers.Check{
		ID: "system.suid", Title: "exactly the declared files have a set-ID bit: " + strings.Join(each, ", "),
		Command:  &layers.CommandCheck{Argv: append(append(argv, "sh"), each...), Silent: true},
		Sabotage: "install -m 4755 /usr/bin/id /var/log/sabotage",
	}
}
