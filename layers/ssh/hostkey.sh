#!/bin/sh
# Makes this machine's SSH host key, once. It is written beside its place,
# flushed and renamed, so that a power cut leaves a whole key or none.
set -eu
dir=/var/lib/ingot/ssh
key=$dir/ssh_host_ed25519_key

rm -rf "$dir"/.new.*
if ssh-keygen -y -P '' -f "$key" >/dev/null 2>&1; then
	exit 0
fi
if [ -e "$key" ]; then
	# An unreadable key locks everybody out, a new one makes clients warn.
	echo "host key $key cannot be read; making a new one" >&2
fi

umask 077
new=$(mktemp -d "$dir/.new.XXXXXX")
trap 'rm -rf "$new"' EXIT
ssh-keygen -q -t ed25519 -N '' -C '' -f "$new/key"
sync "$new/key" "$new/key.pub"
mv -f "$new/key.pub" "$key.pub"
mv -f "$new/key" "$key"
sync "$dir"
