#!/bin/bash
# dracut module: Ingot's first steps, the state volume and the identity.
# $initdir, $systemdsystemunitdir and the inst functions are dracut's.
# shellcheck disable=SC2154

check() {
	return 255 # only when asked for by name
}

depends() {
	echo systemd systemd-veritysetup
}

installkernel() {
	# The root and the state volume.
	instmods erofs dm-verity overlay ext4 loop crc32c_generic crc32c_intel sha256_ssse3
	# Where virtual machines keep their disks.
	instmods virtio_pci virtio_mmio virtio_blk virtio_scsi sd_mod nvme ahci ata_piix ata_generic
	instmods xen-blkfront xen-scsifront hv_storvsc vmw_pvscsi mptspi BusLogic
	# Where the instance config comes from.
	instmods qemu_fw_cfg sr_mod iso9660 vfat nls_cp437 nls_ascii nls_iso8859-1 nls_utf8
	# The metadata service, and the lock on the network that it is asked over.
	instmods virtio_net e1000 e1000e vmxnet3 hv_netvsc ena gve xen-netfront ixgbevf nf_tables nft_ct
}

install() {
	inst_multiple ingot-agent ignition systemd-repart mkfs.ext4 mke2fs e2fsck udevadm blkid modprobe \
		/usr/lib/systemd/systemd-growfs
	local unit
	for unit in ingot-var.service ingot-identity.service; do
		inst_simple "${moddir:?}/$unit" "$systemdsystemunitdir/$unit"
		systemctl -q --root "$initdir" add-requires initrd.target "$unit"
	done
	# Nobody may get a shell by making the boot fail.
	systemctl -q --root "$initdir" mask emergency.service rescue.service
}
