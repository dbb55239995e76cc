#!/bin/sh
# Does to what packages bring what an Ingot image build does to its tree, at
# every boot, since an upgrade brings it back: keeps units from starting that a
# package enabled and no layer, removes the files that are listed, and takes the
# set-user-ID and set-group-ID bits from all that are not.
set -eu
lists=/usr/lib/ingot/packaged
failed=0

if [ -e $lists/off ]; then
	while IFS= read -r unit; do
		# Others are static, and wanted by what they belong to.
		[ "$(systemctl is-enabled -- "$unit" 2>/dev/null)" = enabled ] || continue
		systemctl disable --quiet -- "$unit" || failed=1
		# Its start is queued, as this boot began with it enabled.
		systemctl stop --no-block -- "$unit" || failed=1
	done <$lists/off
fi
if [ -e $lists/removed ]; then
	while IFS= read -r pattern; do
		(
			IFS= # the pattern is expanded and not split
			for found in $pattern; do rm -rf -- "$found"; done
		)
	done <$lists/removed
fi
if [ -e $lists/suid ]; then
	# A file that goes while find looks at it is no failure.
	find / -xdev -type f -perm /6000 >/run/ingot-suid 2>/run/ingot-suid.errors || ! grep -v 'No such file' /run/ingot-suid.errors
	while IFS= read -r found; do
		grep -qxF -e "$found" $lists/suid || chmod ug-s -- "$found" || failed=1
	done </run/ingot-suid
fi
exit $failed
