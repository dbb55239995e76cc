package images

// Tree names one of the Debian trees a build works with. Only TreeImage is
// shipped; the others hold the tools, so that the bytes of an image do not
// depend on the host's versions of them.
type Tree string

// The trees.
const (
	TreeImage    Tree = "image"    // what becomes the root
	TreeInitrd   Tree = "initrd"   // dracut and what it copies into the initrd
	TreeTools    Tree = "tools"    // file system, boot and QEMU programs
	TreeCompiler Tree = "compiler" // builds Ignition
	TreeAudit    Tree = "audit"    // what a deep assay and the tests run against the machine
)

// extracted trees hold files only: no maintainer script runs in them, and
// nothing essential is added.
func (t Tree) extracted() bool { return t == TreeTools || t == TreeAudit }

// variant is mmdebstrap's.
func (t Tree) variant() string {
	if t.extracted() {
		return "extract"
	}
	return "essential"
}

// toolPackages are the packages of the trees that are not shipped.
func toolPackages() map[Tree][]string {
	return map[Tree][]string{
		TreeInitrd: {
			"cryptsetup-bin", "dracut-core", "e2fsprogs", "kmod", "systemd", "systemd-cryptsetup",
			"systemd-repart", "systemd-sysv", "udev", "util-linux", "zstd",
		},
		TreeTools: {
			"cryptsetup-bin", "erofs-utils", "grub-common", "grub-efi-amd64-bin", "grub-pc-bin",
			"libc6", "ovmf", "qemu-system-x86", "qemu-utils", "seabios",
		},
		TreeCompiler: {"gcc", "libblkid-dev", "libc6-dev"},
		TreeAudit:    {"chrony", "libc6", "lynis", "python3", "ssh-audit"},
	}
}
