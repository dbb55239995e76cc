package writer

import (
	"encoding/json"
	"io"
	"sync"
	"time"
)

// teller says how it goes without ever waiting for whoever listens: in the middle of
// writing a disk the listener may be gone.
type teller struct {
	events chan Event
	done   chan struct{}
	last   time.Time
	step   Step
	mu     sync.Mutex
	closed bool
}

// progressEvery is how often progress is told.
const progressEvery = 500 * time.Millisecond

// finishTime is how long the last events may take to be written.
const finishTime = 10 * time.Second

func newTeller(out io.Writer) *teller {
	t := &teller{events: make(chan Event, 100), done: make(chan struct{})}
	go func() {
		defer close(t.done)
		lines := json.NewEncoder(out)
		for e := range t.events {
			_ = lines.Encode(e) // nobody listens any more
		}
	}()
	return t
}

// say tells of a step. The channel has room for all of them.
func (t *teller) say(e Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return // told all that was to be told
	}
	select {
	case t.events <- e:
	default:
	}
}

// progress tells now and then how far a step is, and when it is done, and leaves room
// for the others.
func (t *teller) progress(e Event) {
	now := time.Now()
	if (e.Step != t.step || e.Done == e.Of || now.Sub(t.last) >= progressEvery) && len(t.events) < cap(t.events)/2 {
		t.last, t.step = now, e.Step
		t.say(e)
	}
}

// finish waits until all is told, for a while.
func (t *teller) finish() {
	t.mu.Lock()
	if !t.closed {
		t.closed = true
		close(t.events)
	}
	t.mu.Unlock()
	select {
	case <-t.done:
	case <-time.After(finishTime):
	}
}
