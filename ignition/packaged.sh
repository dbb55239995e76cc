#!/bin/sh
# Does to the files of packages what an Ingot image build does to its tree, at
# every boot, since an upgrade brings them back: removes what is listed, takes
# the set-user-ID and set-group-ID bits from all that are not listed, and keeps
# units from starting that a package enabled and no layer.
set -eu
lists=/usr/lib/ingot/packaged

if [ -e $lists/removed ]; then
	while IFS= read -r pattern; do
		(
			IFS= # the pattern is expanded and not split
			for found in $pattern; do rm -rf -- "$found"; done
		)
	done <$lists/removed
fi
if [ -e $lists/suid ]; then
	find / -xdev -type f -perm /6000 >/run/ingot-suid
	while IFS= read -r found; do
		grep -qxF -e "$found" $lists/suid || chmod ug-s -- "$found"
	done </run/ingot-suid
fi
if [ -e $lists/off ]; then
	while IFS= read -r unit; do
		# Others are static, and wanted by what they belong to.
		[ "$(systemctl is-enabled -- "$unit" 2>/dev/null)" = enabled ] || continue
		systemctl disable --quiet -- "$unit"
		# Its start is queued, as this boot began with it enabled.
		systemctl stop --no-block -- "$unit"
	done <$lists/off
fi
