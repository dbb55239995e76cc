# Makes the initrd in a tree of its own, so that dracut and its friends are
# not part of the image.
# TREE: initrd tree · BASE: for the kernel modules · MODULE: our dracut module
# AGENT, IGNITION: programs · KERNEL: version · OUT · EPOCH
overlay "$TREE" "$OUT/build"
root="$OUT/build/root"
api "$root"
mkdir -p "$root/usr/lib/modules"
mount --bind "$BASE/usr/lib/modules" "$root/usr/lib/modules"
cp -r "$MODULE" "$root/usr/lib/dracut/modules.d/95ingot"
chmod 0755 "$root/usr/lib/dracut/modules.d/95ingot/module-setup.sh"
install -m 0755 "$AGENT" "$root/usr/bin/ingot-agent"
install -m 0755 "$IGNITION" "$root/usr/bin/ignition"
export SOURCE_DATE_EPOCH="$EPOCH"
chroot "$root" dracut --quiet --force --reproducible --no-hostonly --no-hostonly-cmdline \
	--no-early-microcode --compress "zstd -12 -T1" --kver "$KERNEL" \
	--modules "bash systemd systemd-initrd systemd-udevd systemd-journald systemd-modules-load systemd-veritysetup dm rootfs-block udev-rules fs-lib base shutdown ingot" \
	--drivers "" --add-drivers "" \
	/tmp/initrd
cp "$root/tmp/initrd" "$OUT/initrd"
umount "$root/usr/lib/modules"
unapi "$root"
umount "$root"
rm -rf "$OUT/build"
