# Turns a freshly installed tree into the base of an image: nothing of the
# host or of this run in it, /var empty, state and home folders linked to it.
# TREE: the tree · OUT: where kernel, lists and accounts go · EPOCH ·
# MODULES: what of the kernel stays, see modules.go
cd "$TREE"

# What a maintainer script or mmdebstrap made of this machine and this minute.
rm -f etc/ssh/ssh_host_* etc/.pwd.lock
rm -f etc/passwd- etc/group- etc/shadow- etc/gshadow- etc/subuid- etc/subgid-
rm -rf etc/apt etc/cron.daily etc/cron.weekly etc/cron.monthly etc/cron.hourly etc/cron.d
rm -rf var/cache/* var/log/* var/backups/* var/tmp/* var/spool/* run/* tmp/* dev/*
rm -f vmlinuz vmlinuz.old initrd.img initrd.img.old
ln -sf ../run/systemd/resolve/resolv.conf etc/resolv.conf
: >etc/machine-id
echo localhost >etc/hostname

# The accounts, in an order of their own. No account has a password, and the
# day of its last change would be the day of the build.
sort -t: -k3,3n -k1,1 etc/passwd >"$OUT/passwd"
sort -t: -k3,3n -k1,1 etc/group >"$OUT/group"
cat "$OUT/passwd" >etc/passwd
cat "$OUT/group" >etc/group
awk -F: -v day=$((EPOCH / 86400)) '{ print $1 ":*:" day ":0:99999:7:::" }' "$OUT/passwd" >etc/shadow
awk -F: '{ print $1 ":*::" $4 }' "$OUT/group" >etc/gshadow

# What packages enabled goes; the layers name what runs.
find etc/systemd/system -mindepth 1 -delete
mkdir -p etc/systemd/system-preset
echo 'disable *' >etc/systemd/system-preset/99-ingot.preset

# The kernel goes to the ESP.
kernel=$(echo boot/vmlinuz-*)
cp "$kernel" "$OUT/vmlinuz"
version=${kernel#boot/vmlinuz-}
echo "$version" >"$OUT/kernel-version"
# Its configuration stays: from the image alone, nobody could tell what is in it.
mv "boot/config-$version" "usr/lib/modules/$version/config"
rm -rf boot/*

# Of the modules, those on the list and what they depend on. "-" and "_" are one
# letter to the kernel.
echo "$MODULES" | awk '
	function plain(name) { gsub(/-/, "_", name); return name }
	function module(path) { sub(/.*\//, "", path); sub(/\.ko.*/, "", path); return plain(path) }
	kind == "list" {
		if (sub(/^!/, "")) must[plain($1)]
		keep[$1 ~ /\/$/ ? $1 : plain($1)]
		next
	}
	{ here[module($1)] }
	kind == "files" {
		sub(/:$/, "", $1)
		folder = $1
		sub(/^kernel\//, "", folder)
		sub(/[^\/]*$/, "", folder)
		all[$1]
		if (folder in keep || module($1) in keep) for (i = 1; i <= NF; i++) stays[$i]
	}
	END {
		for (name in must) if (!(name in here)) print "no " name
		for (file in all) if (!(file in stays)) print "rm " file
	}' kind=list - kind=builtin "usr/lib/modules/$version/modules.builtin" kind=files "usr/lib/modules/$version/modules.dep" >"$OUT/modules"
missing=$(sed -n 's/^no //p' "$OUT/modules")
[ -z "$missing" ] || refuse "the kernel $version has no module $missing; correct layers.kernel.allow"
sed -n 's/^rm //p' "$OUT/modules" | (cd "usr/lib/modules/$version" && xargs rm --)
rm "$OUT/modules"
find "usr/lib/modules/$version/kernel" -type d -empty -delete
chroot . depmod "$version"

# The package database is part of the image, not of its state.
mkdir -p usr/lib/sysimage
mv var/lib/dpkg usr/lib/sysimage/dpkg
rm -f usr/lib/sysimage/dpkg/*-old usr/lib/sysimage/dpkg/lock* usr/lib/sysimage/dpkg/triggers/Lock
rm -rf var/lib/apt usr/lib/sysimage/dpkg/updates

# Homes are state.
rm -rf root home
ln -s var/roothome root
ln -s var/home home

# Bookkeeping of package management, and what the system makes anew.
rm -rf var/lib/pam var/lib/ucf var/lib/shells.state var/lib/wtmpdb var/lib/systemd/catalog \
	var/lib/systemd/deb-systemd-helper-enabled var/lib/systemd/deb-systemd-user-helper-enabled

# Package content under /var: plain files are listed for the build to judge,
# folders are made at boot by tmpfiles.d with their owner and mode.
find var -mindepth 1 ! -type d -printf '/%p\n' | sort >"$OUT/var-files"
find var -mindepth 1 -type d -printf 'd /%p %#m %u %g -\n' | sort -k2 >"$OUT/var-folders"
mkdir -p usr/share/factory
rm -rf usr/share/factory/var
mv var usr/share/factory/var
mkdir var
