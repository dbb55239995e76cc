package report

import (
	"cmp"
	"fmt"
	"html/template"
	"slices"
	"strconv"
	"strings"

	"ingot/qemu-tests/verdict"
)

// page is what the template shows.
type page struct {
	verdict.Verdict
	Style    template.CSS
	Policy   string
	Kind     string // see kind
	Lead     string // the outcome in a sentence
	Digests  []digest
	Failures []verdict.Result
	Layers   []layer
	// Scenarios is nil when there were none.
	Scenarios *layer
	Before    []wall
	After     wall
	Boot      []moment
}

// digest is a SHA-256 with what it is of.
type digest struct{ Of, Hex string }

func newPage(v verdict.Verdict) page {
	p := page{
		Verdict: v, Style: template.CSS(stylesheet), Policy: policy(), Kind: kind(v.Verdict, v.Class), Lead: lead(v), Failures: failures(v),
		Before: before(), After: after(v.Ports), Boot: boot(v),
	}
	for _, d := range []digest{{"image", v.ImageSHA256}, {"ingot.yaml", v.ConfigSHA256}, {"ingot.lock", v.LockSHA256}, {"root hash", v.RootHash}} {
		if d.Hex != "" {
			p.Digests = append(p.Digests, d)
		}
	}
	for _, l := range layersOf(v) {
		if l.Name == verdict.Scenarios {
			p.Scenarios = &l
		} else {
			p.Layers = append(p.Layers, l)
		}
	}
	return p
}

// lead is the outcome in a few sentences. What was not proven is never passed
// over.
func lead(v verdict.Verdict) string {
	said := blame(v.Class)
	switch v.Verdict {
	case verdict.Passed:
		return fmt.Sprintf("All %d checks held on these bytes.", len(v.Checks))
	case verdict.Failed:
		said = cmp.Or(said, "A check did not hold.")
	case verdict.Errored:
		said = strings.TrimSpace("The assay did not get through, so nothing is proven. " + said)
	default:
		said = strings.TrimSpace("Not everything was proven, and that proves nothing. " + said)
	}
	return said + " " + tally(v) + "."
}

// Kind is the layer's worst.
func (l layer) Kind() string {
	worst := "passed"
	for _, r := range l.Results {
		switch kind(r.Result, r.Class) {
		case "failed":
			return "failed"
		case "unsure":
			worst = "unsure"
		}
	}
	return worst
}

// kind is an outcome as a class of the stylesheet. An outcome that is not known
// looks like one that was not made.
func kind(o verdict.Outcome, c verdict.Class) string {
	switch {
	case o == verdict.Passed:
		return "passed"
	case o == verdict.Failed && c != verdict.Flake && c != verdict.Environment:
		return "failed"
	}
	return "unsure"
}

// markNames is what a mark says to those who do not see it.
func markNames(kind string) string {
	return map[string]string{"passed": "passed", "failed": "failed", "unsure": "not proven"}[kind]
}

// shortDigest is enough of a digest to tell two apart.
func shortDigest(hex string) string {
	if len(hex) <= 16 {
		return hex
	}
	return hex[:8] + "…" + hex[len(hex)-4:]
}

// long says that a text needs a frame of its own.
func long(s string) bool { return strings.Contains(s, "\n") || len(s) > 400 }

// thousands writes a count as people read it: 786,402.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// moment is a milestone of the first boot as a bar: when the one before it was,
// and how long it took from there, both in percent of the whole.
type moment struct {
	verdict.Moment
	From, Width string
	Ready       bool
}

// boot is the first boot from power-on to the WireGuard handshake, which has
// its own milestone when the timeline does not end with it.
func boot(v verdict.Verdict) []moment {
	if len(v.Timeline) == 0 {
		return nil
	}
	list := slices.Clone(v.Timeline)
	slices.SortStableFunc(list, func(a, b verdict.Moment) int { return cmp.Compare(a.Seconds, b.Seconds) })
	if v.ReadySeconds > list[len(list)-1].Seconds {
		list = append(list, verdict.Moment{Seconds: v.ReadySeconds, Text: "WireGuard answered: ready"})
	}
	whole, last := list[len(list)-1].Seconds, 0.0
	var bars []moment
	for _, m := range list {
		bars = append(bars, moment{
			Moment: m, Ready: v.ReadySeconds > 0 && m.Seconds == v.ReadySeconds,
			From: percent(last, whole), Width: percent(m.Seconds-last, whole),
		})
		last = m.Seconds
	}
	return bars
}

func percent(part, whole float64) string {
	if whole <= 0 {
		return "0"
	}
	return strconv.FormatFloat(100*part/whole, 'f', 2, 64)
}
