# The first process of the lab's namespaces: makes libvirtd's folders private and
# starts it. $1 is the lab's folder, $2 the modules of another QEMU than the host's.
mount --make-rprivate /
for d in run etc/libvirt var/lib/libvirt var/cache/libvirt var/log/libvirt; do
	mkdir -p "$1/root/$d"
done
# The predefined filters are in use by nobody here; the rest is libvirtd's defaults.
cp -a /etc/libvirt/nwfilter "$1/root/etc/libvirt/" 2>/dev/null || :
mkdir -p "$1/run" "$1/root/var/lib/libvirt/images" "$1/root/var/log/libvirt/consoles"
# /run too: on a host with systemd, libvirtd would tell it about each domain.
for d in etc/libvirt var/lib/libvirt var/cache/libvirt var/log/libvirt run; do
	mkdir -p "/$d"
	mount --bind "$1/root/$d" "/$d"
done
# QEMU looks into the folder that it was compiled for as well, and does not get over
# modules of another version there.
if [ -n "$2" ]; then
	mount --bind "$2" /usr/lib/x86_64-linux-gnu/qemu 2>/dev/null || :
fi
cat >/etc/libvirt/qemu.conf <<X
user = "root"
group = "root"
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
remember_owner = 0
X
cat >/etc/libvirt/libvirtd.conf <<X
unix_sock_dir = "$1/run"
auth_unix_rw = "none"
log_outputs = "3:file:$1/libvirtd.log"
X
ip link set lo up
# The shell stays: it takes the orphans, which libvirtd would wait for in vain.
libvirtd --config /etc/libvirt/libvirtd.conf &
wait $!
