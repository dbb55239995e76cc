package report

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"ingot/qemu-tests/verdict"
)

func TestPrintable(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain, ü, 漢, “”, …":     "plain, ü, 漢, “”, …",
		"a\tb\nc\r\nd":           "a\tb\nc\nd",
		"over\rwritten":          `over\x0dwritten`,
		"\x1b[2J\x00\x7f":        `\x1b[2J\x00\x7f`,
		"\xff\xc3":               `\xff\xc3`,
		"\u0085\u202egnp\u2066":  `\u0085\u202egnp\u2066`,
		"\ufffe\U0010ffff\ufffd": "\\ufffe\\U0010ffff\ufffd",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

// hostile is a verdict whose every text is s.
func hostile(s string) verdict.Verdict {
	return verdict.Verdict{
		Verdict: verdict.Outcome(s), Class: verdict.Class(s), Name: s, ImageSHA256: s, ConfigSHA256: s, LockSHA256: s, RootHash: s,
		Accelerator: s, Reason: s, Firmware: s, Error: s, Suites: []string{s}, Skipped: []string{s},
		Checks: []verdict.Result{
			{ID: s, Layer: s, Title: s, Result: verdict.Failed, Class: verdict.Class(s), Evidence: s, Problem: s},
			{ID: "2" + s, Layer: verdict.Scenarios, Title: s, Result: verdict.Outcome(s), Evidence: s},
		},
		Timeline: []verdict.Moment{{Seconds: 1, Text: s}},
		Ports:    []verdict.Port{{Proto: s, Stranger: s, Declared: true, From: s, Why: s}, {Proto: s}},
		Depth: &verdict.Depth{
			Lynis:    verdict.Lynis{Version: s, Suggestions: []verdict.Suggestion{{ID: s, Text: s, Details: s, Why: s}}},
			Exposure: []verdict.Exposure{{Unit: s}}, SSHAudit: s,
		},
	}
}

// Whatever bytes a machine writes, and wherever they end up: the XML can be
// parsed and has them, the page has no element that the template has not, the
// terminal gets no control character.
func FuzzReports(f *testing.F) {
	for _, s := range []string{
		"", "fine", "\x00\x01\x1b[31m\x7f", "\xff\xfe", "]]>", "</failure>&<![CDATA[", "<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`,
		"</style><svg onload=alert(1)>", "\t", "<!--", "{{.}}", "\u202e\u2028\ufffe", "a\r\nb\rc", "javascript:alert(1)", strings.Repeat("long ", 200),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v := hostile(s)
		doc := junitOf(t, v)
		if got, want := doc.Suites[0].Cases[0].Failure.Message, printable(s); s != "" && got != want {
			t.Errorf("the failure's message is %q, want %q", got, want)
		}
		harmless(t, htmlOf(t, v))
		var text bytes.Buffer
		if err := Text(&text, v, TextOptions{Verbose: true}); err != nil {
			t.Fatal(err)
		}
		if !utf8.Valid(text.Bytes()) || bytes.ContainsFunc(text.Bytes(), func(r rune) bool { return r != '\n' && !unicode.IsGraphic(r) }) {
			t.Errorf("the text is not printable: %q", text.Bytes())
		}
	})
}

// Reports leave the verdict as it is.
func TestReportsChangeNothing(t *testing.T) {
	t.Parallel()
	v := hostile("\x1b")
	_, _, _ = textOf(t, v, TextOptions{}), junitOf(t, v), htmlOf(t, v)
	if v.Checks[0].Evidence != "\x1b" || !slices.Equal(v.Suites, []string{"\x1b"}) || v.Depth.SSHAudit != "\x1b" || v.Depth.Exposure[0].Unit != "\x1b" ||
		v.Ports[0].Why != "\x1b" || v.Timeline[0].Text != "\x1b" || v.Depth.Lynis.Suggestions[0].Why != "\x1b" {
		t.Error("a report has changed the verdict")
	}
}
