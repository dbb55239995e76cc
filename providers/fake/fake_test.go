package fake

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const token = "planted-secret-0123456789"

// complaints is a test that may fail.
type complaints struct {
	*testing.T
	mu   sync.Mutex
	list []string
}

func (c *complaints) Errorf(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, fmt.Sprintf(format, args...))
}

func (c *complaints) taken() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.list
	c.list = nil
	return list
}

// things is a provider of things.
type things struct{ names []string }

func (s *things) Snapshot() http.Handler { return &things{slices.Clone(s.names)} }

func (s *things) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodGet {
		list := []map[string]string{}
		for _, name := range s.names {
			list = append(list, map[string]string{"name": name})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"things": list})
		return
	}
	var thing struct{ Name string }
	body, _ := io.ReadAll(r.Body)
	if err := json.Unmarshal(body, &thing); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"code":"no_json"}`)
		return
	}
	s.names = append(s.names, thing.Name)
	answer := map[string]any{"name": thing.Name}
	status := http.StatusCreated
	switch thing.Name {
	case "nameless":
		answer = map[string]any{}
	case "odd":
		status = http.StatusAccepted
	case "secret":
		answer["description"] = token
	case "more":
		answer["more"] = true
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

func serve(t *testing.T) (*Service, *things, *complaints) {
	c, h := &complaints{T: t}, &things{}
	return Serve(c, Options{Spec: "testdata/things.yaml", Base: "/v9", Handler: h, Secrets: []string{token}, Closed: true}), h, c
}

// ask sends a request; the status is 0 when there was no answer.
func ask(t *testing.T, s *Service, method, path, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := s.Client.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

func TestViolations(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		method, path, body string
		want               string // of the complaint; empty is none
	}{
		"list":             {"GET", "/things?page=2", "", ""},
		"make":             {"POST", "/things", `{"name":"a"}`, ""},
		"no such path":     {"GET", "/nothing", "", "GET /nothing: the request does not keep"},
		"no such method":   {"DELETE", "/things", "", "method not allowed"},
		"parameter's type": {"GET", "/things?page=two", "", `"page"`},
		"no parameter":     {"GET", "/things?pagina=2", "", `no parameter "pagina"`},
		"member missing":   {"POST", "/things", `{}`, `"name"`},
		"member's type":    {"POST", "/things", `{"name":["a"]}`, "string"},
		"too long":         {"POST", "/things", `{"name":"0123456789"}`, "maximum string length is 9"},
		"unknown member":   {"POST", "/things", `{"name":"a","nmae":"b"}`, `"nmae"`},
		"no JSON":          {"POST", "/things", `{`, "the request"},
		"body unwanted":    {"GET", "/things", `{}`, "body"},
		"answer's member":  {"POST", "/things", `{"name":"nameless"}`, "the answer 201"},
		"answer's status":  {"POST", "/things", `{"name":"odd"}`, "the answer 202"},
		"answer has more":  {"POST", "/things", `{"name":"more"}`, `"more"`},
		"secret in path":   {"GET", "/things?page=" + token, "", "a planted secret is in the request"},
		"secret in body":   {"POST", "/things", `{"name":"a","description":"cGxhbnRlZC1zZWNyZXQtMDEyMzQ1Njc4OQ=="}`, "a planted secret is in the request"},
		"shifted":          {"POST", "/things", `{"name":"a","description":"eHBsYW50ZWQtc2VjcmV0LTAxMjM0NTY3ODk="}`, "a planted secret is in the request"},
		"secret in answer": {"POST", "/things", `{"name":"secret"}`, "a planted secret is in the answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _, c := serve(t)
			ask(t, s, test.method, test.path, test.body)
			got := strings.Join(c.taken(), "\n")
			if test.want == "" && got != "" || !strings.Contains(got, test.want) {
				t.Errorf("complaints are %q, want %q", got, test.want)
			}
		})
	}
}

func TestNoCredential(t *testing.T) {
	t.Parallel()
	s, _, c := serve(t)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/things", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := s.Client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if got := strings.Join(c.taken(), "\n"); !strings.Contains(got, "no Authorization header") {
		t.Errorf("complaints are %q", got)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	const list, a, b = `{"things":[]}`, `{"things":[{"name":"a"}]}`, `{"things":[{"name":"a"},{"name":"b"}]}`
	type step struct {
		method, body string
		status       int
		answer       string // its beginning; empty is any
	}
	for name, test := range map[string]struct {
		faults []Fault
		steps  []step
	}{
		"status": {
			[]Fault{{On: "GET /things", Status: 429, Body: map[string]any{"code": "slow"}, Header: map[string]string{"Retry-After": "1"}}},
			[]step{{"POST", `{"name":"a"}`, 201, ""}, {"GET", "", 429, `{"code":"slow"}`}, {"GET", "", 200, a}},
		},
		"from the second on": {
			[]Fault{{Skip: 1, Times: Always, Status: 401, Body: `{"code":"expired"}`}},
			[]step{{"GET", "", 200, list}, {"GET", "", 401, ""}, {"POST", `{"name":"a"}`, 401, ""}, {"GET", "", 401, ""}},
		},
		"lost": {
			[]Fault{{On: "POST /thi*", Lost: true}},
			[]step{{"POST", `{"name":"a"}`, 0, ""}, {"GET", "", 200, a}},
		},
		"refused": {
			[]Fault{{On: "POST *", Times: 2, Refused: true}},
			[]step{{"POST", `{"name":"a"}`, 0, ""}, {"POST", `{"name":"a"}`, 0, ""}, {"GET", "", 200, list}, {"POST", `{"name":"a"}`, 201, ""}},
		},
		"stale after a write": {
			[]Fault{{On: "GET /things", After: "POST /things", Times: 2, Stale: true}},
			[]step{{"GET", "", 200, list}, {"POST", `{"name":"a"}`, 201, ""}, {"GET", "", 200, list}, {"POST", `{"name":"b"}`, 201, ""}, {"GET", "", 200, list}, {"GET", "", 200, b}},
		},
		"stale by one": {
			[]Fault{{Times: Always, Stale: true}},
			[]step{{"POST", `{"name":"a"}`, 201, ""}, {"GET", "", 200, list}, {"POST", `{"name":"b"}`, 201, ""}, {"GET", "", 200, a}},
		},
		"a lost request wakes": {
			[]Fault{{On: "POST *", Lost: true}, {On: "GET *", After: "POST /things", Status: 403, Body: `{"code":"no"}`}},
			[]step{{"GET", "", 200, list}, {"POST", `{"name":"a"}`, 0, ""}, {"GET", "", 403, ""}, {"GET", "", 200, a}},
		},
		"two of one request are played in turn": {
			[]Fault{{Status: 429, Body: `{"code":"1"}`}, {Status: 409, Body: `{"code":"2"}`}},
			[]step{{"GET", "", 429, ""}, {"GET", "", 409, ""}, {"GET", "", 200, list}},
		},
		"a proxy's page": {
			[]Fault{{Status: 502, Body: "<h1>bad gateway</h1>", Proxy: true}},
			[]step{{"GET", "", 502, "<h1>"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _, c := serve(t)
			// Transport sends a GET again by itself when a kept connection is closed.
			s.Client.Transport.(*http.Transport).DisableKeepAlives = true
			s.Plan(test.faults...)
			for i, step := range test.steps {
				status, answer := ask(t, s, step.method, "/things", step.body)
				if status != step.status || !strings.HasPrefix(answer, step.answer) {
					t.Fatalf("step %d, %s: %d %s, want %d %s", i+1, step.method, status, answer, step.status, step.answer)
				}
				if got := s.Requests()[i].Status; got != step.status {
					t.Errorf("step %d is recorded with the status %d", i+1, got)
				}
			}
			if got := c.taken(); got != nil {
				t.Errorf("complaints: %q", got)
			}
		})
	}
}

// An answer that was scripted must be one that the provider could give.
func TestFaultsAreChecked(t *testing.T) {
	t.Parallel()
	s, _, c := serve(t)
	s.Plan(Fault{Status: 429, Body: `{"message":"slow"}`}, Fault{Status: 502, Body: `{"code":"1"}`})
	for _, want := range []string{"the answer 429", "the answer 502"} {
		ask(t, s, "GET", "/things", "")
		if got := strings.Join(c.taken(), "\n"); !strings.Contains(got, want) {
			t.Errorf("complaints are %q, want %q", got, want)
		}
	}
}

func TestDelayAndHook(t *testing.T) {
	t.Parallel()
	s, h, _ := serve(t)
	ctx, cancel := context.WithCancel(t.Context())
	// The client leaves while the service is slow: nothing is made.
	s.Plan(Fault{On: "POST *", Delay: time.Hour}, Fault{On: "POST *", Hook: cancel, Lost: true})
	post := func(ctx context.Context) {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/things", strings.NewReader(`{"name":"a"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer x")
		if answer, err := s.Client.Do(r); err == nil {
			answer.Body.Close()
			t.Error("there is an answer")
		}
	}
	soon, stop := context.WithTimeout(ctx, 50*time.Millisecond)
	defer stop()
	post(soon)
	if len(h.names) > 0 {
		t.Error("the request of a client that has left was handled")
	}
	post(ctx)
	if ctx.Err() == nil {
		t.Error("the hook was not called")
	}
	if got := s.Count("POST /things"); got != 2 {
		t.Errorf("%d requests are counted", got)
	}
}

func TestLoose(t *testing.T) {
	t.Parallel()
	c := &complaints{T: t}
	s := Serve(c, Options{Spec: "testdata/things.yaml", Base: "/v9", Handler: &things{}, Loose: func(r Request, err error) bool {
		return r.Method == "POST" && strings.Contains(err.Error(), "name")
	}})
	ask(t, s, "POST", "/things", `{}`)
	if got := c.taken(); got != nil {
		t.Errorf("complaints: %q", got)
	}
	ask(t, s, "GET", "/things?page=two", "")
	if c.taken() == nil {
		t.Error("another violation was forgiven")
	}
}
