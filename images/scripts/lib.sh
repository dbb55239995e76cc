# Shared by every script here; they run under "sh -eu" as uid 0 of their own
# mount and process namespace, so that all mounts end with them.

# overlay LOWER DIR mounts a writable view of LOWER on DIR/root and leaves
# what was written in DIR/upper. Volatile: an overlay that is unmounted waits
# for all of its disk otherwise, and what is built here is synced at its end.
overlay() {
	mkdir -p "$2/upper" "$2/work" "$2/root"
	options="lowerdir=$1,upperdir=$2/upper,workdir=$2/work,volatile"
	# Only root of the first user namespace, which has a fixed number
	# (PROC_USER_INIT_INO), may write trusted.overlay attributes. An overlay that
	# wants to and cannot is mounted all the same, and fails to remove folders.
	[ "$(readlink /proc/self/ns/user)" = 'user:[4026531837]' ] || options=$options,userxattr
	mount -t overlay overlay -o "$options" "$2/root"
}

# api ROOT mounts what programs in a chroot expect, with a private /dev.
api() {
	mount -t proc proc "$1/proc"
	mount -t tmpfs -o mode=0755 tmpfs "$1/run"
	mount -t tmpfs -o mode=1777 tmpfs "$1/tmp"
	mount -t tmpfs -o mode=0755 tmpfs "$1/dev"
	for node in null zero full random urandom tty; do
		: >"$1/dev/$node"
		mount --bind "/dev/$node" "$1/dev/$node"
	done
	ln -s /proc/self/fd "$1/dev/fd"
	mkdir "$1/dev/shm"
}

# unapi ROOT takes them away again, so that they are not packed.
unapi() {
	umount -R "$1/dev" "$1/tmp" "$1/run" "$1/proc"
}

refuse() {
	echo "ingot-refuse: $*"
	exit 1
}
