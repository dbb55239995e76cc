package libvirt

import (
	"context"
	"errors"
	"fmt"

	api "github.com/digitalocean/go-libvirt"

	"ingot/fault"
)

// await waits for a call or for the end of the context. The library's calls know no
// context; the answer to one that nobody waits for any more is thrown away.
func await[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		value, err := f()
		done <- answer{value, err}
	}()
	select {
	case a := <-done:
		return a.value, a.err
	case <-ctx.Done():
		var zero T
		return zero, ctx.Err()
	}
}

// ask sends one request. What says what it is for, in errors.
func ask[T any](ctx context.Context, p *Provider, what string, f func(*api.Libvirt) (T, error)) (T, error) {
	var zero T
	if err := ctx.Err(); err != nil {
		return zero, err
	}
	conn, err := p.libvirt(ctx)
	if err != nil {
		return zero, err
	}
	value, err := await(ctx, func() (T, error) { return f(conn) })
	if err != nil {
		return zero, problem(what, err)
	}
	return value, nil
}

// tell is ask for a request without an answer.
func tell(ctx context.Context, p *Provider, what string, f func(*api.Libvirt) error) error {
	_, err := ask(ctx, p, what, func(l *api.Libvirt) (struct{}, error) { return struct{}{}, f(l) })
	return err
}

// problem marks libvirt's errors by who can do something about them.
func problem(what string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	wrapped := fmt.Errorf("%s: %w", what, err)
	switch {
	case isCode(err, api.ErrAuthFailed, api.ErrAuthCancelled, api.ErrAuthUnavailable, api.ErrAccessDenied, api.ErrOperationDenied):
		return fault.Input(fmt.Errorf("%w; this user may not change that in libvirt", wrapped))
	case errors.Is(err, api.ErrInterrupted):
		return fault.Provider(fmt.Errorf("%w: libvirt ended the connection; look at its log and repeat the command", wrapped))
	}
	return fault.Provider(wrapped)
}

// isCode reports whether an error is one of libvirt's with one of these numbers.
func isCode(err error, codes ...api.ErrorNumber) bool {
	var e api.Error
	if !errors.As(err, &e) {
		return false
	}
	for _, c := range codes {
		if e.Code == uint32(c) {
			return true
		}
	}
	return false
}

// isGone reports whether libvirt says that there is no such thing.
func isGone(err error) bool {
	return isCode(err, api.ErrNoDomain, api.ErrNoStorageVol, api.ErrNoNwfilter, api.ErrNoDomainMetadata)
}
