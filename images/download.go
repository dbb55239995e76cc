package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// What a source may answer. The texts follow its name.
var (
	errGone       = errors.New("no longer has this version")
	errAway       = errors.New("cannot be reached")
	errOtherBytes = errors.New("sent other bytes than the lock names")
	errIdle       = errors.New("nothing came any more")
)

// localError is this machine's own, such as a full disk: another source does
// not help.
type localError struct{ error }

func (e localError) Unwrap() error { return e.error }

// busy is the answer of a source that wants to be asked later.
type busy struct {
	status string
	after  time.Duration
}

func (b busy) Error() string {
	return fmt.Sprintf("answered %s and wants to be asked again in %s", b.status, b.after.Round(time.Second))
}

const (
	// downloadTries covers a passing fault. A try that brought worthwhile bytes
	// is none: what is there is continued.
	downloadTries = 3
	worthwhile    = 1 << 20
	// A source that is busy is waited for this often and this long; snapshot
	// archives answer 429 to who asks much.
	busyTries = 5
	busyWait  = 2 * time.Minute
	// busyDefault is for an answer that does not say how long.
	busyDefault = 15 * time.Second
)

// from downloads from one origin, more than once if need be.
func (f *fetcher) from(ctx context.Context, o *origin, part *part) error {
	failed, waited, otherBytes := 0, 0, 0
	for {
		before := part.size()
		err := f.try(ctx, o.url(part.of), part)
		var wait busy
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil, errors.Is(err, errGone), errors.As(err, new(localError)):
			return err
		case errors.Is(err, errOtherBytes):
			if otherBytes++; otherBytes == 2 {
				return err
			}
			continue // what was kept of an earlier try may have been wrong
		case errors.As(err, &wait):
			if waited++; waited > busyTries || wait.after > busyWait {
				return err
			}
			f.pause(ctx, wait.after)
			continue
		case part.size()-before >= worthwhile:
			failed = 0
		}
		if failed++; failed >= downloadTries {
			return err
		}
		f.pause(ctx, time.Duration(failed)*time.Second)
	}
}

// try continues the part, and finishes it when all is there and right.
func (f *fetcher) try(ctx context.Context, url string, part *part) error {
	if part.size() > part.of.Size {
		if err := part.clear(); err != nil {
			return err
		}
	}
	if part.size() < part.of.Size {
		if err := f.get(ctx, url, part); err != nil {
			return err
		}
	}
	return part.finish()
}

// get asks for what is missing. A server that knows no ranges sends all, which
// then replaces what was there. There is no If-Range: the digest at the end
// says more than a server's word, and a part may be continued elsewhere.
func (f *fetcher) get(ctx context.Context, url string, part *part) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	idle := time.AfterFunc(f.idle, func() { cancel(fmt.Errorf("%w for %s", errIdle, f.idle)) })
	defer idle.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if part.size() > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", part.size()))
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", errAway, because(ctx, err))
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusPartialContent:
	case http.StatusOK:
		err = part.clear()
	case http.StatusRequestedRangeNotSatisfiable: // its file ends before
		err = errors.Join(errOtherBytes, part.clear())
	default:
		err = refused(resp)
	}
	if err != nil {
		return err
	}
	body := io.LimitReader(resp.Body, part.of.Size-part.size()+1) // one more shows that it is another file
	buffer := make([]byte, 64<<10)
	for {
		n, err := body.Read(buffer)
		if n > 0 {
			idle.Reset(f.idle)
			if err := part.write(buffer[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("broke the download off after %d of %d bytes: %w", part.size(), part.of.Size, because(ctx, err))
		}
	}
}

// because is the reason for which ctx ended, if it did; else err itself.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// refused reads the status of an answer without a package.
func refused(resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusNotFound, http.StatusGone:
		return errGone
	case http.StatusTooManyRequests:
		return busy{resp.Status, retryAfter(resp.Header)}
	case http.StatusServiceUnavailable:
		if resp.Header.Get("Retry-After") != "" {
			return busy{resp.Status, retryAfter(resp.Header)}
		}
	}
	return fmt.Errorf("answered %s", resp.Status)
}

// retryAfter is seconds or a date, RFC 9110 §10.2.3.
func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseInt(text, 10, 32); err == nil && seconds >= 0 {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, time.Until(at))
	}
	return busyDefault
}

// partSuffix ends the names of packages that are not all there.
const partSuffix = ".part"

// part is a package that is not all there. Its name has the digest that it
// will have, so that another run, and another source, can go on with it.
type part struct {
	of    Package
	store debs
	file  *os.File // locked
	n     int64
}

// part opens what there is of a package, for this process alone. It is nil
// when another process has meanwhile brought the whole.
func (d debs) part(ctx context.Context, p Package) (*part, error) {
	file, err := openLocked(ctx, d.path(p)+partSuffix)
	if err != nil {
		return nil, err
	}
	if d.has(p) {
		return nil, errors.Join(os.Remove(file.Name()), file.Close())
	}
	n, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		file.Close()
		return nil, err
	}
	return &part{of: p, store: d, file: file, n: n}, nil
}

func (p *part) size() int64 { return p.n }

func (p *part) write(b []byte) error {
	n, err := p.file.WriteAt(b, p.n)
	p.n += int64(n)
	if err != nil {
		return localError{err}
	}
	return nil
}

func (p *part) clear() error {
	if p.n == 0 {
		return nil
	}
	p.n = 0
	if err := p.file.Truncate(0); err != nil {
		return localError{err}
	}
	return nil
}

// finish gives the package its name when it has the right bytes, and throws
// them away when it has not.
func (p *part) finish() error {
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(p.file, 0, p.n)); err != nil {
		return localError{err}
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != p.of.SHA256 {
		return errors.Join(fmt.Errorf("%w (SHA-256 %s, not %s)", errOtherBytes, got, p.of.SHA256), p.clear())
	}
	// On the disk before it has the name: a power cut must not leave a file
	// that is taken for the package.
	if err := errors.Join(p.file.Chmod(0o644), p.file.Sync(), os.Rename(p.file.Name(), p.store.path(p.of))); err != nil {
		return localError{err}
	}
	return nil
}

// close leaves what another run can go on with. An empty part is nothing.
func (p *part) close() {
	if p.n == 0 {
		_ = os.Remove(p.file.Name()) // it is empty: whoever finds it starts anew
	}
	p.file.Close()
}

// openLocked makes or opens a file for this process alone. Whoever had it
// before may have renamed or removed it: then it is opened anew.
func openLocked(ctx context.Context, file string) (*os.File, error) {
	for {
		f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			return nil, err
		}
		if err := flock(ctx, f); err != nil {
			f.Close()
			return nil, err
		}
		mine, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, err
		}
		if named, err := os.Stat(file); err == nil && os.SameFile(mine, named) {
			return f, nil
		}
		f.Close()
	}
}

func flock(ctx context.Context, f *os.File) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
