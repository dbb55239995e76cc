// Package fake is a provider's API for tests: a handler that a test writes, behind a
// service that holds every request and every answer to the provider's published
// OpenAPI document, and that has the bad moments a test asks for.
//
//	api := fake.Serve(t, fake.Options{
//		Spec:    "testdata/openapi.json",
//		Base:    "/v1",
//		Handler: cloud, // sees "/servers", not "/v1/servers"
//		Secrets: []string{token},
//	})
//	client := sdk.NewClient(sdk.WithEndpoint(api.URL), sdk.WithToken(token))
//
//	// The second server is made, but the answer does not arrive.
//	api.Plan(fake.Fault{On: "POST /servers", Skip: 1, Lost: true})
//	// What was made is not in the first three lists after it.
//	api.Plan(fake.Fault{On: "GET /servers", After: "POST /servers", Times: 3, Stale: true})
//	// From the fifth request on the token has expired.
//	api.Plan(fake.Fault{Skip: 4, Times: fake.Always, Status: 401, Body: unauthorized})
//
// It is support of tests only.
package fake

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"
)

// TB is what the service needs of a test: *testing.T has it.
type TB interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// Options of [Serve].
type Options struct {
	// Spec is the file with the OpenAPI document, JSON or YAML; see package prune.
	Spec string
	// Base is the path under which the API is served, such as "/v1".
	Base string
	// Handler is the provider. It sees paths without Base, and one request at a time:
	// it needs no locks of its own for what only requests touch. When it is a
	// [Snapshotter], stale reads are answered by what it was before a write.
	Handler http.Handler
	// Secrets are what may be in the Authorization header and nowhere else in a
	// request or an answer, in clear, base64 or hex.
	Secrets []string
	// Closed has objects take no members but those that the document lists, which
	// finds misspelt ones. Documents leave it open.
	Closed bool
	// Loose forgives what a test's author has found the document to be wrong about.
	// It is given the request and one violation, such as `Error at "/image": value must
	// be a string`; the reason belongs into a comment.
	Loose func(Request, error) bool
	// TLS serves https with a certificate that [Service.Client] knows.
	TLS bool
}

// Snapshotter is a handler whose state can be copied.
type Snapshotter interface {
	http.Handler
	// Snapshot returns a handler that answers reads with the state of now.
	Snapshot() http.Handler
}

// Request is one that was received.
type Request struct {
	Method string
	Path   string // without Base
	Query  string
	Body   []byte
	Time   time.Time
	Status int // of the answer; 0 when there was none
}

func (r Request) String() string {
	if r.Query == "" {
		return r.Method + " " + r.Path
	}
	return r.Method + " " + r.Path + "?" + r.Query
}

// Service is a running API.
type Service struct {
	// URL is that of Base, without a slash at its end.
	URL string
	// Client is an HTTP client that trusts the service.
	Client *http.Client

	t        TB
	opts     Options
	document *document

	serve sync.Mutex // held while the handler runs

	mu       sync.Mutex
	faults   []*planned
	requests []Request
}

// Serve starts a service that ends with the test.
func Serve(t TB, o Options) *Service {
	t.Helper()
	d, err := load(o.Spec, o.Base, o.Closed)
	if err != nil {
		t.Fatalf("the OpenAPI document %s: %v", o.Spec, err)
		return nil
	}
	s := &Service{t: t, opts: o, document: d}
	var server *httptest.Server
	if o.TLS {
		server = httptest.NewTLSServer(s)
	} else {
		server = httptest.NewServer(s)
	}
	// Those whose answer is lost or slow would be waited for.
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	s.URL, s.Client = server.URL+o.Base, server.Client()
	return s
}

// Requests returns what was received so far, those without an answer too.
func (s *Service) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// Count says how many requests there were of a kind, such as "POST /servers"; see
// [Fault.On].
func (s *Service) Count(on string) int {
	n := 0
	for _, r := range s.Requests() {
		if matches(on, r) {
			n++
		}
	}
	return n
}

// Forget empties the list of requests.
func (s *Service) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

// ServeHTTP implements http.Handler.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 64<<20))
	if err != nil {
		return // the client has gone
	}
	path, ok := strings.CutPrefix(r.URL.Path, s.opts.Base)
	if !ok {
		s.t.Errorf("%s %s is not under %s", r.Method, r.URL.Path, s.opts.Base)
		http.NotFound(w, r)
		return
	}
	request := Request{Method: r.Method, Path: path, Query: r.URL.RawQuery, Body: body, Time: time.Now()}
	number := s.record(request)
	s.seek(request, "the request", requestText(r, body))
	fault := s.due(request)
	if fault != nil && !s.before(fault, r) {
		panic(http.ErrAbortHandler) // closes the connection
	}
	answer, route := s.answer(request, fault, r)
	if fault != nil && fault.Lost {
		panic(http.ErrAbortHandler)
	}
	s.seek(request, "the answer", answerText(answer))
	if fault == nil || !fault.Proxy {
		s.checkAnswer(request, route, answer)
	}
	s.mu.Lock()
	if number < len(s.requests) { // not forgotten meanwhile
		s.requests[number].Status = answer.Code
	}
	s.mu.Unlock()
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

func (s *Service) record(r Request) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r)
	return len(s.requests) - 1
}

// answer is the fault's, the past's or the handler's.
func (s *Service) answer(request Request, fault *planned, r *http.Request) (*httptest.ResponseRecorder, *route) {
	route := s.checkRequest(request, r)
	if fault != nil && fault.Status != 0 {
		return fault.answer(s.t), route
	}
	w := httptest.NewRecorder()
	inner := r.Clone(r.Context())
	inner.URL.Path, inner.URL.RawPath = request.Path, ""
	inner.Body = io.NopCloser(bytes.NewReader(request.Body))

	s.serve.Lock()
	defer s.serve.Unlock()
	if fault != nil && fault.Stale {
		fault.past.ServeHTTP(w, inner)
		return w, route
	}
	s.keepPast(request)
	s.opts.Handler.ServeHTTP(w, inner)
	s.wake(request)
	return w, route
}

// report fails the test with what of a violation is not forgiven.
func (s *Service) report(request Request, what string, err error) {
	for _, one := range single(err) {
		if s.opts.Loose == nil || !s.opts.Loose(request, one) {
			s.t.Errorf("%s: %s does not keep to the published document: %v", request, what, one)
		}
	}
}

func requestText(r *http.Request, body []byte) string {
	var b strings.Builder
	fmt.Fprintln(&b, r.URL.String())
	for name, values := range r.Header {
		if name != "Authorization" {
			fmt.Fprintln(&b, name, values)
		}
	}
	b.Write(body)
	return b.String()
}

func answerText(w *httptest.ResponseRecorder) string {
	return fmt.Sprintln(w.Header()) + w.Body.String()
}
