package images

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"ingot/fault"
)

// debs is the store of downloaded packages, named by their SHA-256.
type debs struct{ dir string }

func (d debs) path(p Package) string { return filepath.Join(d.dir, p.SHA256+".deb") }

// origin is one place that packages come from.
type origin struct {
	name string // as errors call it
	url  func(p Package) string
	// away is set when nothing answered there: the other packages of a run do
	// not wait for it once more.
	away atomic.Bool
}

// mirror is a base URL with debian and debian-security below it.
func mirror(base string) *origin {
	base = strings.TrimSuffix(base, "/")
	return &origin{name: base, url: func(p Package) string { return base + "/" + escaped(p.Path) }}
}

// DefaultSnapshot is Debian's archive of everything it ever published.
const DefaultSnapshot = "https://snapshot.debian.org"

// snapshot has every archive as it was at a time. It redirects to the last
// state that it has of before that time.
func snapshot(base, at string) *origin {
	base = strings.TrimSuffix(base, "/")
	return &origin{name: base, url: func(p Package) string {
		archive, rest, _ := strings.Cut(p.Path, "/")
		return base + "/archive/" + url.PathEscape(archive) + "/" + at + "/" + escaped(rest)
	}}
}

func escaped(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	return strings.Join(segments, "/")
}

// origins are where the packages of a lock may be, in the order in which they
// are asked: the digests are the same everywhere.
func (o Options) origins(lock Lock) []*origin {
	var list []*origin
	for i, m := range append(slices.Clone(o.Mirrors), lock.Mirror) {
		if !slices.Contains(o.Mirrors[:min(i, len(o.Mirrors))], m) {
			list = append(list, mirror(m))
		}
	}
	if o.Snapshot != "" && lock.Snapshot != "" {
		list = append(list, snapshot(o.Snapshot, lock.Snapshot))
	}
	return list
}

// parallelDownloads keeps a mirror busy without being rude to it.
const parallelDownloads = 6

// idleTime ends a download of which nothing comes any more. How long the whole
// may take depends on its size and is nobody's business.
const idleTime = time.Minute

// fetcher brings packages from the first source that has them.
type fetcher struct {
	store   debs
	origins []*origin
	client  *http.Client
	idle    time.Duration
	pause   func(ctx context.Context, d time.Duration) // between two tries
}

func newFetcher(store debs, origins []*origin) *fetcher {
	transport := http.DefaultTransport.(*http.Transport).Clone() // takes proxies from the environment
	transport.DisableCompression = true                          // the digest is of the bytes as they are
	transport.RegisterProtocol("file", http.NewFileTransport(http.Dir("/")))
	return &fetcher{store: store, origins: origins, client: &http.Client{Transport: transport}, idle: idleTime, pause: pause}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// fetch downloads what is missing. A file appears under its digest only when
// its bytes have that digest.
func (f *fetcher) fetch(ctx context.Context, packages []Package, progress func(done, total int64)) error {
	if err := os.MkdirAll(f.store.dir, 0o755); err != nil {
		return err
	}
	missing, total := f.store.missing(packages)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelDownloads)
	var done atomic.Int64
	for _, p := range missing {
		group.Go(func() error {
			if err := f.one(ctx, p); err != nil {
				return err
			}
			progress(done.Add(p.Size), total)
			return nil
		})
	}
	return group.Wait()
}

// has looks at the size, too: a power cut may leave an empty file.
func (d debs) has(p Package) bool {
	info, err := os.Stat(d.path(p))
	return err == nil && info.Size() == p.Size
}

// missing are the packages that the store does not have, each once, and their
// size in bytes.
func (d debs) missing(packages []Package) (list []Package, total int64) {
	seen := map[string]bool{}
	for _, p := range packages {
		if d.has(p) {
			now := time.Now()
			_ = os.Chtimes(d.path(p), now, now) // for pruning by age
			continue
		}
		if !seen[p.SHA256] {
			seen[p.SHA256] = true
			list = append(list, p)
			total += p.Size
		}
	}
	return list, total
}

// one asks the sources in turn. What one of them broke off, the next one
// continues.
func (f *fetcher) one(ctx context.Context, p Package) error {
	part, err := f.store.part(ctx, p)
	if err != nil || part == nil {
		return err
	}
	defer part.close()
	var failed failures
	for _, o := range f.origins {
		if o.away.Load() {
			failed = append(failed, failure{o.name, errAway})
			continue
		}
		err := f.from(ctx, o, part)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, new(localError)):
			return fault.Machine(fmt.Errorf("keep %s %s: %w", p.Name, p.Version, err))
		}
		if errors.Is(err, errAway) {
			o.away.Store(true)
		}
		failed = append(failed, failure{o.name, err})
	}
	return fault.Machine(fmt.Errorf("%s %s cannot be had: %w", p.Name, p.Version, failed))
}

// failure is why a source did not give a package.
type failure struct {
	origin string
	err    error
}

// failures are those of all sources.
type failures []failure

func (r failures) Error() string {
	var b strings.Builder
	for _, f := range r {
		fmt.Fprintf(&b, "%s %v; ", f.origin, f.err)
	}
	return b.String() + r.advice()
}

func (r failures) Unwrap() []error {
	var list []error
	for _, f := range r {
		list = append(list, f.err)
	}
	return list
}

func (r failures) advice() string {
	switch {
	case errors.Is(r, errGone):
		return "a security update replaced this version: run \"ingot lock\" for the present ones, or name a place that keeps old ones with --mirror or --snapshot"
	case errors.Is(r, errOtherBytes):
		return "if another --mirror has other bytes, too, find out why before you build"
	}
	return "check the network and the proxy, or give another --mirror"
}

// newestPackage is when the newest package was built, in seconds since 1970:
// the time stamp in the header of a .deb's first member (deb(5), ar format).
func newestPackage(d debs, packages []Package) (int64, error) {
	const stampAt, stampLen = 8 + 16, 12
	var newest int64
	for _, p := range packages {
		f, err := os.Open(d.path(p))
		if err != nil {
			return 0, err
		}
		stamp := make([]byte, stampLen)
		_, err = f.ReadAt(stamp, stampAt)
		f.Close()
		if err != nil {
			return 0, err
		}
		t, err := strconv.ParseInt(strings.TrimSpace(string(stamp)), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s has no build time: %w", p.Name, err)
		}
		newest = max(newest, t)
	}
	return newest, nil
}
