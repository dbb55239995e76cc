package report

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"ingot/qemu-tests/verdict"
)

// JUnit writes the verdict as JUnit XML, a test suite for each layer. The error
// is w's.
//
// There is no standard. This is what the parsers of GitLab, of Jenkins and of
// the usual GitHub actions have in common:
//   - GitLab shows classname as the suite, tells cases apart by classname and
//     name, and reads the content of failure, error and skipped, not their
//     attributes; its XML library makes a map of one without content.
//   - dorny/test-reporter groups by classname unless it is the suite's name.
//   - A report without a failure or an error is green everywhere, so one that
//     did not pass always has one.
func JUnit(w io.Writer, v verdict.Verdict) error {
	v = printableVerdict(v)
	doc := junitDocument{Name: strings.TrimSpace("ingot test " + v.Name), Time: xmlSeconds(v.Seconds)}
	for _, l := range layersOf(v) {
		doc.add(layerSuite(l, v))
	}
	if s := skippedSuite(v); s.Tests > 0 {
		doc.add(s)
	}
	if reason := unproven(v, doc); reason != "" {
		doc.add(assaySuite(v, reason))
	}
	b, err := xml.MarshalIndent(doc, "", "  ")
	if err != nil {
		return fmt.Errorf("write JUnit XML: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s%s\n", xml.Header, b)
	return err
}

type junitDocument struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Errors   int          `xml:"errors,attr"`
	Time     string       `xml:"time,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name       string          `xml:"name,attr"`
	Tests      int             `xml:"tests,attr"`
	Failures   int             `xml:"failures,attr"`
	Errors     int             `xml:"errors,attr"`
	Skipped    int             `xml:"skipped,attr"`
	Time       string          `xml:"time,attr"`
	Timestamp  string          `xml:"timestamp,attr,omitempty"`
	Properties []junitProperty `xml:"properties>property"`
	Cases      []junitCase     `xml:"testcase"`
}

type junitProperty struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitProblem `xml:"failure"`
	Error   *junitProblem `xml:"error"`
	Skipped *junitProblem `xml:"skipped"`
	Out     string        `xml:"system-out,omitempty"`
}

// junitProblem has content always, see JUnit.
type junitProblem struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Content string `xml:",chardata"`
}

func (d *junitDocument) add(s junitSuite) {
	d.Suites = append(d.Suites, s)
	d.Tests += s.Tests
	d.Failures += s.Failures
	d.Errors += s.Errors
}

func (s *junitSuite) add(c junitCase) {
	s.Cases = append(s.Cases, c)
	s.Tests++
	switch {
	case c.Failure != nil:
		s.Failures++
	case c.Error != nil:
		s.Errors++
	case c.Skipped != nil:
		s.Skipped++
	}
}

func layerSuite(l layer, v verdict.Verdict) junitSuite {
	s := newSuite(l.Name, l.Seconds, v)
	titles := map[string]int{}
	for _, r := range l.Results {
		titles[r.Title]++
	}
	for _, r := range l.Results {
		c := resultCase(r)
		// Of two cases with one name, GitLab shows the first only.
		if titles[r.Title] > 1 || r.Title == "" {
			c.Name = strings.TrimSpace(r.Title + " (" + r.ID + ")")
		}
		s.add(c)
	}
	return s
}

func newSuite(name string, seconds float64, v verdict.Verdict) junitSuite {
	s := junitSuite{Name: name, Time: xmlSeconds(seconds)}
	if !v.Started.IsZero() {
		s.Timestamp = v.Started.UTC().Format("2006-01-02T15:04:05") // the schemas allow no zone
	}
	for _, p := range []junitProperty{
		{"image_sha256", v.ImageSHA256}, {"config_sha256", v.ConfigSHA256}, {"lock_sha256", v.LockSHA256},
		{"accelerator", v.Accelerator}, {"firmware", v.Firmware}, {"verdict", string(v.Verdict)},
	} {
		if p.Value != "" {
			s.Properties = append(s.Properties, p)
		}
	}
	return s
}

// resultCase is an error, not a failure, where the image is not to blame.
func resultCase(r verdict.Result) junitCase {
	c := junitCase{Class: r.Layer, Name: r.Title, Time: xmlSeconds(r.Seconds), Out: r.ID + "\n" + r.Evidence}
	switch {
	case r.Result == verdict.Passed:
	case r.Result == verdict.Failed && r.Class != verdict.Environment:
		c.Failure = problemOf(r)
	default:
		c.Error = problemOf(r)
	}
	return c
}

func problemOf(r verdict.Result) *junitProblem {
	content := r.ID + "\n"
	if r.Problem != "" {
		content += r.Problem + "\n"
	}
	if r.Evidence != "" {
		content += "\nevidence:\n" + r.Evidence + "\n"
	}
	return &junitProblem{
		Message: cmp.Or(r.Problem, "the check did not pass"),
		Type:    cmp.Or(string(r.Class), string(r.Result)),
		Content: content,
	}
}

// skippedSuite has the checks that were left out. Nobody knows more about them
// than their id.
func skippedSuite(v verdict.Verdict) junitSuite {
	s := newSuite("skipped", 0, v)
	for _, id := range v.Skipped {
		const why = "left out on request"
		s.add(junitCase{Class: "skipped", Name: id, Time: xmlSeconds(0), Skipped: &junitProblem{Message: why, Content: why}})
	}
	return s
}

// unproven says why a verdict that is not a pass is none, where no case does.
func unproven(v verdict.Verdict, doc junitDocument) string {
	switch {
	case v.Error != "":
		return v.Error
	case v.Verdict == verdict.Passed, doc.Failures+doc.Errors > 0:
		return ""
	case len(v.Skipped) > 0:
		return "checks were skipped; a verdict without them proves nothing"
	}
	return fmt.Sprintf("the verdict is %q; it proves nothing", outcome(v.Verdict))
}

func assaySuite(v verdict.Verdict, reason string) junitSuite {
	s := newSuite("assay", 0, v)
	first, _, _ := strings.Cut(reason, "\n")
	s.add(junitCase{
		Class: "assay", Name: "the assay comes to a verdict", Time: xmlSeconds(0),
		Error: &junitProblem{Message: first, Type: cmp.Or(string(v.Class), string(v.Verdict)), Content: reason},
	})
	return s
}

func xmlSeconds(s float64) string { return fmt.Sprintf("%.3f", s) }
