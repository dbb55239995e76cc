package assay

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"ingot/layers"
)

// hasLocked reports whether an image has its digest in the lock. The lock of one
// that Ingot makes names its packages.
func hasLocked(plan layers.Plan) bool {
	return slices.ContainsFunc(plan.Images, func(i layers.ContainerImage) bool { return len(i.Packages) == 0 })
}

// digestsCheck compares what runs with the lock.
func digestsCheck() check {
	return check{
		id: "containers.digests", layer: "containers", title: "containers run the images whose digests are in the lock", stage: inside,
		sabotage: "systemctl stop 'container-*.service'",
		make:     func(ctx context.Context, r *run) (string, error) { return r.digests(ctx) },
	}
}

func (r *run) digests(ctx context.Context) (string, error) {
	const list = `podman ps --no-trunc --format '{{.Names}} {{.Image}} {{.ImageID}}' | while read -r name image id; do
printf '%s %s %s\n' "$name" "$image" "$(podman image inspect --format '{{.Digest}}' "$id")"; done`
	out, err := r.shell.Run(ctx, "sh", "-c", list)
	if err != nil {
		return "", err
	}
	return sameDigests(out.Stdout, r.id.Plan.Images, r.opts.Locked)
}

// sameDigests compares a list of containers, each with the name and the digest of its
// image, with the lock.
func sameDigests(text string, images []layers.ContainerImage, locked map[string]string) (string, error) {
	var seen []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 3 {
			return text, fmt.Errorf("podman says %q", line)
		}
		name, image, digest := f[0], f[1], f[2]
		i := slices.IndexFunc(images, func(i layers.ContainerImage) bool { return i.Name == image })
		switch {
		case i < 0:
			return line, unmet("%s runs %s, which is no image of the plan", name, image)
		case len(images[i].Packages) > 0:
			continue
		case locked[image] != digest:
			return line, unmet("%s runs %s with the digest %s, and the lock has %q", name, image, digest, locked[image])
		}
		seen = append(seen, name+" "+digest)
	}
	if len(seen) == 0 {
		return text, unmet("no container of an image with a digest in the lock runs")
	}
	return strings.Join(seen, ", "), nil
}
