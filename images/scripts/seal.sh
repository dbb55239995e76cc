# The layers over the base, validated and packed.
# BASE: base tree · TOOLS: tools tree · IGNITION, AGENT: programs · INPUT: folder with
# image.ign, presets, removed, share/, suid, validators/, hostkeys · STORE: tree with the
# containers' images, or empty · OUT · EPOCH · UUID · COMPRESSION
BASE=${STORE:+$STORE:}$BASE
overlay "$BASE" "$OUT/build"
root="$OUT/build/root"
api "$root"
export SOURCE_DATE_EPOCH="$EPOCH"

# 1. The image config, through the real Ignition.
mkdir "$root/run/ingot"
cp "$IGNITION" "$INPUT/image.ign" "$root/run/ingot/"
for stage in fetch-offline files; do
	IGNITION_CONFIG_FILE=/run/ingot/image.ign IGNITION_KERNEL_CMDLINE_PATH=/dev/null \
		IGNITION_SYSTEM_RUNTIME_CONFIG_DIR=/run/ingot/none IGNITION_SYSTEM_LOCAL_CONFIG_DIR=/run/ingot/none \
		IGNITION_SYSTEM_CONFIG_DIR=/run/ingot/none \
		chroot "$root" /run/ingot/ignition --platform=file --stage="$stage" \
		--root=/ --log-to-stdout --config-cache=/run/ingot/cache --state-file=/run/ingot/state \
		--neednet=/run/ingot/neednet >"$OUT/ignition.log" 2>&1 || {
		cat "$OUT/ignition.log"
		refuse "ignition could not write the layers into the tree"
	}
done
[ ! -e "$root/run/ingot/neednet" ] || refuse "the image config refers to something on the network"

mkdir -p "$root/usr/lib/ingot"
install -m 0755 "$AGENT" "$root/usr/lib/ingot/ingot-agent"
# What the image says about itself.
[ ! -e "$root/usr/share/ingot" ] || refuse "a layer brings /usr/share/ingot, which is for what the image says about itself; choose another folder"
mkdir "$root/usr/share/ingot"
install -m 0644 -t "$root/usr/share/ingot" "$INPUT"/share/*

# 2. Ignition enables through presets; they take effect here.
if [ -s "$INPUT/presets" ]; then
	# Not by words: a unit's name may hold backslashes.
	xargs -d '\n' chroot "$root" systemctl --quiet preset <"$INPUT/presets"
fi
# systemctl and useradd leave backups and locks.
rm -f "$root/etc/.pwd.lock" "$root/etc/passwd-" "$root/etc/group-" "$root/etc/shadow-" "$root/etc/gshadow-" \
	"$root/etc/subuid-" "$root/etc/subgid-"

# 3. What packages bring and no layer wants. In the tree's own root: a link in
# it must not lead out of it.
if [ -s "$INPUT/removed" ]; then
	chroot "$root" /bin/sh -euc 'IFS="
"
	rm -rf --one-file-system -- $(cat)' <"$INPUT/removed"
fi
unapi "$root"

# 4. In one walk: set-ID bits go, except from the files in suid, and what is
# nobody's, everybody's or a compiler is listed for the build to refuse. Owners
# are known by the tree's accounts and not by this machine's.
# Nobody but root comes to the containers' images, where owners are those of the
# containers.
# The lists are words: names of accounts have no blanks, paths in suid neither.
uids=$(awk -F: '{ printf " -o -uid %d", $3 }' "$root/etc/passwd")
gids=$(awk -F: '{ printf " -o -gid %d", $3 }' "$root/etc/group")
keep=$(sed "s|^|! -path .|" "$INPUT/suid" | tr '\n' ' ')
cd "$root"
set -f
# shellcheck disable=SC2086
find . -xdev -path ./usr/lib/containers/storage -prune -o \( \
	\( -type f -perm /6000 $keep -exec chmod ug-s {} + \) , \
	\( ! \( -false $uids \) -o ! \( -false $gids \) \) -printf 'unowned /%P\n' , \
	\( ! -type l -perm -0002 ! \( -type d -perm -1000 \) \) -printf 'world-writable /%P\n' , \
	\( ! -type d -path '*/bin/*' \( -name cc -o -name gcc -o -name 'gcc-[0-9]*' -o -name '*-linux-gnu-gcc*' \
	-o -name c++ -o -name g++ -o -name 'g++-[0-9]*' -o -name clang -o -name 'clang-[0-9]*' -o -name tcc \) \) -printf 'compiler /%P\n' \) \
	>"$OUT/refused"
set +f
cd /
umount "$root"
[ ! -s "$OUT/refused" ] || refuse "the tree holds what an image must not"
rm "$OUT/refused"

# 5. The sealed root, without extended attributes: a file capability is a set-ID
# bit that nobody looks for.
overlay "$OUT/build/upper:$BASE" "$OUT/sealed"
"$TOOLS/usr/lib64/ld-linux-x86-64.so.2" --library-path "$TOOLS/usr/lib/x86_64-linux-gnu" \
	"$TOOLS/usr/bin/mkfs.erofs" --quiet -x-1 -T "$EPOCH" --ignore-mtime -U "$UUID" -L ingot-root -z "$COMPRESSION" \
	"$OUT/root.erofs" "$OUT/sealed/root" >/dev/null &
packing=$!

# 6. Meanwhile, what the layers want checked, with a throw-away host key where sshd
# looks for the real one. In a view of its own: nothing that a validator writes is
# packed.
overlay "$OUT/build/upper:$BASE" "$OUT/checked"
root="$OUT/checked/root"
api "$root"
mkdir -p "$root/run/sshd"
for v in "$INPUT"/validators/*; do
	[ -e "$v/argv" ] || continue
	mounted=
	if [ -s "$v/hostkey" ]; then
		mounted=yes
		key=$(cat "$v/hostkey")
		mount -t tmpfs tmpfs "$root/var"
		mkdir -p "$root${key%/*}"
		cp "$INPUT/throwaway-key" "$root$key"
		chmod 0600 "$root$key"
	fi
	status=0
	xargs -0 chroot "$root" <"$v/argv" >"$OUT/validator.log" 2>&1 || status=$?
	[ -z "$mounted" ] || umount "$root/var"
	if [ "$status" -ne 0 ] || { [ -e "$v/prints-errors" ] && [ -s "$OUT/validator.log" ]; }; then
		cat "$OUT/validator.log"
		refuse "layer $(cat "$v/layer"): $(tr '\0' ' ' <"$v/argv") does not accept the finished tree"
	fi
done
unapi "$root"
umount "$root"

# 7. What the layers added goes to the secret scan. What Ingot itself adds, which
# is most of it, is not theirs.
tar --exclude=./usr/lib/ingot/ingot-agent --exclude=./usr/share/ingot \
	--create --file "$OUT/layers.tar" --directory "$OUT/build/upper" --sort=name --one-file-system .

wait "$packing"
umount "$OUT/sealed/root"
rm -rf "$OUT/build" "$OUT/checked" "$OUT/sealed"
rm -f "$OUT/validator.log" "$OUT/ignition.log"
