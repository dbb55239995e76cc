# Makes the disk of a plain Debian system that configures itself at its first boot.
# OUT: where · REPO: local repository of the locked packages · SUITE · MIRROR ·
# PACKAGES: names, comma-separated · SOURCE: line of the system's own sources.list ·
# BYTES: size of the file system · IGNITION, MODULE: program and dracut module of
# a system that runs Ignition at its first boot, empty for one that does not
preferences="$OUT/preferences"
printf 'Package: *\nPin: origin ""\nPin-Priority: 1001\n' >"$preferences"
if [ -n "$IGNITION" ]; then
	export INITRD=No # it is made below, with the module
fi
mmdebstrap --mode=root --variant=apt --format=directory --quiet \
	--aptopt='APT::Install-Recommends "false"' \
	--dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	--setup-hook='mkdir -p "$1/etc/apt/preferences.d"' \
	--setup-hook="cp $preferences \"\$1/etc/apt/preferences.d/locked\"" \
	--include="$PACKAGES" \
	"$SUITE" "$OUT/tree" "deb [trusted=yes] copy:$REPO ./" \
	"deb $MIRROR/debian $SUITE main" \
	"deb $MIRROR/debian $SUITE-updates main" \
	"deb $MIRROR/debian-security $SUITE-security main"
root="$OUT/tree"

# As a provider ships it: no host's name, no keys, no lists.
rm -f "$root/etc/hostname" "$root/etc/resolv.conf" "$root"/etc/ssh/ssh_host_* "$root/etc/apt/preferences.d/locked"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*
: >"$root/etc/machine-id"
echo localhost >"$root/etc/hostname"
ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
echo '/dev/vda / ext4 defaults 0 1' >"$root/etc/fstab"
rm -rf "$root/etc/apt/sources.list.d"
echo "$SOURCE" >"$root/etc/apt/sources.list"
printf '[Match]\nType=ether\n\n[Network]\nDHCP=yes\n' >"$root/etc/systemd/network/80-dhcp.network"
chroot "$root" systemctl --quiet enable systemd-networkd.service
# Where grub-install would have put GRUB.
mkdir -p "$root/boot/grub"

if [ -n "$IGNITION" ]; then
	ignition="$root/usr/lib/dracut/modules.d/30ignition"
	cp -rL "$MODULE" "$ignition"
	chmod -R u+w "$ignition"
	install -m 0755 "$IGNITION" "$ignition/ignition"
	# What a distribution has to bring: the arguments are there or nothing goes on.
	cat >"$ignition/ignition-kargs-helper.sh" <<-'HELPER'
		#!/bin/bash
		while [ $# -gt 1 ]; do
			if [ "$1" = --should-exist ] && ! grep -qwF -- "$2" /proc/cmdline; then
				echo "the kernel does not have the argument $2"
				exit 1
			fi
			shift 2
		done
	HELPER
	chmod 0755 "$ignition"/*.sh "$ignition/ignition-generator"
	api "$root"
	kernel=$(echo "$root"/boot/vmlinuz-*)
	# The first boot is the one on which presets, which Ignition writes, count.
	# Without the last word, Debian's is to enable all that is installed.
	echo uninitialized >"$root/etc/machine-id"
	echo 'disable *' >"$root/usr/lib/systemd/system-preset/99-default.preset"
	chroot "$root" env TMPDIR=/tmp dracut --quiet --force --no-hostonly --no-early-microcode --add ignition \
		--add-drivers "qemu_fw_cfg virtio_blk virtio_pci ext4" \
		--kver "${kernel##*/vmlinuz-}" "/boot/initrd.img-${kernel##*/vmlinuz-}"
	unapi "$root"
fi
cp "$root"/boot/vmlinuz-* "$OUT/vmlinuz"
cp "$root"/boot/initrd.img-* "$OUT/initrd"
rm "$preferences"
truncate --size="$BYTES" "$OUT/disk.raw"
mkfs.ext4 -q -L stock-root -d "$root" "$OUT/disk.raw"
