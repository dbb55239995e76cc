// Package report shows a verdict: to people on a terminal and as one HTML page,
// and to CI as JUnit XML. The same verdict always gives the same bytes.
//
// What a machine under test wrote is in a verdict, and a broken or hostile one
// writes anything: all of it is made printable before it is shown.
package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"ingot/qemu-tests/verdict"
)

// layer is the results of one layer, in the order in which they were made.
type layer struct {
	Name    string
	Results []verdict.Result
	Passed  int
	Seconds float64 // of all results
}

// Whole says that nothing in the layer went wrong.
func (l layer) Whole() bool { return l.Passed == len(l.Results) }

// Count says how many checks passed, in words.
func (l layer) Count() string {
	noun := "checks"
	if l.Name == verdict.Scenarios {
		noun = "scenarios"
	}
	if len(l.Results) == 1 {
		noun = strings.TrimSuffix(noun, "s")
	}
	if !l.Whole() {
		return fmt.Sprintf("%d of %d %s passed", l.Passed, len(l.Results), noun)
	}
	return fmt.Sprintf("%d %s passed", l.Passed, noun)
}

// layersOf groups the results; a layer is where its first result is, whatever
// came between its results.
func layersOf(v verdict.Verdict) []layer {
	var list []layer
	for _, r := range v.Checks {
		i := slices.IndexFunc(list, func(l layer) bool { return l.Name == r.Layer })
		if i < 0 {
			i, list = len(list), append(list, layer{Name: r.Layer})
		}
		list[i].Results = append(list[i].Results, r)
		list[i].Seconds += r.Seconds
		if r.Result == verdict.Passed {
			list[i].Passed++
		}
	}
	return list
}

// failures are the results that did not pass, the gravest class first.
func failures(v verdict.Verdict) []verdict.Result {
	var list []verdict.Result
	for _, r := range v.Checks {
		if r.Result != verdict.Passed {
			list = append(list, r)
		}
	}
	slices.SortStableFunc(list, func(a, b verdict.Result) int { return cmp.Compare(gravity(a.Class), gravity(b.Class)) })
	return list
}

// gravity orders the classes; one that is not said is as grave as the product's.
func gravity(c verdict.Class) int {
	return slices.Index([]verdict.Class{verdict.Environment, verdict.Flake}, c)
}

// tally says what became of the checks, in words.
func tally(v verdict.Verdict) string {
	s := fmt.Sprintf("%d of %d checks passed", v.Passes(), len(v.Checks))
	for _, more := range []struct {
		n    int
		what string
	}{
		{count(v, verdict.Failed), "failed"},
		{len(v.Checks) - v.Passes() - count(v, verdict.Failed), "could not be made"},
		{len(v.Skipped), "skipped"},
	} {
		if more.n > 0 {
			s += fmt.Sprintf(", %d %s", more.n, more.what)
		}
	}
	return s
}

func count(v verdict.Verdict, o verdict.Outcome) int {
	n := 0
	for _, r := range v.Checks {
		if r.Result == o {
			n++
		}
	}
	return n
}

// outcome is a result in words.
func outcome(o verdict.Outcome) string {
	switch o {
	case "":
		return "no verdict"
	case verdict.Errored:
		return "error"
	}
	return string(o)
}

// blame says what a class means; empty for none.
func blame(c verdict.Class) string {
	return map[verdict.Class]string{
		verdict.Product:     "The image did not do what it promises.",
		verdict.Environment: "This machine, or the assay itself, was in the way: it says nothing about the image.",
		verdict.Flake:       "A check failed, and held when it was made again.",
	}[c]
}

// lasted is a duration in seconds as people say it: "4.2 s", "2 min 29 s".
func lasted(seconds float64) string {
	if seconds < 100 {
		return fmt.Sprintf("%.1f s", seconds)
	}
	d := time.Duration(seconds * float64(time.Second)).Round(time.Second)
	return fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second)
}
