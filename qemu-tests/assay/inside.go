package assay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"ingot/layers"
)

// errUnmet is the answer of a check that was made and did not hold, as opposed
// to one that could not be made.
var errUnmet = errors.New("")

func unmet(format string, a ...any) error { return fmt.Errorf(format+"%w", append(a, errUnmet)...) }

// inside evaluates a check that needs a shell on the machine. Evidence is what
// was seen.
func (s *Shell) inside(ctx context.Context, c layers.Check, ports []layers.Port) (evidence string, err error) {
	switch {
	case c.Sysctl != nil:
		return s.sysctl(ctx, *c.Sysctl)
	case c.File != nil:
		return s.file(ctx, *c.File)
	case c.Unit != nil:
		return s.unit(ctx, *c.Unit)
	case c.Command != nil:
		return s.command(ctx, *c.Command)
	case c.Listener != nil:
		return s.listeners(ctx, *c.Listener, ports)
	case c.Exposure != nil:
		return s.exposure(ctx, *c.Exposure)
	}
	return "", fmt.Errorf("check %s has no verb", c.ID)
}

func (s *Shell) sysctl(ctx context.Context, c layers.SysctlCheck) (string, error) {
	out, err := s.Run(ctx, "sysctl", "-n", c.Key)
	if err != nil {
		return "", err
	}
	got := strings.Join(strings.Fields(out.Stdout), " ")
	evidence := c.Key + " = " + got
	if want := strings.Join(strings.Fields(c.Value), " "); got != want {
		return evidence, unmet("%s is %q and should be %q", c.Key, got, want)
	}
	return evidence, nil
}

func (s *Shell) unit(ctx context.Context, c layers.UnitCheck) (string, error) {
	var seen []string
	for _, q := range []struct{ verb, want string }{{"is-active", c.State}, {"is-enabled", c.Enabled}} {
		if q.want == "" {
			continue
		}
		out, err := s.Run(ctx, "systemctl", q.verb, c.Name)
		if err != nil {
			return "", err
		}
		got := cmp.Or(strings.TrimSpace(out.Stdout), clip(out.Stderr))
		if got != q.want {
			return got, unmet("%s is %s and should be %s", c.Name, got, q.want)
		}
		seen = append(seen, got)
	}
	return c.Name + " is " + strings.Join(seen, " and "), nil
}

func (s *Shell) command(ctx context.Context, c layers.CommandCheck) (string, error) {
	out, err := s.Run(ctx, c.Argv...)
	if err != nil {
		return "", err
	}
	evidence := clip(out.Stdout)
	switch {
	case out.Exit != c.Exit:
		return evidence, unmet("%s ended with %d and should end with %d: %s", c.Argv[0], out.Exit, c.Exit, clip(out.Stdout+out.Stderr))
	case c.Contains != "" && !strings.Contains(out.Stdout, c.Contains):
		return evidence, unmet("%s does not print %q but %s", c.Argv[0], c.Contains, evidence)
	case c.Lacks != "" && strings.Contains(out.Stdout, c.Lacks):
		return evidence, unmet("%s prints %q", c.Argv[0], c.Lacks)
	case c.Silent && strings.TrimSpace(out.Stdout) != "":
		return evidence, unmet("%s prints %s and should print nothing", c.Argv[0], evidence)
	}
	return evidence, nil
}

func (s *Shell) file(ctx context.Context, c layers.FileCheck) (string, error) {
	out, err := s.Run(ctx, "stat", "-c", "%U:%G %a %F", "--", c.Path)
	if err != nil {
		return "", err
	}
	if out.Exit != 0 {
		return "", unmet("%s: %s", c.Path, clip(out.Stderr))
	}
	evidence := c.Path + " " + strings.TrimSpace(out.Stdout)
	f := strings.Fields(out.Stdout)
	if c.Owner != "" && f[0] != c.Owner {
		return evidence, unmet("%s belongs to %s and should belong to %s", c.Path, f[0], c.Owner)
	}
	if mode := strconv.FormatInt(int64(c.Mode), 8); c.Mode != 0 && f[1] != mode {
		return evidence, unmet("%s has mode %s and should have %s", c.Path, f[1], mode)
	}
	if c.Contains != "" {
		out, err := s.Run(ctx, "grep", "-qF", "--", c.Contains, c.Path)
		if err != nil || out.Exit != 0 {
			return evidence, errors.Join(err, unmet("%s does not contain %q", c.Path, c.Contains))
		}
	}
	if c.ReadOnly {
		return evidence + ", read-only", s.refusesWrites(ctx, c.Path)
	}
	return evidence, nil
}

// refusesWrites tries to write as root: a new file in a folder, or the file
// itself with its own content.
func (s *Shell) refusesWrites(ctx context.Context, path string) error {
	const try = `if [ -d "$1" ]; then : >"$1/.ingot-assay"; else : >>"$1"; fi`
	out, err := s.Run(ctx, "sh", "-c", try, "sh", path)
	if err != nil {
		return err
	}
	if out.Exit == 0 {
		return unmet("root could write to %s", path)
	}
	if !strings.Contains(out.Stderr, "Read-only file system") {
		return unmet("%s refused the write for another reason than being read-only: %s", path, clip(out.Stderr))
	}
	return nil
}

// clip keeps evidence readable: the first 300 bytes on one line.
func clip(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 300 {
		s = s[:300] + "…"
	}
	return s
}
