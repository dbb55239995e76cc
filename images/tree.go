package images

import (
	"crypto/sha256"
	"fmt"
	"path"
	"regexp"
	"strings"

	"ingot/images/sbom"
	"ingot/layers"
)

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

// containerTree begins the names of trees that container images are made of.
const containerTree = sbom.InContainer

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// treeOf is the tree of a container image that is made of packages: the last part of
// its name without the tag, and what tells it from others that end in the same.
func treeOf(image layers.ContainerImage) Tree {
	short, _, _ := strings.Cut(path.Base(image.Name), ":")
	short, _, _ = strings.Cut(short, "@")
	return Tree(fmt.Sprintf("%s%.40s-%.3x", containerTree, notInNames.ReplaceAllString(short, "-"), sha256.Sum256([]byte(image.Name))))
}

// extracted trees hold files only: no maintainer script runs in them, and
// nothing essential is added.
func (t Tree) extracted() bool {
	return t == TreeTools || t == TreeAudit || t.ofContainer()
}

func (t Tree) ofContainer() bool { return strings.HasPrefix(string(t), containerTree) }

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
