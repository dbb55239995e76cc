package vm

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"
	"time"
)

const greeting = `{"QMP":{"version":{"qemu":{"micro":13,"minor":0,"major":10}},"capabilities":["oob"]}}`

type request struct {
	Execute   string          `json:"execute"`
	Arguments json.RawMessage `json:"arguments"`
	ID        int             `json:"id"`
}

// qemu is a scripted QEMU: it greets, agrees, and then answers each command
// with what script says; "$ID" becomes the command's id.
func qemu(t *testing.T, script func(request) []string) net.Conn {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close(); far.Close() })
	go func() {
		defer far.Close()
		say := func(lines ...string) {
			for _, l := range lines {
				far.Write([]byte(l + "\r\n"))
			}
		}
		say(greeting)
		dec := json.NewDecoder(far)
		for {
			var r request
			if dec.Decode(&r) != nil {
				return
			}
			answers := []string{`{"return":{},"id":$ID}`}
			if r.Execute != "qmp_capabilities" {
				answers = script(r)
			}
			if answers == nil {
				return // hang up
			}
			id, _ := json.Marshal(r.ID)
			for _, a := range answers {
				say(strings.ReplaceAll(a, "$ID", string(id)))
			}
		}
	}()
	return near
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func connect(t *testing.T, onEvent func(qmpEvent), script func(request) []string) *qmp {
	t.Helper()
	q := newQMP(qemu(t, script), onEvent)
	if err := q.handshake(testContext(t)); err != nil {
		t.Fatal(err)
	}
	return q
}

func ignore(qmpEvent) {}

func TestQMPRun(t *testing.T) {
	t.Parallel()
	var sent request
	q := connect(t, ignore, func(r request) []string {
		sent = r
		return []string{`{"return":{"running":true,"status":"running"},"id":$ID}`}
	})
	var status struct{ Status string }
	if err := q.run(testContext(t), "set_link", setLinkArgs{"net0", false}, &status); err != nil {
		t.Fatal(err)
	}
	if sent.Execute != "set_link" || string(sent.Arguments) != `{"name":"net0","up":false}` {
		t.Errorf("sent %s %s", sent.Execute, sent.Arguments)
	}
	if status.Status != "running" {
		t.Errorf("result %+v", status)
	}
}

func TestQMPRefused(t *testing.T) {
	t.Parallel()
	q := connect(t, ignore, func(request) []string {
		return []string{`{"error":{"class":"DeviceNotFound","desc":"Device 'net9' not found"},"id":$ID}`}
	})
	err := q.run(testContext(t), "set_link", nil, nil)
	var refused *qmpError
	if !errors.As(err, &refused) || refused.Class != "DeviceNotFound" {
		t.Fatalf("got %v", err)
	}
	if want := "QEMU command set_link: Device 'net9' not found"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

// TestQMPAnswersOutOfOrder has two commands in flight and answers the second
// first, with an event between.
func TestQMPAnswersOutOfOrder(t *testing.T) {
	t.Parallel()
	var held string
	q := connect(t, ignore, func(r request) []string {
		id, _ := json.Marshal(r.ID)
		mine := `{"return":"` + r.Execute + `","id":` + string(id) + `}`
		if held == "" {
			held = mine
			return []string{`{"event":"NOISE","timestamp":{"seconds":1,"microseconds":2}}`}
		}
		return []string{mine, `{"event":"NOISE"}`, held}
	})
	errs := make(chan error, 2)
	for _, name := range []string{"first", "second"} {
		go func() {
			var got string
			err := q.run(testContext(t), name, nil, &got)
			if err == nil && got != name {
				err = errors.New(name + " got the answer of " + got)
			}
			errs <- err
		}()
	}
	for range 2 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestQMPEvents(t *testing.T) {
	t.Parallel()
	var names []string
	q := connect(t, func(e qmpEvent) { names = append(names, e.Name) }, func(request) []string {
		return []string{
			`{"event":"RESET","data":{"guest":true,"reason":"guest-reset"}}`,
			`{"event":"SHUTDOWN","data":{"guest":true,"reason":"guest-shutdown"}}`,
			`{"return":{},"id":$ID}`,
		}
	})
	s := q.subscribe(func(e qmpEvent) bool { return e.Name == "SHUTDOWN" })
	defer q.cancel(s)
	if err := q.run(testContext(t), "go", nil, nil); err != nil {
		t.Fatal(err)
	}
	e, err := q.await(testContext(t), s)
	if err != nil || !strings.Contains(string(e.Data), "guest-shutdown") {
		t.Errorf("got %s %v", e.Data, err)
	}
	if strings.Join(names, " ") != "RESET SHUTDOWN" {
		t.Errorf("events %q", names)
	}
}

func TestQMPHangUp(t *testing.T) {
	t.Parallel()
	q := connect(t, ignore, func(request) []string { return nil })
	s := q.subscribe(func(qmpEvent) bool { return true })
	if err := q.run(testContext(t), "quit", nil, nil); !errors.Is(err, errMonitorClosed) {
		t.Errorf("the command in flight: %v", err)
	}
	if _, err := q.await(testContext(t), s); !errors.Is(err, errMonitorClosed) {
		t.Errorf("the subscription: %v", err)
	}
	if err := q.run(testContext(t), "stop", nil, nil); !errors.Is(err, errMonitorClosed) {
		t.Errorf("a later command: %v", err)
	}
}

func TestQMPNoAnswer(t *testing.T) {
	t.Parallel()
	q := connect(t, ignore, func(request) []string { return []string{`{"event":"NOISE"}`} })
	ctx, cancel := context.WithCancel(testContext(t))
	s := q.subscribe(func(qmpEvent) bool { return true })
	go func() {
		q.await(t.Context(), s) // the command has arrived
		cancel()
	}()
	if err := q.run(ctx, "stop", nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func FuzzQMP(f *testing.F) {
	f.Add([]byte(greeting + `{"return":{},"id":1}{"event":"STOP"}{"error":{"class":"x","desc":"y"},"id":2}`))
	f.Add([]byte("no protocol" + strings.Repeat(" ", 64<<10)))
	f.Add([]byte(`{"id":null,"return":[]}{"event":5}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		near, far := net.Pipe()
		q := newQMP(near, ignore)
		far.Write(data)
		far.Close()
		<-q.closed
		if err := q.run(t.Context(), "stop", nil, nil); !errors.Is(err, errMonitorClosed) {
			t.Error(err)
		}
	})
}
