package assay

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"ingot/layers"
	"ingot/qemu-tests/verdict"
)

// measureExposure lists the running services.
func (s *Shell) measureExposure(ctx context.Context) ([]verdict.Exposure, error) {
	out, err := s.Run(ctx, "systemd-analyze", "security", "--no-pager")
	if err != nil {
		return nil, err
	}
	list := parseExposures(out.Stdout)
	if len(list) == 0 {
		return nil, fmt.Errorf("systemd-analyze security lists no service: %s", clip(out.Stdout+out.Stderr))
	}
	// The cgroup of each process with an Internet socket ends in its unit.
	const units = `ss -Htunlp | grep -o 'pid=[0-9]*' | sort -u | while IFS== read -r _ pid; do sed 's|.*/||' "/proc/$pid/cgroup"; done`
	if out, err = s.Run(ctx, "sh", "-c", units); err != nil {
		return nil, err
	}
	networked := strings.Fields(out.Stdout)
	for i := range list {
		list[i].Network = slices.Contains(networked, list[i].Unit)
	}
	return list, nil
}

// parseExposures reads the table of "systemd-analyze security".
func parseExposures(table string) []verdict.Exposure {
	var list []verdict.Exposure
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 3 || !strings.HasSuffix(f[0], ".service") {
			continue
		}
		if level, err := strconv.ParseFloat(f[1], 64); err == nil {
			list = append(list, verdict.Exposure{Unit: f[0], Level: level})
		}
	}
	return list
}

// judgeExposure wants every service with a socket to be in a sandbox, but one:
// a session of sshd is an administrator who needs all of the system.
func judgeExposure(list []verdict.Exposure) (string, error) {
	var seen, exposed []string
	for _, e := range list {
		if !e.Network {
			continue
		}
		seen = append(seen, fmt.Sprintf("%s %.1f", e.Unit, e.Level))
		if e.Level > layers.MaxExposure && e.Unit != "ssh.service" {
			exposed = append(exposed, fmt.Sprintf("%s is exposed at %.1f", e.Unit, e.Level))
		}
	}
	evidence := fmt.Sprintf("%d services, with sockets: %s", len(list), orNone(seen))
	if len(exposed) > 0 {
		return evidence, unmet("more than %.1f: %s", layers.MaxExposure, strings.Join(exposed, ", "))
	}
	return evidence, nil
}
