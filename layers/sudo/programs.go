package sudo

import "strings"

// escapes says how a program would let its caller become root, empty when it
// is not known to. The lists follow GTFOBins' "sudo" section and Debian's
// packages. They explain; what keeps programs out that are not on them is that
// only judged programs of packages are let through, and the owner's own.
func escapes(program string) string {
	// python3.13, vim.tiny and mount.cifs are what their first letters say.
	stem := program
	if i := strings.IndexAny(program, ".0123456789"); i > 0 {
		stem = program[:i]
	}
	for _, group := range escaping {
		for name := range strings.FieldsSeq(group.programs) {
			if name == program || name == stem {
				return group.how
			}
		}
	}
	return ""
}

var escaping = []struct{ how, programs string }{
	{"is a shell", "sh bash rbash dash zsh ksh mksh fish csh tcsh ash busybox toybox screen tmux script byobu expect"},
	{"is an editor, which starts a shell", "vi vim view rvim rview vimdiff nvim ex ed red emacs nano pico joe jed mcedit mc micro editor sensible-editor vipw vigr visudo crontab select-editor"},
	{"is a pager, which starts a shell", "less more most pg pager sensible-pager man apropos whatis info pinfo zless zmore lesspipe"},
	{"is an interpreter", "perl python pypy ruby irb node nodejs deno bun php lua luajit tclsh wish awk gawk mawk nawk sed jjs java jshell R octave gdb lldb guile julia erl elixir runghc ghci cscript jq m4 dc bpftrace"},
	{"starts other programs", `env find xargs nice ionice nohup time timeout stdbuf setsid flock watch parallel run-parts chroot unshare nsenter ip
		strace ltrace taskset chrt setarch prlimit capsh setpriv runuser su sudo sudoedit doas pkexec systemd-run systemd-nspawn machinectl start-stop-daemon
		logrotate at batch cpulimit unbuffer rlwrap catchsegv entr runcon sg newgrp run0 importctl portablectl systemd-sysext systemd-confext perf service
		invoke-rc init telinit multitime choom uclampset ld ldconfig make cmake ninja gcc cc g++ cpp go cargo npm npx yarn pip pipx gem bundle composer`},
	{"runs containers, which can mount everything", "docker podman nerdctl ctr crictl buildah skopeo runc crun lxc lxd incus kubectl dockerd containerd qemu-img"},
	{"writes files, sudo's rules among them", `tar cp mv ln dd tee install rsync scp sftp cpio pax ar zip unzip 7z gzip bzip2 xz zstd patch truncate shred split csplit
		sponge touch mkdir rm chmod chown chgrp chattr setfacl setcap setfattr mknod mount umount losetup dmsetup fdisk sfdisk parted debugfs
		mkfs blkid swapon usermod useradd userdel groupmod groupadd passwd chpasswd chsh chfn gpasswd adduser update-alternatives ssh-keygen openssl sqlite3 column
		sort uniq iconv nft iptables sysctl modprobe insmod kmod kexec rmmod bpftool systemd-tmpfiles systemd-sysusers tmpfiles wget curl aria2c
		git svn hg apt apt-get aptitude dpkg dpkg-divert dpkg-reconfigure debconf snap flatpak rpm dnf`},
	{"reads files, private keys among them", "cat head tail tac nl od xxd hexdump base64 base32 grep egrep fgrep zgrep rgrep cut diff cmp comm strings file join paste pr fold fmt rev readelf objdump"},
	{"opens connections and starts programs on them", "ssh nc ncat netcat socat telnet ftp tftp nmap tcpdump tshark busctl dbus-send gdbus gcore"},
}
