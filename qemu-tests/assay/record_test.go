package assay

import (
	"context"
	"testing"

	"ingot/qemu-tests/verdict"
)

// A scenario that failed is played once more; when it holds then it is a flake,
// and still no pass.
func TestReplay(t *testing.T) {
	fails := func(times int) check {
		return check{stage: scenarios, make: func(context.Context, *run) (string, error) {
			if times--; times >= 0 {
				return "", unmet("not yet")
			}
			return "", nil
		}}
	}
	for id, want := range map[string]struct {
		times  int
		result verdict.Outcome
		class  verdict.Class
	}{
		"holds":       {0, verdict.Passed, ""},
		"fails once":  {1, verdict.Failed, verdict.Flake},
		"fails twice": {2, verdict.Failed, verdict.Product},
	} {
		c := fails(want.times)
		c.id = id
		out := newRecord(Options{}, choice{chosen: []check{c}})
		r := &run{out: out, lab: &Lab{}}
		r.lab.Accel.TimeoutFactor = 1
		out.askMany(t.Context(), r, scenarios, 1)
		r.replay(t.Context())
		if got := out.results[id]; got.Result != want.result || got.Class != want.class {
			t.Errorf("%s: %+v", id, got)
		}
	}
}
