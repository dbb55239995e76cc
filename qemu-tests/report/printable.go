package report

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"ingot/qemu-tests/verdict"
)

// printable makes the bytes that a machine wrote harmless and visible: a
// terminal would obey escape sequences, XML has no way to write most control
// characters, and marks of direction can make a text read as another. What
// cannot be shown becomes \x1b, \u202e or the like. Line ends become \n.
func printable(s string) string {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	var out strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&out, `\x%02x`, s[0])
		case r == '\n', r == '\t', unicode.IsGraphic(r):
			out.WriteRune(r)
		case r < 0x80:
			fmt.Fprintf(&out, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			fmt.Fprintf(&out, `\U%08x`, r)
		}
		s = s[n:]
	}
	return out.String()
}

// printableVerdict is a copy of which every text is printable.
func printableVerdict(v verdict.Verdict) verdict.Verdict {
	v.Verdict, v.Class = verdict.Outcome(printable(string(v.Verdict))), verdict.Class(printable(string(v.Class)))
	for _, s := range []*string{&v.Name, &v.ImageSHA256, &v.ConfigSHA256, &v.LockSHA256, &v.RootHash, &v.Accelerator, &v.Reason, &v.Firmware, &v.Error} {
		*s = printable(*s)
	}
	v.Suites, v.Skipped = printables(v.Suites), printables(v.Skipped)
	v.Checks = slices.Clone(v.Checks)
	for i := range v.Checks {
		v.Checks[i] = printableResult(v.Checks[i])
	}
	v.Timeline = slices.Clone(v.Timeline)
	for i := range v.Timeline {
		v.Timeline[i].Text = printable(v.Timeline[i].Text)
	}
	v.Ports = slices.Clone(v.Ports)
	for i := range v.Ports {
		p := &v.Ports[i]
		p.Proto, p.Stranger, p.From, p.Why = printable(p.Proto), printable(p.Stranger), printable(p.From), printable(p.Why)
	}
	if v.Depth != nil {
		d := printableDepth(*v.Depth)
		v.Depth = &d
	}
	return v
}

func printableResult(r verdict.Result) verdict.Result {
	r.Result, r.Class = verdict.Outcome(printable(string(r.Result))), verdict.Class(printable(string(r.Class)))
	for _, s := range []*string{&r.ID, &r.Layer, &r.Title, &r.Evidence, &r.Problem} {
		*s = printable(*s)
	}
	return r
}

func printableDepth(d verdict.Depth) verdict.Depth {
	d.SSHAudit, d.Lynis.Version = printable(d.SSHAudit), printable(d.Lynis.Version)
	d.Lynis.Suggestions = slices.Clone(d.Lynis.Suggestions)
	for i := range d.Lynis.Suggestions {
		s := &d.Lynis.Suggestions[i]
		s.ID, s.Text, s.Details, s.Why = printable(s.ID), printable(s.Text), printable(s.Details), printable(s.Why)
	}
	d.Exposure = slices.Clone(d.Exposure)
	for i := range d.Exposure {
		d.Exposure[i].Unit = printable(d.Exposure[i].Unit)
	}
	return d
}

func printables(list []string) []string {
	list = slices.Clone(list)
	for i := range list {
		list[i] = printable(list[i])
	}
	return list
}
