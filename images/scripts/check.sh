# Tries, in a moment, what the other scripts need of a machine for minutes of work.
# DIR: an empty folder of the cache
lacks() {
	echo "ingot-lacks: $*"
	exit 1
}

mkdir -p "$DIR/lower/folder/another" "$DIR/over" "$DIR/proc"
: >"$DIR/lower/file"
# The first account of a Debian tree after root, and the last one, which is nobody.
chown 1:1 "$DIR/lower/file" || lacks accounts
chown 65534:65534 "$DIR/lower/file" || lacks accounts
mount -t proc proc "$DIR/proc" || lacks proc
overlay "$DIR/lower" "$DIR/over" || lacks overlay
echo >"$DIR/over/root/file" || lacks overlay
rm -r "$DIR/over/root/folder" || lacks overlay
