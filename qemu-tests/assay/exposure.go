package assay

import (
	"context"
	"fmt"
	"regexp"
	"strconv"

	"ingot/layers"
)

// exposureLine is the last line of what "systemd-analyze security UNIT" prints,
// after a mark that depends on the terminal.
var exposureLine = regexp.MustCompile(`Overall exposure level for (\S+): ([0-9]+\.[0-9]) ([A-Z]+)`)

// exposure asks systemd how much a service could do to the machine.
func (s *Shell) exposure(ctx context.Context, c layers.ExposureCheck) (string, error) {
	out, err := s.Run(ctx, "systemd-analyze", "security", "--no-pager", c.Unit)
	if err != nil {
		return "", err
	}
	level, evidence, err := parseExposure(out.Stdout)
	switch {
	case err != nil:
		return clip(out.Stdout), fmt.Errorf("%w: exit %d, %s", err, out.Exit, clip(out.Stderr))
	case level > c.Max:
		return evidence, unmet("the exposure of %s is %.1f and should be at most %.1f", c.Unit, level, c.Max)
	}
	return evidence, nil
}

// parseExposure returns the level, 0.0 (tight) to 10.0, and its line.
func parseExposure(text string) (float64, string, error) {
	m := exposureLine.FindStringSubmatch(text)
	if m == nil {
		return 0, "", fmt.Errorf("systemd-analyze gives no exposure level")
	}
	level, err := strconv.ParseFloat(m[2], 64)
	return level, m[0], err
}
