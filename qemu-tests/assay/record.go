package assay

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"ingot/qemu-tests/verdict"
	"ingot/qemu-tests/vm"
)

// record collects what becomes of the chosen checks, from several machines.
type record struct {
	opts   Options
	chosen []check
	begun  time.Time

	// gate is held by each check that is being made, and by the shell of a
	// person, alone.
	gate sync.RWMutex

	mu      sync.Mutex
	results map[string]verdict.Result
	ports   ports
	v       verdict.Verdict
}

func newRecord(o Options, made choice) *record {
	out := &record{opts: o, chosen: made.chosen, begun: time.Now(), results: map[string]verdict.Result{}, ports: ports{}}
	out.v = verdict.Verdict{Name: o.Site.Name, Started: out.begun.UTC().Truncate(time.Second), Firmware: string(o.Firmware), Suites: made.suites}
	for _, c := range made.skipped {
		out.v.Skipped = append(out.v.Skipped, c.id)
	}
	return out
}

// wants reports whether a check of one of these stages was chosen.
func (out *record) wants(stages ...stage) bool {
	return slices.ContainsFunc(out.chosen, func(c check) bool { return slices.Contains(stages, c.stage) })
}

// ask makes the chosen checks of a stage, one after the other.
func (out *record) ask(ctx context.Context, r *run, s stage) {
	for _, c := range out.chosen {
		if c.stage == s {
			out.one(ctx, r, c)
		}
	}
}

// insideWorkers is how many checks a machine answers at a time: it has two
// processors.
const insideWorkers = 2

// scansAtOnce is how many scans of a stranger run at a time: nearly all of their
// time they wait for answers that do not come.
const scansAtOnce = 8

// askMany does the same, that many at a time.
func (out *record) askMany(ctx context.Context, r *run, s stage, at int) {
	queue := make(chan check)
	var workers sync.WaitGroup
	for range at {
		workers.Go(func() {
			for c := range queue {
				out.one(ctx, r, c)
			}
		})
	}
	for _, c := range out.chosen {
		if c.stage == s {
			queue <- c
		}
	}
	close(queue)
	workers.Wait()
}

// checkTime is how long one check may take under KVM.
const checkTime = time.Minute

// one makes a check and records it.
func (out *record) one(ctx context.Context, r *run, c check) verdict.Result {
	if ctx.Err() != nil {
		return verdict.Result{}
	}
	out.gate.RLock()
	res := r.judge(ctx, c)
	out.gate.RUnlock()
	out.mu.Lock()
	out.results[c.id] = res
	out.mu.Unlock()
	if out.opts.Progress != nil {
		out.opts.Progress(res)
	}
	if res.Result != verdict.Passed && out.opts.OnFailure != nil && r.shell != nil {
		out.gate.Lock()
		defer out.gate.Unlock()
		out.opts.OnFailure(ctx, r.shell, res)
	}
	return res
}

// judge makes a check.
func (r *run) judge(ctx context.Context, c check) verdict.Result {
	limit := checkTime
	switch c.stage {
	case deep, deepLast, scenarios:
		limit = time.Hour // they have limits of their own
	}
	ctx, cancel := context.WithTimeout(ctx, r.lab.Timeout(limit))
	defer cancel()
	start := time.Now()
	evidence, err := c.make(ctx, r)
	res := verdict.Result{ID: c.id, Layer: c.layer, Title: c.title, Evidence: clip(evidence), Result: verdict.Passed}
	res.Seconds = time.Since(start).Seconds()
	if err != nil {
		res.Result, res.Class, res.Problem = verdict.Errored, classify(err), err.Error()
		if errors.Is(err, errUnmet) {
			res.Result = verdict.Failed
		}
	}
	return res
}

// classify says whose fault an error is. What QEMU or this machine did is not
// the image's; a machine that does not come up, or does not answer, is.
func classify(err error) verdict.Class {
	var failure *vm.Failure
	switch {
	case errors.Is(err, errUnmet):
		return verdict.Product
	case errors.As(err, &failure):
		if failure.Crashed {
			return verdict.Environment
		}
		return verdict.Product
	case errors.Is(err, errMachineLacks):
		return verdict.Environment
	}
	return verdict.Product
}

// errMachineLacks marks what this machine, and not the image, could not do.
var errMachineLacks = errors.New("")

// failures are the results that are no pass so far.
func (out *record) failures(stages ...stage) []check {
	out.mu.Lock()
	defer out.mu.Unlock()
	var list []check
	for _, c := range out.chosen {
		if r, made := out.results[c.id]; made && r.Result != verdict.Passed && slices.Contains(stages, c.stage) {
			list = append(list, c)
		}
	}
	return list
}

// flaky notes that a check held when it was made again. It stays a failure.
func (out *record) flaky(id string) {
	out.mu.Lock()
	defer out.mu.Unlock()
	r := out.results[id]
	r.Class = verdict.Flake
	r.Problem += " (it held when it was made again: a flake, which is no pass)"
	out.results[id] = r
}

func (out *record) ready(after time.Duration) {
	out.mu.Lock()
	defer out.mu.Unlock()
	out.v.ReadySeconds = after.Seconds()
}

// readyAfter is how long the standard boot took, 0 when there was none.
func (out *record) readyAfter() time.Duration {
	out.mu.Lock()
	defer out.mu.Unlock()
	return time.Duration(out.v.ReadySeconds * float64(time.Second))
}

// fail records why the assay did not get through.
func (out *record) fail(err error) {
	out.mu.Lock()
	defer out.mu.Unlock()
	out.v.Error, out.v.Class = err.Error(), classify(err)
}

// depth gives access to what a deep assay measures.
func (out *record) depth(f func(*verdict.Depth)) {
	out.mu.Lock()
	defer out.mu.Unlock()
	if out.v.Depth == nil {
		out.v.Depth = &verdict.Depth{}
	}
	f(out.v.Depth)
}

// verdict concludes. The results are in the order of the catalogue.
func (out *record) verdict() verdict.Verdict {
	out.mu.Lock()
	defer out.mu.Unlock()
	out.v.Checks = nil
	missing := 0
	for _, c := range out.chosen {
		if r, made := out.results[c.id]; made {
			out.v.Checks = append(out.v.Checks, r)
		} else {
			missing++
		}
	}
	if missing > 0 && out.v.Error == "" {
		out.v.Error = "not all checks were made"
	}
	out.v.Seconds = time.Since(out.begun).Seconds()
	out.v.Conclude()
	return out.v
}
