package fake

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"time"
)

// Always is for [Fault.Times]: until the test ends.
const Always = -1

// Fault is a bad moment of the service. Of several that are due the one that was
// planned first is played.
type Fault struct {
	// On are the requests that it meets: a method, a space and a pattern of path.Match
	// for the path without Base, such as "POST /servers/*/actions/poweron". Either may
	// be "*", which is any path at all when it is alone. Empty are all requests.
	On string
	// After has it begin when such a request, as in On, was handled: one that a fault
	// answered was not, one whose answer was lost was.
	After string
	// Skip is how many of the requests that it could meet pass first.
	Skip int
	// Times is how many it meets then: 0 is one, [Always] all.
	Times int

	// Delay is a pause before anything else. The client may leave meanwhile; the
	// request has no effect then.
	Delay time.Duration
	// Hook is called after that, before anything is handled.
	Hook func()
	// Refused closes the connection before the request is handled.
	Refused bool
	// Lost has the request handled, and closes the connection instead of answering.
	Lost bool
	// Stale has a GET answered with the state before the last write, or before the one
	// of After that woke the fault. The handler must be a [Snapshotter].
	Stale bool
	// Status, Header and Body are the answer; the request is not handled. A Body that
	// is a string or []byte is sent as it is, another as JSON.
	Status int
	Header map[string]string
	Body   any
	// Proxy says that the answer is from something before the service, which knows
	// nothing of its document.
	Proxy bool
}

// planned is a fault and how far it has come.
type planned struct {
	Fault
	awake bool
	seen  int
	past  http.Handler // of Stale
}

// Plan adds faults.
func (s *Service) Plan(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range faults {
		if f.Stale {
			if _, ok := s.opts.Handler.(Snapshotter); !ok {
				s.t.Fatalf("stale reads need a handler that is a Snapshotter")
			}
		}
		s.faults = append(s.faults, &planned{Fault: f, awake: f.After == ""})
	}
}

// Calm ends all faults.
func (s *Service) Calm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// due returns the fault that a request meets, or nil. Each that could meet it counts
// it.
func (s *Service) due(r Request) *planned {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found *planned
	for _, f := range s.faults {
		if !f.awake || !matches(f.On, r) || f.Stale && (r.Method != http.MethodGet || f.past == nil) {
			continue
		}
		n := f.seen - f.Skip // how many it has met
		if n >= max(f.Times, 1) && f.Times != Always {
			continue
		}
		if n >= 0 && found != nil {
			continue // it waits for its turn
		}
		f.seen++
		if n >= 0 {
			found = f
		}
	}
	return found
}

// before plays what is before the handling; without more to come it returns false.
func (s *Service) before(f *planned, r *http.Request) bool {
	if f.Delay > 0 {
		select {
		case <-time.After(f.Delay):
		case <-r.Context().Done():
			return false
		}
	}
	if f.Hook != nil {
		f.Hook()
	}
	return !f.Refused
}

// keepPast remembers the state before a write for the faults that show it.
func (s *Service) keepPast(r Request) {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var past http.Handler
	for _, f := range s.faults {
		if !f.Stale || f.After != "" && (f.awake || !matches(f.After, r)) {
			continue
		}
		if past == nil {
			past = s.opts.Handler.(Snapshotter).Snapshot()
		}
		f.past = past
	}
}

// wake begins the faults that come after a request.
func (s *Service) wake(r Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		if f.After != "" && matches(f.After, r) {
			f.awake = true
		}
	}
}

// matches reports whether a request is one of "METHOD PATTERN".
func matches(on string, r Request) bool {
	if on == "" {
		return true
	}
	method, pattern, _ := strings.Cut(on, " ")
	if method != "*" && method != r.Method {
		return false
	}
	if pattern == "" || pattern == "*" {
		return true
	}
	ok, err := path.Match(pattern, r.Path)
	if err != nil {
		panic(fmt.Sprintf("the pattern %q: %v", on, err))
	}
	return ok
}

// answer is the one that was planned.
func (f *planned) answer(t TB) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	var body []byte
	switch b := f.Body.(type) {
	case nil:
	case string:
		body = []byte(b)
	case []byte:
		body = b
	default:
		var err error
		if body, err = json.Marshal(b); err != nil {
			t.Errorf("the body of a fault: %v", err)
		}
	}
	if json.Valid(body) {
		w.Header().Set("Content-Type", "application/json")
	}
	for name, value := range f.Header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(f.Status)
	_, _ = w.Write(body)
	return w
}
