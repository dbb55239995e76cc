package share

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A download in which nothing comes any more is asked for again, from where it
// stopped, and given up when that does not help.
func TestResuming(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("0123456789"), 10_000)
	for name, tt := range map[string]struct {
		hangs int64 // requests, of which none sends more than another half of what is missing
		whole bool  // the server knows no ranges
		want  string
	}{
		"nothing happens":    {hangs: 0},
		"one hangs":          {hangs: 1},
		"three hang":         {hangs: 3},
		"no ranges":          {hangs: 1, whole: true, want: "it cannot be continued: 200 OK"},
		"it ends altogether": {hangs: 1000, want: "nothing came for"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			over := make(chan struct{})
			var requests atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				n := requests.Add(1)
				if tt.whole {
					r.Header.Del("Range")
				}
				if n > tt.hangs {
					http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
					return
				}
				half := len(content) / 2
				if tt.hangs > 100 && n > 1 {
					half = 0 // not a byte more
				}
				http.ServeContent(&hanging{w, half, over, r.Context()}, r, "", time.Time{}, bytes.NewReader(content))
			}))
			t.Cleanup(server.Close)
			t.Cleanup(func() { close(over) })
			client := http.Client{Transport: resuming{http.DefaultTransport, 100 * time.Millisecond, time.Millisecond}}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer discard(resp.Body)
			got, err := io.ReadAll(resp.Body)
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%v, want %q", err, tt.want)
				}
				return
			}
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

// hanging sends some bytes and then nothing.
type hanging struct {
	http.ResponseWriter
	left   int
	over   chan struct{}
	client context.Context
}

// Write implements [io.Writer].
func (h *hanging) Write(p []byte) (int, error) {
	n := min(len(p), h.left)
	_, _ = h.ResponseWriter.Write(p[:n])
	if h.left -= n; h.left > 0 {
		return n, nil
	}
	h.ResponseWriter.(http.Flusher).Flush()
	select {
	case <-h.over:
	case <-h.client.Done():
	}
	return n, io.ErrClosedPipe
}
