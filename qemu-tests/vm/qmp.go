package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// qmp is a client of QEMU's machine protocol: JSON objects over a stream,
// answers matched to commands by id, events in between.
// Protocol: QEMU's docs/interop/qmp-spec.
type qmp struct {
	conn    io.ReadWriteCloser
	onEvent func(qmpEvent)

	write sync.Mutex // one command at a time on the wire

	mu            sync.Mutex
	nextID        int
	pending       map[int]chan qmpAnswer
	subscriptions map[*subscription]struct{}
	err           error // why the connection ended

	greeted chan struct{} // closed when QEMU has said hello
	closed  chan struct{} // closed when the connection has ended
}

// qmpMessage is whatever QEMU sends; which fields are there tells what it is.
type qmpMessage struct {
	Greeting json.RawMessage `json:"QMP"`
	ID       *int            `json:"id"`
	Return   json.RawMessage `json:"return"`
	Error    *qmpError       `json:"error"`
	qmpEvent
}

// qmpEvent is something that happened to the machine.
type qmpEvent struct {
	Name string          `json:"event"`
	Data json.RawMessage `json:"data"`
}

// qmpError is a command that QEMU refused.
type qmpError struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

func (e *qmpError) Error() string { return e.Desc }

type qmpAnswer struct {
	result json.RawMessage
	err    error
}

type subscription struct {
	match func(qmpEvent) bool
	hit   chan qmpEvent // one place: only the first match counts
}

var errMonitorClosed = errors.New("QEMU closed its monitor")

// newQMP starts reading. onEvent is called for every event, in order, and must
// not wait for QEMU.
func newQMP(conn io.ReadWriteCloser, onEvent func(qmpEvent)) *qmp {
	q := &qmp{
		conn:          conn,
		onEvent:       onEvent,
		pending:       map[int]chan qmpAnswer{},
		subscriptions: map[*subscription]struct{}{},
		greeted:       make(chan struct{}),
		closed:        make(chan struct{}),
	}
	go q.read()
	return q
}

// handshake waits for the greeting and leaves negotiation mode.
func (q *qmp) handshake(ctx context.Context) error {
	select {
	case <-q.greeted:
	case <-q.closed:
		return fmt.Errorf("no greeting: %w", q.reason())
	case <-ctx.Done():
		return fmt.Errorf("no greeting from QEMU: %w", ctx.Err())
	}
	return q.run(ctx, "qmp_capabilities", nil, nil)
}

// run executes a command and decodes its result into result unless that is
// nil. Arguments are a struct with JSON tags, or nil.
func (q *qmp) run(ctx context.Context, command string, arguments, result any) error {
	answer, err := q.send(command, arguments)
	if err != nil {
		return fmt.Errorf("QEMU command %s: %w", command, err)
	}
	select {
	case a := <-answer:
		if a.err == nil && result != nil {
			a.err = json.Unmarshal(a.result, result)
		}
		if a.err != nil {
			return fmt.Errorf("QEMU command %s: %w", command, a.err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("QEMU command %s: %w", command, ctx.Err())
	}
}

func (q *qmp) send(command string, arguments any) (<-chan qmpAnswer, error) {
	answer := make(chan qmpAnswer, 1)
	q.mu.Lock()
	if q.err != nil {
		q.mu.Unlock()
		return nil, q.err
	}
	q.nextID++
	id := q.nextID
	q.pending[id] = answer
	q.mu.Unlock()

	data, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
		ID        int    `json:"id"`
	}{command, arguments, id})
	if err != nil {
		return nil, err
	}
	q.write.Lock()
	defer q.write.Unlock()
	if _, err := q.conn.Write(append(data, '\n')); err != nil {
		return nil, fmt.Errorf("%w: %w", errMonitorClosed, err)
	}
	return answer, nil
}

// subscribe starts looking for an event, before the command that causes it, so
// that nothing is missed. The subscription is to be cancelled.
func (q *qmp) subscribe(match func(qmpEvent) bool) *subscription {
	s := &subscription{match: match, hit: make(chan qmpEvent, 1)}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.subscriptions[s] = struct{}{}
	return s
}

func (q *qmp) cancel(s *subscription) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.subscriptions, s)
}

// await waits for the event of a subscription.
func (q *qmp) await(ctx context.Context, s *subscription) (qmpEvent, error) {
	select {
	case e := <-s.hit:
		return e, nil
	case <-q.closed:
		return qmpEvent{}, q.reason()
	case <-ctx.Done():
		return qmpEvent{}, ctx.Err()
	}
}

func (q *qmp) reason() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

// read handles everything QEMU sends until the connection ends.
func (q *qmp) read() {
	greet := sync.OnceFunc(func() { close(q.greeted) })
	dec := json.NewDecoder(q.conn)
	for {
		var m qmpMessage
		if err := dec.Decode(&m); err != nil {
			q.end(err)
			// After bytes that are no protocol nothing can be trusted.
			q.conn.Close()
			return
		}
		switch {
		case m.Greeting != nil:
			greet()
		case m.Name != "":
			q.event(m.qmpEvent)
		default:
			q.answer(m)
		}
	}
}

func (q *qmp) event(e qmpEvent) {
	q.onEvent(e)
	q.mu.Lock()
	defer q.mu.Unlock()
	for s := range q.subscriptions {
		if s.match(e) {
			delete(q.subscriptions, s)
			s.hit <- e
		}
	}
}

func (q *qmp) answer(m qmpMessage) {
	if m.ID == nil {
		return // an error about bytes that were no command: not ours
	}
	q.mu.Lock()
	answer := q.pending[*m.ID]
	delete(q.pending, *m.ID)
	q.mu.Unlock()
	if answer == nil {
		return
	}
	a := qmpAnswer{result: m.Return}
	if m.Error != nil {
		a.err = m.Error
	}
	answer <- a
}

// end fails everyone who still waits.
func (q *qmp) end(err error) {
	if errors.Is(err, io.EOF) {
		err = errMonitorClosed
	} else {
		err = fmt.Errorf("%w: %w", errMonitorClosed, err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.err = err
	for _, answer := range q.pending {
		answer <- qmpAnswer{err: err}
	}
	q.pending = nil
	close(q.closed)
}
