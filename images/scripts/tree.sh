# Installs packages into a tree.
# OUT: where · REPO: local repository · SUITE · VARIANT: mmdebstrap's ·
# PACKAGES: names, comma-separated · ACCOUNTS: folder with passwd and group, or empty
#
# INITRD=No keeps the kernel's maintainer script from making an initrd that
# nobody boots.
export INITRD=No
mkdir -p "$OUT/tree"
set --
if [ -n "$ACCOUNTS" ]; then
	# Before the first maintainer script: those find their account and keep it.
	set -- --extract-hook="mkdir -p \"\$1/etc\" && cp $ACCOUNTS/passwd $ACCOUNTS/group \"\$1/etc/\""
fi
mmdebstrap --mode=root --variant="$VARIANT" --format=directory --quiet \
	--aptopt='APT::Install-Recommends "false"' \
	--dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/info/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	--dpkgopt='path-exclude=/usr/share/lintian/*' \
	--dpkgopt='path-exclude=/usr/share/doc/*' \
	--dpkgopt='path-include=/usr/share/doc/*/copyright' \
	--include="$PACKAGES" "$@" \
	"$SUITE" "$OUT/tree" "deb [trusted=yes] copy:$REPO ./"
# What is of this machine and this run: nodes that only root can make, where the
# repository was, the machine's name and resolver, and folders that apt gives to the
# account _apt of whoever builds.
rm -rf "$OUT/tree/dev" "$OUT/tree/etc/apt/sources.list" "$OUT/tree/etc/hostname" "$OUT/tree/etc/resolv.conf" \
	"$OUT/tree/var/cache/apt/archives/partial" "$OUT/tree/var/lib/apt/lists/partial"
mkdir "$OUT/tree/dev"
