# The files of an EROFS file system, as a tar archive on standard output. The
# image may be a stranger's: fsck.erofs sees nothing but it and its own libraries.
# TOOLS: tools tree · IMAGE: file · OFFSET: where the file system begins in it · OUT: folder
mkdir "$OUT/usr" "$OUT/tree"
: >"$OUT/image"
mount --bind "$TOOLS/usr" "$OUT/usr"
mount --bind "$IMAGE" "$OUT/image"
# 1 GiB of memory: what a damaged image makes of a size must not take the machine's.
(
	# shellcheck disable=SC3045  # dash, which is Debian's sh, has it
	ulimit -v 1048576
	chroot "$OUT" /usr/lib64/ld-linux-x86-64.so.2 --library-path /usr/lib/x86_64-linux-gnu \
		/usr/bin/fsck.erofs -d1 --extract=/tree --offset="$OFFSET" /image >&2
) || refuse "fsck.erofs cannot read the root file system" >&2
tar --create --directory "$OUT/tree" --sort=name --numeric-owner --format=pax .
