# Builds the real Ignition, static, against the libblkid of a locked tree.
# TREE: compiler tree · GOROOT, GOMODCACHE: the host's, read-only ·
# MODULE: folder with the pinned go.mod and go.sum · LDFLAGS · OUT
overlay "$TREE" "$OUT/build"
root="$OUT/build/root"
api "$root"
mkdir -p "$root/run/go" "$root/run/mod" "$root/run/src" "$root/run/cache"
mount --bind "$GOROOT" "$root/run/go"
mount --bind "$GOMODCACHE" "$root/run/mod"
cp "$MODULE/go.mod" "$MODULE/go.sum" "$root/run/src/"
GOROOT=/run/go GOMODCACHE=/run/mod GOCACHE=/run/cache GOPATH=/run/gopath HOME=/run \
	GOPROXY=off GOFLAGS=-mod=mod GONOSUMDB='*' GOTOOLCHAIN=local GOTELEMETRY=off CGO_ENABLED=1 \
	chroot "$root" /bin/sh -euc '
	cd /run/src
	/run/go/bin/go build -trimpath -buildvcs=false -tags netgo,osusergo -ldflags "$1" -o /run/ignition \
		github.com/coreos/ignition/v2/internal' sh "$LDFLAGS"
cp "$root/run/ignition" "$OUT/ignition"
umount "$root/run/go" "$root/run/mod"
unapi "$root"
umount "$root"
rm -rf "$OUT/build"
