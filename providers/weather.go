package providers

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	"ingot/fault"
)

// Weather is how one credential gets along with one API: requests are sent no faster
// than the provider's own headers allow, and those that may be sent twice are sent
// again when the service has a bad moment. It is an http.RoundTripper for an SDK's
// client; switch the SDK's own retries off.
type Weather struct {
	Base http.RoundTripper // nil is http.DefaultTransport
	// Attempts is how often a request is sent at most, 0 is 8.
	Attempts int
	// Busy are status codes beside 429 that say that nothing was done and that later
	// something may be: 423 and 409 at some providers. Requests that create are sent
	// again after them, too.
	Busy []int
	// Patience is how long one pause may be, 0 is 5 minutes. A provider that asks for
	// more is given up.
	Patience time.Duration
	// Say is told of pauses that a person would notice; nil is nobody.
	Say func(string)

	mu    sync.Mutex
	until time.Time // no request before
	wait  func(context.Context, time.Duration) error
}

const (
	weatherAttempts = 8
	weatherPatience = 5 * time.Minute
	// noticed is how long a pause is that is talked about.
	noticed = 3 * time.Second
)

// RoundTrip implements http.RoundTripper.
func (w *Weather) RoundTrip(request *http.Request) (*http.Response, error) {
	attempts := w.Attempts
	if attempts == 0 {
		attempts = weatherAttempts
	}
	for n := 1; ; n++ {
		if err := w.turn(request.Context()); err != nil {
			return nil, err
		}
		if n > 1 && request.Body != nil {
			body, err := request.GetBody()
			if err != nil {
				return nil, err
			}
			request = request.Clone(request.Context())
			request.Body = body
		}
		response, err := w.base().RoundTrip(request)
		pause, again := w.judge(request, response, err, n)
		if !again || n == attempts {
			return response, err
		}
		reason := ""
		if err != nil {
			reason = err.Error()
		} else {
			reason = response.Status
			_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<20))
			response.Body.Close()
		}
		if err := w.rest(request.Context(), pause, reason); err != nil {
			return nil, err
		}
	}
}

func (w *Weather) base() http.RoundTripper {
	if w.Base == nil {
		return http.DefaultTransport
	}
	return w.Base
}

// turn waits for what earlier answers asked for.
func (w *Weather) turn(ctx context.Context) error {
	w.mu.Lock()
	pause := time.Until(w.until)
	w.mu.Unlock()
	if pause <= 0 {
		return nil
	}
	return w.rest(ctx, pause, "its limit of requests is used up")
}

// judge says whether a request shall be sent again, and after what pause.
func (w *Weather) judge(request *http.Request, response *http.Response, err error, n int) (time.Duration, bool) {
	repeatable := request.Body == nil || request.Body == http.NoBody || request.GetBody != nil
	if err != nil {
		return backoff(n), repeatable && isIdempotent(request.Method) && request.Context().Err() == nil && !isStranger(err)
	}
	w.learn(response)
	asked, told := retryAfter(response.Header, time.Now())
	pause := backoff(n)
	if told {
		// A little later than it says: all that wait would come at once.
		pause = asked + time.Duration(rand.Int64N(int64(time.Second)))
	}
	switch {
	case response.StatusCode == http.StatusTooManyRequests, w.isBusy(response.StatusCode):
		return pause, repeatable
	case response.StatusCode == http.StatusServiceUnavailable && told:
		return pause, repeatable // it says that it did nothing
	case response.StatusCode >= 500 && response.StatusCode != http.StatusNotImplemented:
		return pause, repeatable && isIdempotent(request.Method)
	}
	return 0, false
}

func (w *Weather) isBusy(status int) bool {
	for _, s := range w.Busy {
		if s == status {
			return true
		}
	}
	return false
}

// isIdempotent reports whether sending a request twice does what sending it once
// does (RFC 9110 §9.2.2). The answer to a POST that was lost may have come after
// something was made: whoever sent it has to look.
func isIdempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodOptions:
		return true
	}
	return false
}

// isStranger reports that the service could not show who it is, which it cannot the
// next time either.
func isStranger(err error) bool {
	var certificate *tls.CertificateVerificationError
	var alert tls.AlertError
	return errors.As(err, &certificate) || errors.As(err, &alert)
}

// learn reads how many requests are left. Two spellings are in use: Hetzner's and
// DigitalOcean's "RateLimit-*" with the Unix time of the next one, and IONOS'
// "X-RateLimit-*" with a limit per minute.
func (w *Weather) learn(response *http.Response) {
	h := response.Header
	var free time.Time
	if left, err := strconv.Atoi(h.Get("RateLimit-Remaining")); err == nil && left <= 0 {
		if reset, err := strconv.ParseInt(h.Get("RateLimit-Reset"), 10, 64); err == nil {
			free = time.Unix(reset, 0)
			// Hetzner's is when all of the hour's are there again, and one is sooner.
			if perHour, err := strconv.Atoi(h.Get("RateLimit-Limit")); err == nil && perHour > 0 {
				if soon := time.Now().Add(time.Hour / time.Duration(perHour)); soon.Before(free) {
					free = soon
				}
			}
		}
	}
	if left, err := strconv.Atoi(h.Get("X-RateLimit-Remaining")); err == nil && left <= 0 {
		if perMinute, err := strconv.Atoi(h.Get("X-RateLimit-Limit")); err == nil && perMinute > 0 {
			free = time.Now().Add(time.Minute / time.Duration(perMinute))
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if free.After(w.until) {
		w.until = free
	}
}

// retryAfter reads the header (RFC 9110 §10.2.3): seconds or a date.
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second, true
	}
	if date, err := http.ParseTime(text); err == nil {
		return max(0, date.Sub(now)), true
	}
	return 0, false
}

// backoff is the pause before attempt n+1: between nothing and 0.5 s, doubled each
// time, at most 30 s.
func backoff(n int) time.Duration {
	top := min(30*time.Second, 500*time.Millisecond<<min(n-1, 10))
	return time.Duration(rand.Int64N(int64(top)))
}

// rest waits, or says that it will not.
func (w *Weather) rest(ctx context.Context, pause time.Duration, reason string) error {
	patience := w.Patience
	if patience == 0 {
		patience = weatherPatience
	}
	if pause > patience {
		return fault.Provider(fmt.Errorf("the provider asks to wait for %s (%s); try again then", pause.Round(time.Second), reason))
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < pause {
		return errors.Join(context.DeadlineExceeded, fmt.Errorf("the provider asks to wait for %s (%s)", pause.Round(time.Second), reason))
	}
	if pause >= noticed && w.Say != nil {
		w.Say(fmt.Sprintf("the provider is asked again in %s (%s)", pause.Round(time.Second), reason))
	}
	if w.wait != nil {
		return w.wait(ctx, pause)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pause):
		return nil
	}
}
