package report

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"ingot/qemu-tests/verdict"
)

// TextOptions is how a terminal wants its report. The zero value is right for a
// file.
type TextOptions struct {
	// Columns is the terminal's width; 0 means 80.
	Columns int
	// Color is for terminals whose user did not set NO_COLOR.
	Color bool
	// Verbose lists what went well, too, which is one line a layer otherwise.
	Verbose bool
}

// Text writes the verdict for a terminal: first what did not pass, in full, then
// the checks by layer, and the outcome in the last lines. The error is w's.
func Text(w io.Writer, v verdict.Verdict, o TextOptions) error {
	v = printableVerdict(v)
	o.Columns = cmp.Or(o.Columns, 80)
	t := &text{TextOptions: o}
	t.failures(v)
	t.layers(v)
	if len(v.Skipped) > 0 {
		t.heading("skipped on request")
		t.para(2, strings.Join(v.Skipped, ", "))
	}
	if v.Depth != nil {
		t.depth(*v.Depth)
	}
	t.outcome(v)
	_, err := io.WriteString(w, t.String())
	return err
}

// text is a report in the making.
type text struct {
	TextOptions
	strings.Builder
}

// The colours of the marks, as SGR sequences.
const (
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	plain  = "\x1b[0m"
)

func (t *text) paint(color, s string) string {
	if !t.Color {
		return s
	}
	return color + s + plain
}

// mark is four columns that say what became of a check; yellow is what says
// nothing about the image.
func (t *text) mark(o verdict.Outcome, c verdict.Class) string {
	switch {
	case o == verdict.Passed:
		return t.paint(green, "ok  ")
	case o == verdict.Failed && c != verdict.Flake && c != verdict.Environment:
		return t.paint(red, "FAIL")
	case o == verdict.Failed:
		return t.paint(yellow, "FAIL")
	}
	return t.paint(yellow, "????")
}

// heading starts a part of the report.
func (t *text) heading(s string) {
	t.separate()
	t.para(0, s)
}

// separate leaves a line free between two parts.
func (t *text) separate() {
	if t.Len() > 0 {
		t.WriteByte('\n')
	}
}

// para writes s in lines that fit, each indented.
func (t *text) para(indent int, s string) {
	t.hang(strings.Repeat(" ", indent), indent, s)
}

// hang is para with a first line that begins with lead, which is indent wide. A
// word that is longer than a line is broken: a terminal would break it, too.
func (t *text) hang(lead string, indent int, s string) {
	room := max(t.Columns-indent, 20)
	for i, line := range strings.Split(wrap(s, room), "\n") {
		if i > 0 {
			lead = strings.Repeat(" ", indent)
		}
		t.line(lead + line)
	}
}

func (t *text) line(s string) {
	t.WriteString(strings.TrimRight(s, " "))
	t.WriteByte('\n')
}

// wrap breaks s into lines of at most room columns, between words. The library
// would also break after a hyphen, which paths and names have, so it sees
// another character of the same width, one that printable leaves nowhere.
func wrap(s string, room int) string {
	const joined = "\ue000"
	s = strings.ReplaceAll(strings.TrimRight(s, "\n"), "\t", "    ")
	return strings.ReplaceAll(ansi.Wrap(strings.ReplaceAll(s, "-", joined), room, ""), joined, "-")
}

// failures writes what did not pass, with all that is known about it.
func (t *text) failures(v verdict.Verdict) {
	if v.Error != "" {
		t.separate()
		t.hang(t.paint(yellow, "????")+" ", 5, "the assay did not get through")
		t.para(5, v.Error)
	}
	for _, r := range failures(v) {
		t.separate()
		t.hang(t.mark(r.Result, r.Class)+" ", 5, r.Title)
		t.para(5, where(r))
		if r.Problem != "" {
			t.para(5, r.Problem)
		}
		if strings.TrimSpace(r.Evidence) != "" {
			t.para(5, "evidence:")
			t.para(7, r.Evidence)
		}
	}
}

// where is what a failure is called, and whose it is.
func where(r verdict.Result) string {
	s := r.ID
	if r.Class != "" {
		s += ", " + string(r.Class)
	}
	return s + ", " + lasted(r.Seconds)
}

// layers writes the checks by layer: all of them, or those that did not pass
// and how many did.
func (t *text) layers(v verdict.Verdict) {
	list := layersOf(v)
	width := 0
	for _, l := range list {
		width = min(max(width, ansi.StringWidth(l.Name)), t.Columns/3)
	}
	for i, l := range list {
		if i == 0 || t.Verbose {
			t.separate()
		}
		pad := strings.Repeat(" ", max(width-ansi.StringWidth(l.Name), 0))
		t.hang("", 2, l.Name+pad+"  "+l.Count()+" in "+lasted(l.Seconds))
		for _, r := range l.Results {
			if t.Verbose || r.Result != verdict.Passed {
				t.check(r)
			}
		}
	}
}

// check is a check in one line where it fits: mark, time, title, and as much of
// the evidence as there is room for.
func (t *text) check(r verdict.Result) {
	const indent = 17
	lead := fmt.Sprintf("  %s %7s   ", t.mark(r.Result, r.Class), fmt.Sprintf("%.1f s", r.Seconds))
	s := strings.Join(strings.Fields(r.Title), " ")
	if room := t.Columns - indent - ansi.StringWidth(s) - 2; room >= 12 && r.Evidence != "" {
		s += "  " + ansi.Truncate(strings.Join(strings.Fields(r.Evidence), " "), room, "…")
	}
	t.hang(lead, indent, s)
}

// depth is the part of a report that is more than passed or failed. What nobody
// has answered is always said.
func (t *text) depth(d verdict.Depth) {
	t.heading(fmt.Sprintf("lynis %s: hardening index %d of 100, %d tests", d.Lynis.Version, d.Lynis.Index, d.Lynis.Tests))
	answered := 0
	for _, s := range d.Lynis.Suggestions {
		if s.Why != "" {
			answered++
		}
		if t.Verbose || s.Why == "" {
			t.para(2, strings.Join(strings.Fields(s.ID+" "+s.Text+" "+s.Details), " "))
			t.para(7, "not followed: "+cmp.Or(s.Why, "NOBODY SAID WHY"))
		}
	}
	t.para(2, fmt.Sprintf("%d of %d suggestions have the reason why they are not followed", answered, len(d.Lynis.Suggestions)))
	t.heading("exposure of the running services, 0.0 to 10.0")
	for _, e := range d.Exposure {
		socket := ""
		if e.Network {
			socket = ", has a socket to the network"
		}
		t.hang(fmt.Sprintf("  %4.1f ", e.Level), 7, e.Unit+socket)
	}
}

// outcome is the end: what was proven about which bytes, and the outcome.
func (t *text) outcome(v verdict.Verdict) {
	t.separate()
	if v.Name != "" {
		t.para(0, "image "+v.Name)
	}
	if v.ImageSHA256 != "" {
		t.para(0, "image sha256 "+v.ImageSHA256)
	}
	if v.ReadySeconds > 0 {
		t.para(0, fmt.Sprintf("WireGuard answered %.1f s after power-on (%s)", v.ReadySeconds, cmp.Or(v.Accelerator, "accelerator unknown")))
	}
	word := strings.ToUpper(outcome(v.Verdict))
	switch v.Verdict {
	case verdict.Passed:
		word = t.paint(green, word)
	case verdict.Failed:
		word = t.paint(red, word)
	default:
		word = t.paint(yellow, word)
	}
	if v.Class != "" {
		word += " (" + string(v.Class) + ")"
	}
	t.para(0, fmt.Sprintf("%s in %s: %s", word, lasted(v.Seconds), tally(v)))
}
