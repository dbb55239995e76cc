package scan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ingot/fault"
)

// service behaves as https://google.github.io/osv.dev/api describes: a batch of
// questions is answered with ids and, where there are more, a token for the next
// page; a record is asked for by its id.
type service struct {
	page int // ids on a page, 0 for no limit
	// first answers a request before the service does, when it is not nil and
	// returns true.
	first func(w http.ResponseWriter, r *http.Request) bool

	mu    sync.Mutex
	asked []string // the requests
}

func (s *service) start(t *testing.T) API {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return API{URL: server.URL, Wait: time.Millisecond}
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked = append(s.asked, r.Method+" "+r.URL.Path)
	s.mu.Unlock()
	if s.first != nil && s.first(w, r) {
		return
	}
	if id, ok := strings.CutPrefix(r.URL.Path, "/v1/vulns/"); ok && r.Method == http.MethodGet {
		record, known := records[id]
		if !known {
			http.Error(w, `{"code":5,"message":"Bug not found."}`, http.StatusNotFound)
			return
		}
		io.WriteString(w, record)
		return
	}
	if r.URL.Path != "/v1/querybatch" || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
		http.Error(w, `{"code":5,"message":"Not Found"}`, http.StatusNotFound)
		return
	}
	s.batch(w, r)
}

func (s *service) batch(w http.ResponseWriter, r *http.Request) {
	type vuln struct {
		ID       string `json:"id"`
		Modified string `json:"modified"`
	}
	type result struct {
		Vulns []vuln `json:"vulns,omitempty"`
		Next  string `json:"next_page_token,omitempty"`
	}
	var batch struct {
		Queries []struct {
			Package struct{ Name, Ecosystem string }
			Version string
			Token   string `json:"page_token"`
		}
	}
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&batch); err != nil || len(batch.Queries) > 1000 {
		http.Error(w, `{"code":3,"message":"Invalid query."}`, http.StatusBadRequest)
		return
	}
	answer := struct {
		Results []result `json:"results"`
	}{}
	for _, q := range batch.Queries {
		ids := hits[q.Package.Ecosystem+" "+q.Package.Name+" "+q.Version]
		var res result
		from := 0
		if q.Token != "" {
			fmt.Sscanf(q.Token, "from-%d", &from)
		}
		to := len(ids)
		if s.page > 0 && from+s.page < to {
			to = from + s.page
			res.Next = fmt.Sprintf("from-%d", to)
		}
		for _, id := range ids[from:to] {
			res.Vulns = append(res.Vulns, vuln{id, "2026-11-01T00:00:00Z"})
		}
		answer.Results = append(answer.Results, res)
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func TestAPI(t *testing.T) {
	t.Parallel()
	for _, page := range []int{0, 1, 2} {
		s := &service{page: page}
		r, err := Run(t.Context(), bill(), s.start(t), nil, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		if got := found(r); got != wantFound || r.Scanned != 4 {
			t.Errorf("pages of %d: %d scanned, found\n%swant\n%s", page, r.Scanned, got, wantFound)
		}
		if n := len(slices.DeleteFunc(slices.Clone(s.asked), func(a string) bool { return a != "POST /v1/querybatch" })); n != []int{1, 3, 2}[page] {
			t.Errorf("pages of %d: %d batches", page, n)
		}
	}
}

// once answers the first request for a path.
func once(path string, answer func(w http.ResponseWriter)) func(http.ResponseWriter, *http.Request) bool {
	var mu sync.Mutex
	done := false
	return func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if done || r.URL.Path != path {
			return false
		}
		done = true
		answer(w)
		return true
	}
}

func always(path string, answer func(w http.ResponseWriter)) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == path {
			answer(w)
		}
		return r.URL.Path == path
	}
}

func TestAPIRecovers(t *testing.T) {
	t.Parallel()
	status := func(code int) func(w http.ResponseWriter) {
		return func(w http.ResponseWriter) { http.Error(w, "x", code) }
	}
	for name, first := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"busy":            once("/v1/querybatch", status(429)),
		"a fault":         once("/v1/querybatch", status(500)),
		"a fault, record": once("/v1/vulns/GO-2026-0001", status(503)),
		"closes at once":  once("/v1/querybatch", func(http.ResponseWriter) { panic(http.ErrAbortHandler) }),
		"a field, new": always("/v1/vulns/GO-2026-0001", func(w http.ResponseWriter) {
			io.WriteString(w, strings.Replace(records["GO-2026-0001"], "{", `{"brand_new": {"a": [1]}, `, 1))
		}),
		"a severity's type": always("/v1/vulns/GO-2026-0001", func(w http.ResponseWriter) {
			io.WriteString(w, strings.Replace(records["GO-2026-0001"], "{", `{"severity": [{"type": "CVSS_V9", "score": "CVSS:9.0/X:Y"}], `, 1))
		}),
	} {
		r, err := Run(t.Context(), bill(), (&service{first: first}).start(t), nil, time.Time{})
		if err != nil || found(r) != wantFound {
			t.Errorf("%s: %v, found\n%s", name, err, found(r))
		}
	}
}

func TestAPIFails(t *testing.T) {
	t.Parallel()
	text := func(text string) func(w http.ResponseWriter) {
		return func(w http.ResponseWriter) { io.WriteString(w, text) }
	}
	page, asked := 0, 0
	const advice = "try again later, or give a copy of its database with --offline"
	for _, tc := range []struct {
		name, path string
		answer     func(w http.ResponseWriter)
		want       string
	}{
		{"always a fault", "/v1/querybatch", func(w http.ResponseWriter) { http.Error(w, "down", 500) }, "500 Internal Server Error"},
		{"always busy", "/v1/querybatch", func(w http.ResponseWriter) { http.Error(w, "slowly", http.StatusTooManyRequests) }, "429 Too Many Requests"},
		{"refused", "/v1/querybatch", func(w http.ResponseWriter) { http.Error(w, "no", 400) }, "400 Bad Request"},
		{"no JSON", "/v1/querybatch", text("<html>"), "syntax error"},
		{"half an answer", "/v1/querybatch", text(`{"results": [{}]}`), "answered 1 of 4 questions"},
		{"too much of an answer", "/v1/querybatch", text(`{"results": [{}, {}, {}, {}, {"next_page_token": "x"}]}`), "answered 5 of 4 questions"},
		{"half a page", "/v1/querybatch", func(w http.ResponseWriter) {
			if page++; page == 1 {
				io.WriteString(w, `{"results": [{"next_page_token": "x"}, {"next_page_token": "x"}, {}, {}]}`)
			} else {
				io.WriteString(w, `{"results": [{}]}`)
			}
		}, "answered 1 of 2 questions"},
		{"pages without end", "/v1/querybatch", func(w http.ResponseWriter) {
			answer := `{"results": [{"next_page_token": "x"}]}`
			if asked++; asked == 1 {
				answer = `{"results": [{"next_page_token": "x"}, {}, {}, {}]}`
			}
			io.WriteString(w, answer)
		}, "more than 100 pages"},
		{"a path for a name", "/v1/querybatch", text(`{"results": [{"vulns": [{"id": "../../x"}]}, {}, {}, {}]}`), `"../../x", which is no name`},
		{"a record that is none", "/v1/vulns/GO-2026-0001", text("[]"), "GO-2026-0001: this is no record"},
		{"another record", "/v1/vulns/GO-2026-0001", text(records["DSA-6001-1"]), `the answer is about "DSA-6001-1"`},
		{"a record that is gone", "/v1/vulns/GO-2026-0001", func(w http.ResponseWriter) { http.Error(w, "x", 404) }, "the answer is 404 Not Found"},
		{"a version that is none", "/v1/vulns/GO-2026-0001", text(strings.Replace(records["GO-2026-0001"], `"1.2.4"`, `"one"`, 1)), `the version "one" of example.org/mod`},
	} {
		api := (&service{first: always(tc.path, tc.answer)}).start(t)
		r, err := Run(t.Context(), bill(), api, nil, time.Time{})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q; found\n%s", tc.name, err, tc.want, found(r))
			continue
		}
		if tc.name != "a version that is none" && (fault.Of(err) != fault.OfMachine || !strings.Contains(err.Error(), advice)) {
			t.Errorf("%s: kind %d, %v", tc.name, fault.Of(err), err)
		}
	}
	server := httptest.NewServer(nil)
	server.Close()
	if _, err := Run(t.Context(), bill(), API{URL: server.URL, Wait: time.Millisecond}, nil, time.Time{}); err == nil || !strings.Contains(err.Error(), "connection refused; "+advice) {
		t.Errorf("nobody there: %v", err)
	}
}

// An interrupt ends a scan while the service keeps it waiting.
func TestAPIInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s := &service{first: func(http.ResponseWriter, *http.Request) bool { cancel(); return false }}
	if _, err := Run(ctx, bill(), s.start(t), nil, time.Time{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that it was cancelled", err)
	}
}

// replies are given one after the other.
type replies struct {
	list  []func() (*http.Response, error)
	asked int
}

func (r *replies) RoundTrip(*http.Request) (*http.Response, error) {
	r.asked++
	return r.list[min(r.asked, len(r.list))-1]()
}

func TestPatience(t *testing.T) {
	t.Parallel()
	status := func(code int, retryAfter string) func() (*http.Response, error) {
		return func() (*http.Response, error) {
			return &http.Response{StatusCode: code, Header: http.Header{"Retry-After": {retryAfter}}, Body: io.NopCloser(strings.NewReader("x"))}, nil
		}
	}
	for _, tc := range []struct {
		name   string
		list   []func() (*http.Response, error)
		asked  int
		waited time.Duration
	}{
		{"fine", []func() (*http.Response, error){status(200, "")}, 1, 0},
		{"refused", []func() (*http.Response, error){status(404, "9")}, 1, 0},
		{"a fault", []func() (*http.Response, error){status(500, "")}, 4, 7 * time.Second},
		{"as long as it asks", []func() (*http.Response, error){status(429, "20"), status(200, "")}, 2, 20 * time.Second},
		{"not for ever", []func() (*http.Response, error){status(429, "86400"), status(200, "")}, 2, time.Minute},
		{"nonsense", []func() (*http.Response, error){status(429, "-5"), status(429, "soon"), status(200, "")}, 3, 3 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := &replies{list: tc.list}
			begun := time.Now()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://osv.invalid/", strings.NewReader("question"))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := patient{next: r}.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if waited := time.Since(begun); r.asked != tc.asked || waited != tc.waited {
				t.Errorf("%s: asked %d times in %s, want %d in %s", tc.name, r.asked, waited, tc.asked, tc.waited)
			}
		})
	}
}

// An answer without an end, and one that does not come.
func TestPatienceHasLimits(t *testing.T) {
	t.Parallel()
	endless := io.NopCloser(endless{})
	r := &replies{list: []func() (*http.Response, error){func() (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: endless}, nil
	}}}
	req := httptest.NewRequest(http.MethodGet, "http://osv.invalid/", nil)
	resp, err := patient{next: r}.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err == nil || n != maxReply {
		t.Errorf("read %d bytes of an endless answer (%v)", n, err)
	}
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		_, err := patient{next: silent{}}.RoundTrip(httptest.NewRequest(http.MethodGet, "http://osv.invalid/", nil))
		if waited := time.Since(begun); !errors.Is(err, context.DeadlineExceeded) || waited != tries*oneReply+7*time.Second {
			t.Errorf("a silent service: %v after %s", err, waited)
		}
	})
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

type silent struct{}

func (silent) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}
