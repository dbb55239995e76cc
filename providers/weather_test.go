package providers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// sky answers requests with what is next in a list of faults, and then with 200.
type sky struct {
	faults []func(http.ResponseWriter)
	bodies []string
}

func (s *sky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.bodies = append(s.bodies, string(body))
	if len(s.faults) > 0 {
		f := s.faults[0]
		s.faults = s.faults[1:]
		f(w)
	}
}

func answer(status int, headers ...string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		for pair := range slices.Chunk(headers, 2) {
			w.Header().Set(pair[0], pair[1])
		}
		w.WriteHeader(status)
	}
}

// lost ends the connection instead of answering.
func lost(http.ResponseWriter) { panic(http.ErrAbortHandler) }

func TestWeather(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		method string
		faults []func(http.ResponseWriter)
		busy   []int
		sent   int
		status int // 0 is an error
		pause  time.Duration
	}{
		"fine":                       {"GET", nil, nil, 1, 200, 0},
		"limit":                      {"GET", []func(http.ResponseWriter){answer(429, "Retry-After", "7")}, nil, 2, 200, 7 * time.Second},
		"limit of a create":          {"POST", []func(http.ResponseWriter){answer(429), answer(429)}, nil, 3, 200, 0},
		"failure":                    {"PUT", []func(http.ResponseWriter){answer(502), lost, answer(500)}, nil, 4, 200, 0},
		"failure of a create":        {"POST", []func(http.ResponseWriter){answer(502)}, nil, 1, 502, 0},
		"lost answer of a create":    {"POST", []func(http.ResponseWriter){lost}, nil, 1, 0, 0},
		"create told to come back":   {"POST", []func(http.ResponseWriter){answer(503, "Retry-After", "2")}, nil, 2, 200, 2 * time.Second},
		"locked":                     {"POST", []func(http.ResponseWriter){answer(423)}, []int{423}, 2, 200, 0},
		"locked, and nobody said so": {"POST", []func(http.ResponseWriter){answer(423)}, nil, 1, 423, 0},
		"refused":                    {"DELETE", []func(http.ResponseWriter){answer(404)}, nil, 1, 404, 0},
		"never":                      {"GET", []func(http.ResponseWriter){answer(500), answer(500), answer(500), answer(500), answer(500)}, nil, 4, 500, 0},
		"too long":                   {"GET", []func(http.ResponseWriter){answer(429, "Retry-After", "86400")}, nil, 1, 0, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &sky{faults: test.faults}
			server := httptest.NewServer(s)
			defer server.Close()
			var waited []time.Duration
			w := &Weather{Attempts: 4, Busy: test.busy, wait: func(_ context.Context, d time.Duration) error { waited = append(waited, d); return nil }}
			request, err := http.NewRequestWithContext(t.Context(), test.method, server.URL, strings.NewReader("body"))
			if err != nil {
				t.Fatal(err)
			}
			response, err := w.RoundTrip(request)
			if err == nil {
				response.Body.Close()
			}
			if test.status == 0 != (err != nil) || err == nil && response.StatusCode != test.status {
				t.Errorf("%v, %v", response, err)
			}
			if !slices.Equal(s.bodies, slices.Repeat([]string{"body"}, test.sent)) {
				t.Errorf("the server saw %q", s.bodies)
			}
			if test.pause > 0 && (len(waited) == 0 || waited[0] < test.pause || waited[0] > test.pause+2*time.Second) {
				t.Errorf("waited %v", waited)
			}
		})
	}
}

// Hetzner says when all of an hour's requests are there again; the next one is sooner.
func TestWeatherOfAnHour(t *testing.T) {
	t.Parallel()
	full := strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10)
	s := &sky{faults: []func(http.ResponseWriter){answer(200, "RateLimit-Limit", "3600", "RateLimit-Remaining", "0", "RateLimit-Reset", full)}}
	server := httptest.NewServer(s)
	defer server.Close()
	var paused []time.Duration
	client := http.Client{Transport: &Weather{wait: func(_ context.Context, d time.Duration) error {
		paused = append(paused, d)
		return nil
	}}}
	for range 2 {
		response, err := client.Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
	}
	if len(paused) == 0 || paused[0] <= 0 || paused[0] > time.Second {
		t.Errorf("the pauses are %v", paused)
	}
}

// When the provider says that no request is left, none is sent until there is one.
func TestWeatherLearns(t *testing.T) {
	t.Parallel()
	reset := time.Now().Add(time.Hour)
	for name, headers := range map[string][]string{
		"unix time":  {"RateLimit-Remaining", "0", "RateLimit-Reset", strconv.FormatInt(reset.Unix(), 10)},
		"per minute": {"X-RateLimit-Remaining", "0", "X-RateLimit-Limit", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &sky{faults: []func(http.ResponseWriter){answer(200, headers...)}}
			server := httptest.NewServer(s)
			defer server.Close()
			stop := errors.New("stopped")
			w := &Weather{Patience: 2 * time.Hour, wait: func(_ context.Context, d time.Duration) error {
				if d < 30*time.Second {
					t.Errorf("a pause of %s", d)
				}
				return stop
			}}
			client := http.Client{Transport: w}
			response, err := client.Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if _, err := client.Get(server.URL); !errors.Is(err, stop) || len(s.bodies) != 1 {
				t.Errorf("%v; %d requests were sent", err, len(s.bodies))
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"": "none", "3": "3s", "0": "0s", "-1": "none", "soon": "none", "1e3": "none",
		"Mon, 30 Nov 2026 12:00:09 GMT": "9s", "Mon, 30 Nov 2026 11:00:00 GMT": "0s",
	} {
		d, told := retryAfter(http.Header{"Retry-After": {text}}, now)
		got := "none"
		if told {
			got = fmt.Sprint(d)
		}
		if got != want {
			t.Errorf("%q: %s, not %s", text, got, want)
		}
	}
}

// A service that cannot show who it is is asked once.
func TestWeatherWithAStranger(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(&sky{})
	defer server.Close()
	pauses := 0
	client := http.Client{Transport: &Weather{wait: func(context.Context, time.Duration) error { pauses++; return nil }}}
	if _, err := client.Get(server.URL); err == nil || pauses > 0 {
		t.Errorf("%v, after %d pauses", err, pauses)
	}
}
