package assay

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"ingot/layers"
)

func TestAskHTTP(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/":
			w.Write([]byte("hello from the tunnel"))
		case "/moved":
			http.Redirect(w, r, "/", http.StatusFound)
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	for name, c := range map[string]struct {
		check layers.HTTPCheck
		want  string // of the complaint, empty when it must hold
	}{
		"holds":            {layers.HTTPCheck{Path: "/", Contains: "hello"}, ""},
		"other text":       {layers.HTTPCheck{Path: "/", Contains: "goodbye"}, "does not contain"},
		"other status":     {layers.HTTPCheck{Path: "/gone"}, "with 404 and should be with 200"},
		"expected status":  {layers.HTTPCheck{Path: "/gone", Status: 404}, ""},
		"redirects do not": {layers.HTTPCheck{Path: "/moved", Status: 302}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := askHTTP(t.Context(), (&net.Dialer{}).DialContext, server.Listener.Addr().String(), c.check)
			holds(t, err, c.want)
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		refuse := func(context.Context, string, string) (net.Conn, error) { return nil, syscall.ECONNREFUSED }
		_, err := askHTTP(t.Context(), refuse, "10.8.0.1:80", layers.HTTPCheck{Port: 80, Path: "/"})
		holds(t, err, "no answer to GET / at port 80")
	})
}

func TestDialState(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	dial := (&net.Dialer{}).DialContext
	if state, err := dialState(t.Context(), dial, address); state != "open" || err != nil {
		t.Errorf("listening: %s, %v", state, err)
	}
	listener.Close()
	if state, err := dialState(t.Context(), dial, address); state != "closed" || err != nil {
		t.Errorf("refused: %s, %v", state, err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	silent := func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
	if state, err := dialState(over, silent, address); state != "filtered" || err != nil {
		t.Errorf("silent: %s, %v", state, err)
	}
	broken := func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("the tunnel is gone") }
	if state, err := dialState(t.Context(), broken, address); err == nil {
		t.Errorf("a broken tunnel makes a port %q", state)
	}
}

func TestCompareReach(t *testing.T) {
	c := layers.ReachCheck{Proto: "tcp", Port: 80, From: layers.FromInternet, State: "filtered"}
	_, err := compareReach(c, "a stranger", "filtered")
	holds(t, err, "")
	_, err = compareReach(c, "a stranger", "closed")
	holds(t, err, "tcp/80 is closed to a stranger and should be filtered")
}

// holds wants no error, or one that says the check was made and did not hold.
func holds(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Error(err)
	case want != "" && (!errors.Is(err, errUnmet) || !strings.Contains(err.Error(), want)):
		t.Errorf("%v, want %q", err, want)
	}
}
