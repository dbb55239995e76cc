package assay

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"ingot/qemu-tests/verdict"
)

// lynisGoal is the hardening index to reach (issue 3).
const lynisGoal = 88

// lynisTime is how long an audit may take under KVM. Under TCG on two idle
// processors it took 3 to 5 minutes; on two busy ones 18 were too few.
const lynisTime = 6 * time.Minute

// lynisDir is in the machine's memory.
const lynisDir = "/run/lynis"

// lynis brings lynis to the machine, runs it there and takes its report home.
func (r *run) lynis(ctx context.Context) (verdict.Lynis, error) {
	ctx, cancel := context.WithTimeout(ctx, r.lab.Timeout(lynisTime))
	defer cancel()
	var archive bytes.Buffer
	if err := packLynis(&archive, r.opts.Audit); err != nil {
		return verdict.Lynis{}, err
	}
	// lynis does not start without a folder for plugins, empty or not.
	unpack := "mkdir -p " + lynisDir + "/plugins && tar -x -o -C " + lynisDir
	if out, err := r.shell.Feed(ctx, &archive, "sh", "-c", unpack); err != nil || out.Exit != 0 {
		return verdict.Lynis{}, fmt.Errorf("bring lynis to the machine: %v %s", err, clip(out.Stderr))
	}
	const audit = "cd " + lynisDir + " && PATH=" + lynisDir + "/bin:$PATH exec sh ./lynis audit system --no-colors --quick --quiet --no-plugins" +
		" --report-file " + lynisDir + "/lynis-report.dat --logfile " + lynisDir + "/lynis.log"
	out, err := r.shell.Run(ctx, "sh", "-c", audit)
	// What it finds is in the report; the exit code is about itself.
	if err != nil || out.Exit != 0 {
		return verdict.Lynis{}, fmt.Errorf("run lynis: %v exit %d, %s", err, out.Exit, clip(out.Stdout+out.Stderr))
	}
	for _, name := range []string{"lynis.log", "lynis-report.dat"} {
		if out, err = r.shell.Run(ctx, "cat", lynisDir+"/"+name); err != nil || out.Exit != 0 {
			return verdict.Lynis{}, fmt.Errorf("take lynis' report home: %v %s", err, clip(out.Stderr))
		}
		if err := os.WriteFile(filepath.Join(r.opts.Dir, name), []byte(out.Stdout), 0o644); err != nil {
			return verdict.Lynis{}, err
		}
	}
	if out, err := r.shell.Run(ctx, "rm", "-r", lynisDir); err != nil || out.Exit != 0 {
		return verdict.Lynis{}, fmt.Errorf("remove lynis: %v %s", err, clip(out.Stderr))
	}
	return parseLynis(out.Stdout)
}

// veritySetup answers "veritysetup status DEVICE" with what the kernel says of
// the device. lynis asks that program what protects the root, and the image
// does not have it.
const veritySetup = `#!/bin/sh
case $(cat "/sys/block/$(basename "$(readlink -f "$2")")/dm/uuid") in
CRYPT-VERITY-*) echo "  type:        VERITY" ;;
esac
`

// packLynis makes the archive of lynis as its own release has it: the script
// beside its folders. Everything is root's, which lynis insists on.
func packLynis(w io.Writer, tree string) error {
	t := tar.NewWriter(w)
	for _, part := range []struct{ from, to string }{
		{"usr/sbin/lynis", "lynis"},
		{"etc/lynis/default.prf", "default.prf"},
		{"usr/share/lynis/include", "include"},
		{"usr/share/lynis/db", "db"},
	} {
		root := filepath.Join(tree, part.from)
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			name := filepath.Join(part.to, strings.TrimPrefix(path, root))
			if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(b))}); err != nil {
				return err
			}
			_, err = t.Write(b)
			return err
		})
		if err != nil {
			return fmt.Errorf("pack lynis: %w", err)
		}
	}
	if err := t.WriteHeader(&tar.Header{Name: "bin/veritysetup", Mode: 0o700, Size: int64(len(veritySetup))}); err != nil {
		return err
	}
	if _, err := io.WriteString(t, veritySetup); err != nil {
		return err
	}
	return t.Close()
}

// parseLynis reads lynis-report.dat: lines of key=value, where a list's key
// ends in [] and its values have fields between bars.
func parseLynis(report string) (verdict.Lynis, error) {
	var l verdict.Lynis
	index, finished := "", false
	for line := range strings.Lines(report) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "lynis_version":
			l.Version = value
		case "hardening_index":
			index = value
		case "lynis_tests_done":
			l.Tests, _ = strconv.Atoi(value) // 0 is refused below
		case "finish":
			finished = value == "true"
		case "suggestion[]", "warning[]":
			f := append(strings.Split(value, "|"), "", "")
			s := verdict.Suggestion{ID: f[0], Text: f[1], Details: strings.Trim(f[2], "-"), Warning: key == "warning[]"}
			s.Why = explain(s)
			l.Suggestions = append(l.Suggestions, s)
		}
	}
	var err error
	if l.Index, err = strconv.Atoi(index); err != nil || !finished || l.Tests == 0 {
		return l, fmt.Errorf("the report of lynis is not complete: index %q, %d tests, finished %v", index, l.Tests, finished)
	}
	return l, nil
}

// explain finds why a suggestion is not followed.
func explain(s verdict.Suggestion) string {
	for _, e := range explanations {
		if e.id == s.ID && strings.Contains(s.Text+" "+s.Details, e.about) {
			return e.why
		}
	}
	return ""
}

// judge wants a high index and a reason for each thing that is left.
func judgeLynis(l verdict.Lynis) (string, error) {
	ids := make([]string, len(l.Suggestions))
	var unexplained []string
	for i, s := range l.Suggestions {
		ids[i] = s.ID
		if s.Why == "" {
			unexplained = append(unexplained, fmt.Sprintf("%s %s %s", s.ID, s.Text, s.Details))
		}
	}
	slices.Sort(ids)
	evidence := fmt.Sprintf("hardening index %d of 100, lynis %s, %d tests, %d suggestions: %s",
		l.Index, l.Version, l.Tests, len(ids), orNone(slices.Compact(ids)))
	switch {
	case l.Index < lynisGoal:
		return evidence, unmet("the hardening index is %d, the goal %d; unexplained: %s", l.Index, lynisGoal, orNone(unexplained))
	case len(unexplained) > 0:
		return evidence, unmet("nobody said why these are not followed: %s", strings.Join(unexplained, "; "))
	}
	return evidence, nil
}
