package images

import "strings"

// keptModules are the kernel modules that an image has: all others, three
// quarters of Debian's cloud kernel, are deleted. A name with a slash at its end
// is a folder below the kernel's, without those in it; any other is a module.
// What a module depends on stays with it. Names that this kernel has built in,
// or lacks, do no harm: the next one may have them.
var keptModules = []struct{ why, names string }{
	{"the sealed root, the state volume, data volumes", `erofs ext4 overlay dm-mod dm-verity dm-crypt loop zram`},
	{"the ESP, and the volumes that an instance config comes on", `vfat nls_cp437 nls_ascii nls_iso8859-1 nls_utf8 isofs sr_mod qemu_fw_cfg efivarfs`},
	{"disks of QEMU, Xen, Hyper-V, VMware and Amazon", `virtio_pci virtio_mmio virtio_blk virtio_scsi sd_mod nvme ahci ata_piix ata_generic
		xen-blkfront xen-scsifront hv_storvsc vmw_pvscsi mptspi BusLogic`},
	{"network cards of the same, and of hosts that pass real ones on", `drivers/net/ethernet/ drivers/net/hyperv/ virtio_net vmxnet3 ixgbevf iavf e1000 e1000e ena gve mana
		mlx4_en mlx5_core ionic idpf bnxt_en xen-netfront hv_netvsc pci-hyperv`},
	{"the rest of a virtual machine: power button, clock, randomness, memory", `button evdev ptp_kvm ptp_vmw virtio-rng virtio_balloon virtio_mem vmw_balloon
		hv_vmbus hv_utils hv_balloon xen-evtchn xen-privcmd xenfs virtio-iommu pvpanic pvpanic-pci i6300esb softdog`},
	{"the firewall", `net/netfilter/ net/ipv4/netfilter/ net/ipv6/netfilter/ net/bridge/netfilter/`},
	{"tunnels and the interfaces of containers", `wireguard tun veth bridge br_netfilter macvlan ipvlan vrf dummy ifb 8021q bonding ip_tunnel fuse`},
	{"traffic control, and what ss(8) asks", `sch_fq sch_cake sch_htb sch_tbf sch_ingress tcp_bbr inet_diag tcp_diag udp_diag raw_diag unix_diag netlink_diag af_packet_diag tls`},
	{"ciphers and checksums, as this processor does them best", `arch/x86/crypto/ crc32c-intel crct10dif-pclmul libcrc32c chacha20poly1305 curve25519-generic
		xts cts cbc gcm ccm cmac essiv authenc echainiv seqiv xxhash_generic blake2b_generic lz4 zstd deflate`},
	{"mounts on demand, of systemd's", `autofs4 configfs`},
}

// moduleList is what base.sh keeps, a line each. The modules of a plan come
// after an exclamation mark: those must exist.
func moduleList(plan []string) string {
	var b strings.Builder
	for _, g := range keptModules {
		for name := range strings.FieldsSeq(g.names) {
			b.WriteString(name + "\n")
		}
	}
	for _, name := range plan {
		b.WriteString("!" + name + "\n")
	}
	return b.String()
}
