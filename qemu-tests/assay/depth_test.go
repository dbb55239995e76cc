package assay

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ingot/qemu-tests/verdict"
)

const lynisReport = `# Lynis Report
report_version_major=1
lynis_version=3.1.4
suggestion[]=LYNIS|This release is more than 4 months old.|-|-|
suggestion[]=X-0001|Do something|of this kind|text:more|
warning[]=X-0002|Something is wrong|-|-|
lynis_tests_done=240
hardening_index=91
finish=true
`

func TestParseLynis(t *testing.T) {
	t.Parallel()
	l, err := parseLynis(lynisReport)
	if err != nil {
		t.Fatal(err)
	}
	if l.Index != 91 || l.Tests != 240 || l.Version != "3.1.4" || len(l.Suggestions) != 3 {
		t.Errorf("read %+v", l)
	}
	if s := l.Suggestions[1]; s.ID != "X-0001" || s.Details != "of this kind" || s.Warning || s.Why != "" {
		t.Errorf("read %+v", s)
	}
	if !l.Suggestions[2].Warning || l.Suggestions[0].Why == "" {
		t.Errorf("read %+v", l.Suggestions)
	}
	for _, line := range []string{"finish=true\n", "hardening_index=91\n", "lynis_tests_done=240\n"} {
		if _, err := parseLynis(strings.Replace(lynisReport, line, "", 1)); err == nil {
			t.Errorf("takes a report without %s", line)
		}
	}
}

func TestJudgeLynis(t *testing.T) {
	t.Parallel()
	explained := verdict.Suggestion{ID: "A-1", Why: "not here"}
	for _, c := range []struct {
		report  verdict.Lynis
		problem string // empty: passes
	}{
		{verdict.Lynis{Index: lynisGoal, Suggestions: []verdict.Suggestion{explained}}, ""},
		{verdict.Lynis{Index: lynisGoal - 1}, "goal"},
		{verdict.Lynis{Index: 100, Suggestions: []verdict.Suggestion{explained, {ID: "B-2", Text: "Lock it"}}}, "B-2 Lock it"},
	} {
		_, err := judgeLynis(c.report)
		if c.problem == "" && err != nil || c.problem != "" && (!errors.Is(err, errUnmet) || !strings.Contains(err.Error(), c.problem)) {
			t.Errorf("%+v: %v, want %q", c.report, err, c.problem)
		}
	}
}

// An explanation of nothing, or one that another hides, is a mistake.
func TestExplanations(t *testing.T) {
	t.Parallel()
	for i, e := range explanations {
		if e.id == "" || e.why == "" {
			t.Errorf("%+v explains nothing", e)
		}
		hidden := func(other explanation) bool {
			return other.id == e.id && strings.Contains(e.about, other.about)
		}
		if slices.ContainsFunc(explanations[:i], hidden) {
			t.Errorf("%+v is never reached", e)
		}
	}
}

func TestPackLynis(t *testing.T) {
	t.Parallel()
	tree := t.TempDir()
	for _, name := range []string{"usr/sbin/lynis", "etc/lynis/default.prf", "usr/share/lynis/include/tests_x", "usr/share/lynis/db/y.db"} {
		if err := os.MkdirAll(filepath.Join(tree, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(tree, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var archive bytes.Buffer
	if err := packLynis(&archive, tree); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for r := tar.NewReader(&archive); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(r)
		got[h.Name] = string(b)
	}
	for name, from := range map[string]string{
		"lynis": "usr/sbin/lynis", "default.prf": "etc/lynis/default.prf",
		"bin/veritysetup": veritySetup, "include/tests_x": "usr/share/lynis/include/tests_x", "db/y.db": "usr/share/lynis/db/y.db",
	} {
		if got[name] != from {
			t.Errorf("%s holds %q, want %q; all: %v", name, got[name], from, got)
		}
	}
	if err := packLynis(io.Discard, t.TempDir()); err == nil {
		t.Error("packs a tree without lynis")
	}
}

func TestJudgeSSHAudit(t *testing.T) {
	t.Parallel()
	const good = "# general\n(gen) banner: SSH-2.0-OpenSSH_10.0\n(kex) a -- [info] x\n(key) b -- [info] x\n(enc) c -- [info] x\n(mac) d -- [info] x\n"
	if _, err := judgeSSHAudit(good); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"(enc) e -- [warn] old\n", "(mac) f -- [fail] broken\n", "                  `- [warn] old\n"} {
		if _, err := judgeSSHAudit(good + bad); !errors.Is(err, errUnmet) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := judgeSSHAudit("(gen) banner\n"); err == nil {
		t.Error("takes a run that saw no algorithms")
	}
}

func TestExposures(t *testing.T) {
	t.Parallel()
	list := parseExposures("UNIT                  EXPOSURE PREDICATE HAPPY\na.service                  2.8 OK        🙂\nssh.service                9.6 UNSAFE    😨\nb.service                  9.6 UNSAFE    😨\n")
	if len(list) != 3 || list[2] != (verdict.Exposure{Unit: "b.service", Level: 9.6}) {
		t.Fatalf("read %+v", list)
	}
	list[0].Network, list[1].Network = true, true
	if _, err := judgeExposure(list); err != nil {
		t.Error(err)
	}
	list[2].Network = true
	if _, err := judgeExposure(list); !errors.Is(err, errUnmet) || !strings.Contains(err.Error(), "b.service") {
		t.Errorf("an exposed service with a socket: %v", err)
	}
}
