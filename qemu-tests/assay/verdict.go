package assay

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Verdict is the outcome of an assay. Its JSON is part of the stable core.
type Verdict struct {
	Verdict      Outcome  `json:"verdict"`
	ImageSHA256  string   `json:"image_sha256"`
	ReadySeconds float64  `json:"ready_seconds"` // power-on to WireGuard handshake
	Seconds      float64  `json:"seconds"`       // the whole assay
	Accelerator  string   `json:"accelerator"`
	Reason       string   `json:"accelerator_reason"`
	Checks       []Result `json:"checks"`
	Depth        *Depth   `json:"depth,omitempty"` // what a deep assay measured
	Error        string   `json:"error,omitempty"` // why there is no verdict
}

// Outcome is one word for people and programs.
type Outcome string

// The outcomes. Only Passed allows an upload.
const (
	Passed     Outcome = "passed"
	Failed     Outcome = "failed"     // a check did not hold
	Incomplete Outcome = "incomplete" // a check could not be made
	Errored    Outcome = "error"      // the assay itself did not get through
)

// Result is what became of one check.
type Result struct {
	ID       string  `json:"id"`
	Layer    string  `json:"layer"`
	Title    string  `json:"title"`
	Result   Outcome `json:"result"`
	Seconds  float64 `json:"seconds"`
	Evidence string  `json:"evidence"`
	Problem  string  `json:"problem,omitempty"`
}

// conclude derives the outcome from the checks: one that failed decides, then
// one that could not be made. No checks are no proof.
func (v *Verdict) conclude() {
	has := func(o Outcome) bool {
		return slices.ContainsFunc(v.Checks, func(r Result) bool { return r.Result == o })
	}
	switch {
	case has(Failed):
		v.Verdict = Failed
	case v.Error != "":
		v.Verdict = Errored
	case has(Errored), len(v.Checks) == 0:
		v.Verdict = Incomplete
	default:
		v.Verdict = Passed
	}
}

// WriteText writes the verdict for a terminal: by layer, problems in full.
func (v Verdict) WriteText(w io.Writer) error {
	var s strings.Builder
	var order []string
	byLayer := map[string][]Result{}
	for _, r := range v.Checks {
		if byLayer[r.Layer] == nil {
			order = append(order, r.Layer)
		}
		byLayer[r.Layer] = append(byLayer[r.Layer], r)
	}
	for _, layer := range order {
		fmt.Fprintf(&s, "\n%s\n", layer)
		for _, r := range byLayer[layer] {
			mark := map[Outcome]string{Passed: "ok  ", Failed: "FAIL", Errored: "????"}[r.Result]
			fmt.Fprintf(&s, "  %s %-50s %6.1f s  %s\n", mark, r.Title, r.Seconds, short(r.Evidence))
			if r.Problem != "" {
				fmt.Fprintf(&s, "       %s\n", r.Problem)
			}
		}
	}
	if v.Depth != nil {
		s.WriteString(v.Depth.text())
	}
	passed := 0
	for _, r := range v.Checks {
		if r.Result == Passed {
			passed++
		}
	}
	fmt.Fprintf(&s, "\n%s: %d of %d checks passed in %.1f s (%s), WireGuard answered %.1f s after power-on\n",
		strings.ToUpper(string(v.Verdict)), passed, len(v.Checks), v.Seconds, v.Accelerator, v.ReadySeconds)
	if v.ImageSHA256 != "" {
		fmt.Fprintf(&s, "image sha256 %s\n", v.ImageSHA256)
	}
	if v.Error != "" {
		fmt.Fprintf(&s, "%s\n", v.Error)
	}
	_, err := io.WriteString(w, s.String())
	return err
}

// short keeps a report's line on one line of a terminal.
func short(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 60 {
		s = s[:60] + "…"
	}
	return s
}
