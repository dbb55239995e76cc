package kernel

import (
	"slices"
	"strings"
)

// group is modules that are off for one reason.
type group struct{ id, why, names string }

// defaultModules are what no server needs and what a program could make the
// kernel load by asking for it: opening a socket of that family, mounting such
// a file system, plugging such a device. The list is that of the CIS Debian
// Linux Benchmark (1.1.1 and 3.2) and of Kicksecure's security-misc, plus what
// Debian's cloud kernel has. A name that this kernel lacks does no harm, and
// another kernel may have it.
//
// Not here, because the image or a layer uses them: erofs, ext4, overlay, fat
// and vfat (the ESP), isofs and sr_mod (cidata and config-2 volumes),
// qemu_fw_cfg, dm_verity, wireguard, and what containers need (bridge, veth,
// macvlan, ipvlan, fuse, tun; llc is a part of bridge).
func defaultModules() []group {
	return []group{
		{"protocols", "network protocols that nothing here speaks, each with a history of local root holes",
			`dccp dccp_ipv4 dccp_ipv6 sctp rds rds_tcp rds_rdma tipc smc kcm af_key l2tp_core l2tp_ip l2tp_ip6 l2tp_ppp
			ax25 netrom rose x25 lapb decnet econet af_802154 ieee802154 mac802154 6lowpan ipx appletalk psnap p8022 p8023 llc2
			can can_raw can_bcm can_gw can_isotp can_j1939 atm phonet caif nfc rxrpc qrtr mctp batman_adv hsr bluetooth
			mpls_router mpls_iptunnel openvswitch n_hdlc n_gsm slip ppp_generic pppoe pktgen`},
		{"vsock", "the hypervisor's own way into the machine, around the firewall; systemd would offer SSH on it",
			`vsock vmw_vsock_virtio_transport vmw_vsock_vmci_transport hv_sock vsock_loopback`},
		{"filesystems", "file systems of foreign disks: a crafted image attacks the kernel that mounts it",
			`cramfs freevxfs jffs2 hfs hfsplus udf squashfs romfs sysv ufs minix qnx4 qnx6 befs bfs efs omfs affs adfs
			reiserfs jfs gfs2 ocfs2 nilfs2 f2fs ntfs ntfs3 exfat zonefs orangefs bcachefs`},
		{"netfs", "network file systems: their servers would have to be trusted with the kernel",
			`nfs nfsd cifs ksmbd ceph afs 9p coda`},
		{"devices", "buses that reach a machine's memory or bring disks to it; a VPS has none of them",
			`usb_storage uas firewire_core firewire_ohci firewire_sbp2 firewire_net ohci1394 sbp2 dv1394 raw1394 video1394
			thunderbolt thunderbolt_net floppy pcspkr vivid mei mei_me`},
	}
}

// never are modules without which the image does not boot, is not configured
// or is not reached; a layer that switched them off would lock everybody out.
// They are here for the test that keeps the lists apart.
var never = strings.Fields(`erofs ext4 overlay fat vfat isofs sr_mod cdrom qemu_fw_cfg dm_mod dm_verity wireguard
	nf_tables virtio_net virtio_blk virtio_scsi nvme`)

// modules returns the groups without what the options allow. A module that two
// groups name is written once.
func (o Options) modules() []blocked {
	seen := map[string]bool{}
	var list []blocked
	for _, g := range defaultModules() {
		b := blocked{id: g.id, why: g.why}
		for name := range strings.FieldsSeq(g.names) {
			if !seen[name] && !slices.ContainsFunc(o.Allow, func(a string) bool { return underscores(a) == name }) {
				b.names = append(b.names, name)
			}
			seen[name] = true
		}
		if len(b.names) > 0 {
			list = append(list, b)
		}
	}
	return list
}

// blocked is what is left of a group.
type blocked struct {
	id, why string
	names   []string
}

// underscores writes a module's name as the kernel does; modprobe takes both.
func underscores(name string) string { return strings.ReplaceAll(name, "-", "_") }
