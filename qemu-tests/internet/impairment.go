package internet

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Impairment is how bad a machine's link is. The zero value is a perfect one.
type Impairment struct {
	// Loss is the part of the frames that get lost, 0 to 1, in each direction.
	Loss float64
	// Delay is added to what the machine sends, so a round trip takes that
	// much longer. Jitter is the most that is added on top, at random; frames
	// keep their order.
	Delay, Jitter time.Duration
	// Seed decides which frames are lost: with the same seed the n-th frame of
	// a direction since SetImpairment is, or is not, every time.
	Seed uint64
}

// SetImpairment makes the machine's link lossy or slow until the next call.
// Lost frames are recorded as dropped.
func (m *Machine) SetImpairment(i Impairment) error {
	if i.Loss < 0 || i.Loss > 1 || i.Delay < 0 || i.Jitter < 0 {
		return fmt.Errorf("impair the link of %s: a loss of %v, a delay of %v and a jitter of %v do not work: use a loss from 0 to 1, and times that are not negative",
			m.Name(), i.Loss, i.Delay, i.Jitter)
	}
	m.wire.mu.Lock()
	defer m.wire.mu.Unlock()
	m.wire.Impairment = i
	for d := range m.wire.random {
		m.wire.random[d] = rand.New(rand.NewPCG(i.Seed, uint64(d)))
	}
	return nil
}

// wire is a link with its impairment.
type wire struct {
	mu sync.Mutex
	Impairment
	random [2]*rand.Rand // of the losses, by direction
	late   chan lateFrame
}

// lateFrames are on their way at once. Beyond that the machine has to wait.
const lateFrames = 4096

// lateFrame is a frame that arrives later than it was sent.
type lateFrame struct {
	frame []byte
	due   time.Time
}

// lose reports whether the next frame gets lost.
func (w *wire) lose(d Direction) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.Loss > 0 && w.random[d].Float64() < w.Loss
}

// due returns when a frame sent now arrives, if that is later than now.
func (w *wire) due() (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.Delay+w.Jitter == 0 {
		return time.Time{}, false
	}
	wait := w.Delay
	if w.Jitter > 0 {
		wait += rand.N(w.Jitter)
	}
	return time.Now().Add(wait), true
}

// delay puts a frame on its way.
func (m *Machine) delay(f lateFrame) {
	select {
	case m.wire.late <- f:
	case <-m.in.ctx.Done():
	}
}

// receiveLate handles delayed frames when they are due, in their order.
func (m *Machine) receiveLate() {
	for {
		select {
		case f := <-m.wire.late:
			if !m.in.wait(time.Until(f.due)) {
				return
			}
			m.handle(f.frame)
		case <-m.in.ctx.Done():
			return
		}
	}
}

// wait returns after a while, with false when the internet was closed.
func (in *Internet) wait(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-in.ctx.Done():
		return false
	}
}
