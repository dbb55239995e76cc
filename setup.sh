#!/bin/sh
# Installs the Debian packages that Ingot's builds and tests need, after saying
# which. Does nothing when all are there. "setup.sh openstack" installs those for
# "make openstack" instead.
set -eu

# mmdebstrap, its keys and the id maps make images; the rest are the foreign
# programs that the tests have check them, and the services that servers are
# deployed to there.
packages="mmdebstrap debian-archive-keyring uidmap gcc libc6-dev libblkid-dev
gnupg fdisk gdisk dosfstools e2fsprogs mtools erofs-utils cryptsetup-bin iproute2 nftables nmap openssh-server ssh-audit sudo shellcheck tcpdump
locales tzdata
libvirt-daemon-system libvirt-daemon-driver-qemu libvirt-clients qemu-system-x86 qemu-utils dnsmasq-base iptables
vsftpd hcloud-cli"
[ "${1-}" != openstack ] || packages="e2fsprogs python3-keystone python3-glance python3-neutron python3-placement python3-nova python3-cinder
python3-openstackclient python3-aodh python3-aodhclient python3-gnocchi postgresql-15"

missing=
for package in $packages; do
	case $(dpkg-query --show --showformat='${db:Status-Abbrev}' "$package" 2>/dev/null) in
	ii*) ;;
	*) missing="$missing $package" ;;
	esac
done
[ -n "$missing" ] || exit 0

echo "installing the Debian packages:$missing"
as_root=
if [ "$(id -u)" -ne 0 ]; then
	as_root=sudo
fi
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -q
# Policy 101: a package may not start a service here (sshd is only wanted as a
# program).
policy=/usr/sbin/policy-rc.d
made=
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy >/dev/null
	$as_root chmod 0755 $policy
	made=yes
fi
status=0
# shellcheck disable=SC2086 # a list of names
$as_root apt-get install -y -q --no-install-recommends $missing || status=$?
[ -z "$made" ] || $as_root rm $policy
exit $status
