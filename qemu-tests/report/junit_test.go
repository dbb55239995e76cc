package report

import (
	"bytes"
	"encoding/xml"
	"slices"
	"strings"
	"testing"

	"ingot/qemu-tests/verdict"
)

func junitOf(t testing.TB, v verdict.Verdict) junitDocument {
	t.Helper()
	var b bytes.Buffer
	if err := JUnit(&b, v); err != nil {
		t.Fatal(err)
	}
	var doc junitDocument
	if err := xml.Unmarshal(b.Bytes(), &doc); err != nil {
		t.Fatalf("%v:\n%s", err, b.Bytes())
	}
	return doc
}

func (d junitDocument) find(t *testing.T, class, name string) junitCase {
	t.Helper()
	for _, s := range d.Suites {
		if i := slices.IndexFunc(s.Cases, func(c junitCase) bool { return c.Class == class && strings.HasPrefix(c.Name, name) }); i >= 0 {
			return s.Cases[i]
		}
	}
	t.Fatalf("there is no case %s: %s", class, name)
	return junitCase{}
}

func TestJUnitClasses(t *testing.T) {
	t.Parallel()
	v := sample(t, "failed")
	v.Checks = append(v.Checks, verdict.Result{ID: "admin.x", Layer: "admin", Title: "in the way", Result: verdict.Failed, Class: verdict.Environment})
	doc := junitOf(t, v)
	problem := func(c junitCase) (string, *junitProblem) {
		switch {
		case c.Failure != nil:
			return "failure", c.Failure
		case c.Error != nil:
			return "error", c.Error
		case c.Skipped != nil:
			return "skipped", c.Skipped
		}
		return "passed", &junitProblem{}
	}
	for _, c := range []struct{ class, name, element, kind, message, content string }{
		{"internet", "TCP over ipv4", "failure", "product", "TCP 8080 answers", "8080: HTTP/1.1 200 OK"},
		{"nftables", "a stranger's ping", "failure", "flake", "an answer came", "no answer"},
		{"kernel", "the kernel is locked down", "error", "environment", "the tunnel was gone", "/sys/kernel/security"},
		{"admin", "in the way", "error", "environment", "", "admin.x"},
		{"scenarios", "a power cut", "failure", "product", "half an identity", "cut after"},
		{"skipped", "fail2ban.ban", "skipped", "", "left out", "left out"},
		{"internet", "UDP over ipv4", "passed", "", "", ""},
	} {
		element, p := problem(doc.find(t, c.class, c.name))
		if element != c.element || p.Type != c.kind || !strings.Contains(p.Message, c.message) || !strings.Contains(p.Content, c.content) {
			t.Errorf("%s: %s is %s %+v", c.class, c.name, element, p)
		}
	}
	if out := doc.find(t, "internet", "UDP over ipv4").Out; !strings.Contains(out, "internet.udp-ipv4\n65535 ports probed") {
		t.Errorf("the evidence of a passed check is %q", out)
	}
}

// The counts are those of the cases: some parsers read only one of the two.
func TestJUnitCounts(t *testing.T) {
	t.Parallel()
	for _, name := range samples {
		doc := junitOf(t, sample(t, name))
		var tests, failures, errors int
		for _, s := range doc.Suites {
			var got junitSuite
			for _, c := range s.Cases {
				got.add(c)
			}
			if got.Tests != s.Tests || got.Failures != s.Failures || got.Errors != s.Errors || got.Skipped != s.Skipped {
				t.Errorf("%s: suite %s says %d, %d, %d, %d and has %d, %d, %d, %d", name, s.Name,
					s.Tests, s.Failures, s.Errors, s.Skipped, got.Tests, got.Failures, got.Errors, got.Skipped)
			}
			tests, failures, errors = tests+got.Tests, failures+got.Failures, errors+got.Errors
		}
		if doc.Tests != tests || doc.Failures != failures || doc.Errors != errors {
			t.Errorf("%s: the document says %d, %d, %d and has %d, %d, %d", name, doc.Tests, doc.Failures, doc.Errors, tests, failures, errors)
		}
	}
}

// CI is green for a pass and for nothing else.
func TestJUnitIsGreenForAPassOnly(t *testing.T) {
	t.Parallel()
	held := verdict.Result{ID: "a.b", Layer: "a", Title: "holds", Result: verdict.Passed}
	with := func(o verdict.Outcome, c verdict.Class) verdict.Result {
		return verdict.Result{ID: "a.c", Layer: "a", Title: "another", Result: o, Class: c}
	}
	for name, c := range map[string]struct {
		v     verdict.Verdict
		green bool
	}{
		"passed":      {verdict.Verdict{Checks: []verdict.Result{held}}, true},
		"failed":      {verdict.Verdict{Checks: []verdict.Result{held, with(verdict.Failed, verdict.Product)}}, false},
		"a flake":     {verdict.Verdict{Checks: []verdict.Result{held, with(verdict.Failed, verdict.Flake)}}, false},
		"not made":    {verdict.Verdict{Checks: []verdict.Result{held, with(verdict.Errored, verdict.Environment)}}, false},
		"no class":    {verdict.Verdict{Checks: []verdict.Result{held, with("", "")}}, false},
		"skipped":     {verdict.Verdict{Checks: []verdict.Result{held}, Skipped: []string{"a.d"}}, false},
		"no checks":   {verdict.Verdict{}, false},
		"interrupted": {verdict.Verdict{Checks: []verdict.Result{held}, Error: "interrupted"}, false},
	} {
		c.v.Conclude()
		doc := junitOf(t, c.v)
		if green := doc.Failures+doc.Errors == 0; green != c.green {
			t.Errorf("%s: green is %t", name, green)
		}
	}
	skipped := junitOf(t, verdict.Verdict{Verdict: verdict.Incomplete, Checks: []verdict.Result{held}, Skipped: []string{"a.d"}})
	if c := skipped.find(t, "assay", "the assay comes"); !strings.Contains(c.Error.Message, "checks were skipped") {
		t.Errorf("a skipped check makes %q", c.Error.Message)
	}
	if doc := junitOf(t, verdict.Verdict{Checks: []verdict.Result{held}}); doc.Errors == 0 {
		t.Error("a verdict that was never concluded is green")
	}
}

// GitLab drops all but the first of the cases with one classname and name, and
// takes an element without text for a map.
func TestJUnitForGitLab(t *testing.T) {
	t.Parallel()
	twins := verdict.Verdict{Checks: []verdict.Result{
		{ID: "a.1", Layer: "a", Title: "the same", Result: verdict.Failed},
		{ID: "a.2", Layer: "a", Title: "the same", Result: verdict.Errored},
	}}
	for _, v := range []verdict.Verdict{twins, sample(t, "passed"), sample(t, "failed"), sample(t, "error"), {}} {
		seen := map[[2]string]bool{}
		for _, s := range junitOf(t, v).Suites {
			for _, c := range s.Cases {
				key := [2]string{c.Class, c.Name}
				if seen[key] {
					t.Errorf("two cases are called %q", key)
				}
				seen[key] = true
				for _, p := range []*junitProblem{c.Failure, c.Error, c.Skipped} {
					if p != nil && strings.TrimSpace(p.Content) == "" {
						t.Errorf("%q has a problem without text", key)
					}
				}
			}
		}
	}
}
