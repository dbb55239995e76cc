package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const goodConfig = `{"ignition":{"version":"3.6.0"}}`

// service is a metadata service that notes what it was asked.
type service struct {
	mu    sync.Mutex
	asked []string // method, path and headers of interest
	serve func(n int, w http.ResponseWriter, r *http.Request)
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	line := r.Method + " " + r.Host + r.URL.RequestURI()
	for _, h := range []string{"X-Aws-Ec2-Metadata-Token", "X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "Metadata-Flavor", "Metadata", "Metadata-Token"} {
		if v := r.Header.Get(h); v != "" {
			line += " " + h + "=" + v
		}
	}
	s.mu.Lock()
	s.asked = append(s.asked, line)
	n := len(s.asked)
	s.mu.Unlock()
	s.serve(n, w, r)
}

// start serves s wherever a client of ours connects to.
func (s *service) start(t *testing.T) *http.Client {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	client := newClient()
	client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
	}
	return client
}

func askFor(t *testing.T, platform string, patience time.Duration, serve func(n int, w http.ResponseWriter, r *http.Request)) (answer, []string) {
	t.Helper()
	s := &service{serve: serve}
	client := s.start(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	a := ask(ctx, client, endpointsOf(platform), time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	return a, s.asked
}

// Every provider is asked in its own way, and nobody else's.
func TestProviders(t *testing.T) {
	for platform, want := range map[string][]string{
		"openstack": {"GET 169.254.169.254/openstack/latest/user_data"},
		"aws": {
			"PUT 169.254.169.254/latest/api/token X-Aws-Ec2-Metadata-Token-Ttl-Seconds=300",
			"GET 169.254.169.254/latest/user-data X-Aws-Ec2-Metadata-Token=token",
		},
		"gcp": {"GET 169.254.169.254/computeMetadata/v1/instance/attributes/user-data Metadata-Flavor=Google"},
		"hetzner": {
			"GET 169.254.169.254/hetzner/v1/userdata",
			"GET 169.254.169.254/hetzner/v1/metadata/network-config",
		},
		"digitalocean": {"GET 169.254.169.254/metadata/v1/user-data"},
		"vultr":        {"GET 169.254.169.254/user-data/user-data"},
		"upcloud":      {"GET 169.254.169.254/metadata/v1/user_data"},
		"exoscale":     {"GET 169.254.169.254/1.0/user-data"},
		"akamai": {
			"PUT 169.254.169.254/v1/token",
			"GET 169.254.169.254/v1/user-data Metadata-Token=token",
		},
		"azure":    {"GET 169.254.169.254/metadata/instance/compute/userData?api-version=2021-01-01&format=text Metadata=true"},
		"scaleway": {"GET 169.254.42.42/user_data/cloud-init"},
	} {
		t.Run(platform, func(t *testing.T) {
			t.Parallel()
			a, asked := askFor(t, platform, time.Minute, func(_ int, w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method == http.MethodPut:
					fmt.Fprint(w, "token")
				case platform == "akamai" || platform == "azure":
					fmt.Fprint(w, base64.StdEncoding.EncodeToString([]byte(goodConfig)))
				default:
					fmt.Fprint(w, goodConfig)
				}
			})
			if string(a.Config) != goodConfig || !slices.Equal(asked, want) {
				t.Errorf("got %q after asking %q", a.Config, asked)
			}
		})
	}
}

// Every platform that DMI can name and that has a metadata service is known.
func TestEveryPlatformIsKnown(t *testing.T) {
	for _, r := range dmiRules {
		if list := endpointsOf(r.platform); r.platform != "qemu" && (len(list) != 1 || list[0].platform != r.platform) {
			t.Errorf("%s is asked as %v", r.platform, list)
		}
	}
}

// An unknown platform is asked in the documented order, Scaleway's address not
// at all.
func TestUnknownPlatform(t *testing.T) {
	for _, platform := range []string{"", "qemu", "metal"} {
		var order []string
		for _, e := range endpointsOf(platform) {
			order = append(order, e.platform)
		}
		if got := strings.Join(order, " "); got != "openstack aws gcp hetzner digitalocean vultr upcloud exoscale akamai azure" {
			t.Errorf("%q: %s", platform, got)
		}
	}
	a, asked := askFor(t, "qemu", time.Minute, func(_ int, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/hetzner/v1/userdata" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, goodConfig)
	})
	if string(a.Config) != goodConfig || a.URL != "http://169.254.169.254/hetzner/v1/userdata" || len(asked) != 5 {
		t.Errorf("got %q from %s after asking %q", a.Config, a.URL, asked)
	}
}

// What a service may answer, and what the machine makes of it.
func TestAnswers(t *testing.T) {
	status := func(code int) func(int, http.ResponseWriter, *http.Request) {
		return func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	body := func(s string) func(int, http.ResponseWriter, *http.Request) {
		return func(_ int, w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, s) }
	}
	for _, tc := range []struct {
		name, platform string
		serve          func(n int, w http.ResponseWriter, r *http.Request)
		requests       int // 0: many
		problem        string
		refused        bool
	}{
		{"fails twice", "vultr", func(n int, w http.ResponseWriter, _ *http.Request) {
			if n < 3 {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			fmt.Fprint(w, goodConfig)
		}, 3, "", false},
		{"token fails once", "aws", func(n int, w http.ResponseWriter, _ *http.Request) {
			if n == 1 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			fmt.Fprint(w, goodConfig)
		}, 3, "", false},
		{"hangs up once", "vultr", func(n int, w http.ResponseWriter, _ *http.Request) {
			if n == 1 {
				panic(http.ErrAbortHandler)
			}
			fmt.Fprint(w, goodConfig)
		}, 2, "", false},
		{"none", "hetzner", status(404), 1, "it has no user-data for this machine", false},
		{"none, in other words", "hetzner", status(204), 1, "it has no user-data for this machine", false},
		{"none anywhere", "qemu", status(404), 10, "it has no user-data for this machine", false},
		{"forbidden", "hetzner", status(403), 1, "hetzner: HTTP status 403", false},
		{"always fails", "hetzner", status(500), 0, "hetzner: HTTP status 500", false},
		{"leads elsewhere", "hetzner", func(_ int, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		}, 1, "hetzner: HTTP status 302", false},
		{"empty", "hetzner", body(""), 1, "hetzner: empty", false},
		{"cloud-config", "hetzner", body("#cloud-config\n"), 1, "hetzner: not an instance config: it is cloud-config", true},
		{"10 MB", "hetzner", body(strings.Repeat("{", 10<<20)), 1, "hetzner: not an instance config: larger than", true},
		{"not base64", "azure", body(goodConfig), 1, "azure: not an instance config: it is not base64", true},
		{"cut short", "hetzner", func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, goodConfig)
		}, 0, "hetzner: unexpected EOF", false},
		{"bad in one place, none elsewhere", "qemu", func(n int, w http.ResponseWriter, _ *http.Request) {
			if n > 1 {
				w.WriteHeader(404)
				return
			}
			fmt.Fprint(w, "hello")
		}, 10, "openstack: not an instance config", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			patience := time.Minute
			if tc.requests == 0 {
				patience = time.Second // it is asked until then
			}
			a, asked := askFor(t, tc.platform, patience, tc.serve)
			if tc.problem == "" {
				if string(a.Config) != goodConfig {
					t.Errorf("got %q, %q", a.Config, a.Problems)
				}
			} else if a.Config != nil || len(a.Problems) != 1 || !strings.HasPrefix(a.Problems[0], tc.problem) || a.Refused != tc.refused {
				t.Errorf("got %q, %q, refused %v", a.Config, a.Problems, a.Refused)
			}
			if tc.requests > 0 && len(asked) != tc.requests || tc.requests == 0 && len(asked) < 2 {
				t.Errorf("%d requests: %q", len(asked), asked)
			}
		})
	}
}

// A service that never answers costs the patience and no more.
func TestNoAnswer(t *testing.T) {
	start := time.Now()
	a, _ := askFor(t, "hetzner", 200*time.Millisecond, func(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	if !slices.Equal(a.Problems, []string{"hetzner: no answer in time"}) {
		t.Errorf("got %q", a.Problems)
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("it took %v", d)
	}
}

// Where nobody listens, one endpoint is enough to know it for the round.
func TestNobodyListens(t *testing.T) {
	dials := 0
	client := newClient()
	client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		dials++
		return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:1")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	a := ask(ctx, client, endpointsOf("qemu"), time.Hour)
	if dials != 1 || len(a.Problems) != 1 || a.Problems[0] != "openstack: connect: connection refused" {
		t.Errorf("%d dials, %q", dials, a.Problems)
	}
}
