package assay

// explanation says why a suggestion of lynis is not followed.
type explanation struct {
	id    string // of lynis' test
	about string // part of the suggestion; empty is all of them
	why   string
}

// Reasons that several suggestions share.
const (
	noPasswords = "no account has a password: keys are the only way in, and the assay tries the others"
	sealedRoot  = "the root is read-only and verified block by block (dm-verity); nothing is installed or changed on the machine, a new image is"
	noLocal     = "one administrator and the services; there are no other people on the machine"
)

// explanations are the answers to what lynis still suggests on the example. An
// entry must be true of the image, not merely plausible.
var explanations = []explanation{
	{"LYNIS", "", "the age of lynis says nothing about the machine"},

	{"BOOT-5122", "", "GRUB's configuration is the image's; whoever reaches the provider's console can replace the disk as well, and root has no password there to guess"},
	{"BOOT-5264", "", "each service's exposure is in this report; those with a socket must be at 3.0 or less, sshd alone may not: its sessions are the administrator's"},

	{"KRNL-5788", "", "kernel and initrd are on the boot partition, outside of the root; /vmlinuz would be a link to nowhere"},
	{"KRNL-5820", "", "core dumps are off in the kernel (core_pattern, suid_dumpable), in systemd and in limits.d, where lynis does not look"},
	{"KRNL-6000", "", "of lynis' values the image differs where one would break it: modules are loaded late by firewall and tunnel (modules_disabled), and forwarding belongs to the tunnel"},

	{"AUTH-9228", "", noPasswords},
	{"AUTH-9229", "", noPasswords},
	{"AUTH-9230", "", noPasswords},
	{"AUTH-9262", "", noPasswords},
	{"AUTH-9282", "", noPasswords},
	{"AUTH-9284", "", "the accounts are those of Debian's packages and of the layers; locked is how they must be"},
	{"AUTH-9286", "", noPasswords + "; an account whose password is too old is locked out, its key notwithstanding"},
	{"AUTH-9328", "", "homes and state folders are closed by modes of their own; with a tighter umask root would make files that services cannot read"},

	{"BANN-7126", "", "there is no login prompt on a console"},
	{"BANN-7130", "", "sshd answers in the tunnel, to those who hold a key of it; a stranger cannot read a banner"},
	{"BOOT-5180", "", "the services that run are those of this report"},
	{"CRYP-7902", "", "the certificates are those of the public authorities (ca-certificates); a new lock brings new ones"},

	{"FILE-6310", "", "/home and /var are on the state volume, apart from the root; /tmp is memory, and bounded"},
	{"FILE-6430", "", "lynis asks for file systems that the kernel does not have or that the image needs (vfat for the boot partition)"},

	{"NAME-4028", "", "the machine has a name and no domain; its owner finds it by its address in the tunnel"},
	{"NAME-4404", "", "libnss-myhostname knows the machine's own name without /etc/hosts, which would differ per machine"},
	{"NETW-2705", "", "the resolver comes with the lease, by DHCP and router advertisement; the assay's simulated internet has one of each family"},

	{"PKGS-7346", "", sealedRoot},
	{"PKGS-7370", "", sealedRoot + "; dm-verity checks every block that is read, which debsums cannot"},
	{"PKGS-7388", "", sealedRoot},
	{"PKGS-7392", "", sealedRoot},
	{"PKGS-7394", "", sealedRoot},
	{"PKGS-7398", "", sealedRoot + "; packages are compared with advisories where the image is made"},
	{"PKGS-7420", "", sealedRoot},
	{"DEB-0280", "", noLocal + "; /tmp is private to services by their sandboxes"},
	{"DEB-0810", "", sealedRoot},
	{"DEB-0811", "", sealedRoot},
	{"DEB-0831", "", sealedRoot},
	{"SSH-7408", "Port", "sshd answers in the tunnel only; another port would hide it from nobody"},

	{"DEB-0880", "", "sshd answers in the tunnel only; the fail2ban layer is for images that expose it"},

	{"LOGG-2130", "", "the journal is the log, persistent and bounded"},
	{"LOGG-2138", "", "the journal takes the kernel's messages itself"},
	{"LOGG-2154", "", "where logs go is the owner's choice; the image sends nothing to anybody"},
	{"LOGG-2190", "", "files of memory (memfd) that systemd and dbus share; nothing was deleted from a disk"},

	{"ACCT-9622", "", "the journal has who logged in and what sudo ran"},
	{"ACCT-9626", "", "measuring load is monitoring's, outside of the image"},
	{"ACCT-9628", "", "the journal has who logged in and what sudo ran; the root cannot be changed, which audit rules would watch"},

	{"FINT-4350", "", sealedRoot + "; no tool that runs on the machine could say so as surely"},
	{"TOOL-5002", "", sealedRoot},
	{"HRDN-7222", "", "there is no compiler on the image; the build refuses one"},
	{"HRDN-7230", "", sealedRoot + "; a scanner on the machine would be judged by what it judges"},
	{"USB-3000", "", "the kernel has no USB at all (the check system.no-usb)"},
}
