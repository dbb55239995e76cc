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

// otherImage has a container run a copy of its image.
const otherImage = `c=$(podman ps --quiet | head -n 1) && u=$(podman inspect --format '{{index .Config.Labels "PODMAN_SYSTEMD_UNIT"}}' "$c") &&
podman commit --quiet "$c" localhost/sabotage && d=/run/containers/systemd/${u%.service}.container.d && mkdir -p "$d" &&
printf '[Container]\nImage=localhost/sabotage\n' >"$d/sabotage.conf" && systemctl daemon-reload && systemctl restart "$u"`

// digestsCheck compares what runs with the lock.
func digestsCheck() check {
	return check{
		id: "containers.digests", layer: "containers", title: "containers run the images whose digests are in the lock", stage: inside,
		sabotage: otherImage,
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
	text := out.Stdout
	var seen []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 3 {
			return text, fmt.Errorf("podman says %q", line)
		}
		name, image, digest := f[0], f[1], f[2]
		i := slices.IndexFunc(r.id.Plan.Images, func(i layers.ContainerImage) bool { return i.Name == image })
		switch {
		case i < 0:
			return line, unmet("%s runs %s, which is no image of the plan", name, image)
		case len(r.id.Plan.Images[i].Packages) > 0:
			continue
		case r.opts.Locked[image] != digest:
			return line, unmet("%s runs %s with the digest %s, and the lock has %q", name, image, digest, r.opts.Locked[image])
		}
		seen = append(seen, name+" "+digest)
	}
	if len(seen) == 0 {
		return text, unmet("no container of an image with a digest in the lock runs")
	}
	return strings.Join(seen, ", "), nil
}
