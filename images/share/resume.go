package share

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// resuming goes on with a download that broke off, or in which nothing came any
// more: the library begins a layer of a gigabyte anew. Whether the bytes are the
// right ones is for the reader to say, who knows their digest.
type resuming struct {
	http.RoundTripper
	stall, pause time.Duration
}

// RoundTrip implements [http.RoundTripper].
func (r resuming) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.RoundTripper.RoundTrip(req)
	if err != nil || req.Method != http.MethodGet || resp.StatusCode != http.StatusOK || resp.ContentLength <= 0 {
		return resp, err
	}
	b := &body{resuming: r, request: req, length: resp.ContentLength}
	b.take(resp.Body)
	resp.Body = b
	return resp, nil
}

// body is what is read of a download, however many requests that takes.
type body struct {
	resuming
	request *http.Request
	length  int64 // bytes
	got     int64
	failed  int // requests since something came

	from  io.ReadCloser
	timer *time.Timer
}

// take reads from a response, which is closed when nothing comes.
func (b *body) take(from io.ReadCloser) {
	b.from = from
	b.timer = time.AfterFunc(b.stall, func() { discard(from) })
}

// Read implements [io.Reader].
func (b *body) Read(p []byte) (int, error) {
	for {
		b.timer.Reset(b.stall)
		n, err := b.from.Read(p)
		stalled := !b.timer.Stop()
		b.got += int64(n)
		switch {
		case n > 0:
			b.failed = 0
			return n, nil // an error comes again, or the rest does
		case err == nil:
			return 0, nil
		case errors.Is(err, io.EOF) && b.got >= b.length:
			return 0, io.EOF
		case stalled:
			err = fmt.Errorf("nothing came for %v", b.stall)
		}
		if again := b.again(); again != nil {
			return 0, fmt.Errorf("the download ended after %d of %d bytes: %w", b.got, b.length, errors.Join(err, again))
		}
	}
}

// again asks for the rest.
func (b *body) again() error {
	discard(b.from)
	for {
		if b.failed++; b.failed > tries {
			return fmt.Errorf("%d more requests did not help", tries)
		}
		select {
		case <-b.request.Context().Done():
			return context.Cause(b.request.Context())
		case <-time.After(time.Duration(b.failed) * b.pause):
		}
		req := b.request.Clone(b.request.Context())
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", b.got))
		resp, err := b.RoundTripper.RoundTrip(req)
		if err != nil {
			continue
		}
		there := strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", b.got))
		if resp.StatusCode == http.StatusPartialContent && there {
			b.take(resp.Body)
			return nil
		}
		discard(resp.Body)
		if resp.StatusCode < 500 {
			return fmt.Errorf("it cannot be continued: %s", resp.Status)
		}
	}
}

// Close implements [io.Closer].
func (b *body) Close() error {
	b.timer.Stop()
	return b.from.Close()
}
