package assay

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"ingot/layers"
)

// A stranger's packets, and how many lines about them are too many. The flood is
// of 1,000 ports, each asked three times.
const (
	unopenedPort = 9 // discard: nobody offers it
	floodFrom    = 20000
	floodPorts   = 1000
	maxLogged    = 100
)

// limitTime is how long the log's limit keeps a line back after a flood, and some
// more: ten a minute are let through.
const limitTime = 12 * time.Second

// dropLog knocks at a closed door until the log has it, then at many.
func (r *run) dropLog(ctx context.Context, c layers.DropLogCheck) (string, error) {
	if err := r.awaitDrop(ctx, c.Prefix); err != nil {
		return "", err
	}
	before, err := r.countLines(ctx, c.Prefix)
	if err != nil {
		return "", err
	}
	var ports []uint16
	for i := range floodPorts {
		ports = append(ports, uint16(floodFrom+i))
	}
	if _, err := r.lab.Internet.ScanTCP(ctx, r.lab.Machine.IPv4(), ports); err != nil {
		return "", err
	}
	after, err := r.countLines(ctx, c.Prefix)
	if err != nil {
		return "", err
	}
	evidence := fmt.Sprintf("logged, and %d lines more of a flood of %d packets", after-before, 3*floodPorts)
	if after-before > maxLogged {
		return evidence, unmet("a flood of %d packets makes %d lines in the log", 3*floodPorts, after-before)
	}
	return evidence, nil
}

func (r *run) awaitDrop(ctx context.Context, prefix string) error {
	ctx, cancel := context.WithTimeout(ctx, limitTime+r.lab.Timeout(2*time.Second))
	defer cancel()
	line := fmt.Sprintf("DPT=%d ", unopenedPort)
	before, err := r.countLines(ctx, prefix, line)
	if err != nil {
		return err
	}
	for {
		if _, err := r.lab.Internet.ScanTCP(ctx, r.lab.Machine.IPv4(), []uint16{unopenedPort}); err != nil {
			if ctx.Err() != nil {
				return unmet("a packet to port %d is not in the log", unopenedPort)
			}
			return err
		}
		n, err := r.countLines(context.WithoutCancel(ctx), prefix, line)
		switch {
		case err != nil:
			return err
		case n > before:
			return nil
		case ctx.Err() != nil:
			return unmet("a packet to port %d is not in the log", unopenedPort)
		}
	}
}

// countLines counts the lines of the kernel's log that hold all texts.
func (r *run) countLines(ctx context.Context, texts ...string) (int, error) {
	const program = `said=$(journalctl --boot --dmesg --output=cat) || exit 1
for text; do said=$(printf '%s\n' "$said" | grep -F -e "$text"); done
printf '%s' "$said" | grep -c ""; :`
	ctx, cancel := context.WithTimeout(ctx, r.lab.Timeout(10*time.Second))
	defer cancel()
	out, err := r.shell.Run(ctx, append([]string{"sh", "-c", program, "sh"}, texts...)...)
	if err != nil {
		return 0, err
	}
	if out.Exit != 0 {
		return 0, fmt.Errorf("read the kernel's log: %s", clip(out.Stderr))
	}
	return strconv.Atoi(strings.TrimSpace(out.Stdout))
}
