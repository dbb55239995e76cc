package internet

import (
	"errors"
	"fmt"

	"github.com/gopacket/gopacket/pcapgo"
)

// Totals counts what was on the wire, in frames, those that a fault ate and
// those of a flood that are not in the record included.
type Totals struct {
	FromMachine int
	ToMachine   int
	// Probes are the strangers' of ToMachine: SYNs, datagrams and echo requests
	// of scans, pings, floods and crowds.
	Probes int
	// Answered are the probes that got an answer. A port or a stranger counts
	// once, however often it was asked and however often it answers.
	Answered int
}

func (t *Totals) count(d Direction, k kind) {
	switch {
	case d == FromMachine:
		t.FromMachine++
	case k == ordinary:
		t.ToMachine++
	default:
		t.ToMachine++
		t.Probes++
	}
}

// Totals counts the frames of all machines since a mark, without reading them
// again.
func (in *Internet) Totals(since Mark) (Totals, error) {
	return in.record.totals(int(since))
}

// tally is what was counted after a written frame and is not in the index.
type tally struct {
	after int // number of that frame, -1 before the first
	Totals
}

func (r *recorder) totals(since int) (Totals, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil && !errors.Is(r.err, errRecordClosed) {
		return Totals{}, fmt.Errorf("the packet record is incomplete: %w", r.err)
	}
	var sum Totals
	for n := since; n < r.index.len(); n++ {
		e := r.index.at(n)
		sum.count(e.dir, e.kind)
	}
	for _, t := range r.tallies {
		if t.after >= since || since == 0 {
			sum.FromMachine += t.FromMachine
			sum.ToMachine += t.ToMachine
			sum.Probes += t.Probes
			sum.Answered += t.Answered
		}
	}
	return sum, nil
}

// tally returns the one of the present moment.
func (r *recorder) tally() *tally {
	last := r.index.len() - 1
	if n := len(r.tallies); n == 0 || r.tallies[n-1].after != last {
		r.tallies = append(r.tallies, tally{after: last})
	}
	return &r.tallies[len(r.tallies)-1]
}

// answered notes that a probe got its first answer.
func (r *recorder) answered() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tally().Answered++
}

// beginFlood makes room for the first frames of a flood.
func (r *recorder) beginFlood() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.room = floodShown
}

// takeRoom reports whether a frame of a flood is to be written. The first one
// after a mark always is, so that what is counted later belongs after the mark.
func (r *recorder) takeRoom() bool {
	if r.room == 0 {
		return r.marked == r.index.len()
	}
	r.room--
	return true
}

// countOnly counts a frame that is not written.
func (r *recorder) countOnly(m *Machine, d Direction) {
	r.tally().count(d, flooding)
	r.untold[m.iface]++
}

// closeInterfaces says in the file how many frames came after the last one of
// an interface that was written.
func (r *recorder) closeInterfaces() error {
	var errs []error
	for iface, n := range r.untold {
		errs = append(errs, r.ng.WriteInterfaceStats(iface, pcapgo.NgInterfaceStatistics{
			PacketsDropped: n, PacketsReceived: pcapgo.NgNoValue64,
		}))
	}
	return errors.Join(append(errs, r.ng.Flush())...)
}
