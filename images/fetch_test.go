package images

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"ingot/fault"
)

// packageOf is a package whose file holds content.
func packageOf(name, content string) Package {
	p := newPackage(name)
	p.SHA256, p.Size = fmt.Sprintf("%x", sha256.Sum256([]byte(content))), int64(len(content))
	return p
}

// abort breaks the connection off.
func abort(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func answer(status int, content string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, content)
	}
}

// newTestFetcher has no pauses; it writes down how long they would be.
func newTestFetcher(store debs, origins ...*origin) (*fetcher, *pauses) {
	f, p := newFetcher(store, origins), &pauses{}
	f.pause = func(_ context.Context, d time.Duration) { p.add(d) }
	return f, p
}

type pauses struct {
	mu   sync.Mutex
	list []time.Duration
}

func (p *pauses) add(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = append(p.list, d)
}

func unwatched(int64, int64) {}

func TestFetch(t *testing.T) {
	t.Parallel()
	const content = "the package"
	good := answer(http.StatusOK, content)
	broken := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		fmt.Fprint(w, content[:5])
		w.(http.Flusher).Flush()
		abort(w, r)
	}
	busy := func(status int, after string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if after != "" {
				w.Header().Set("Retry-After", after)
			}
			w.WriteHeader(status)
		}
	}
	long := time.Now().Add(48 * time.Hour).UTC().Format(http.TimeFormat)
	for _, tc := range []struct {
		name    string
		answers []http.HandlerFunc // of one request after the other, the last is repeated
		want    string             // in the error, empty when it must succeed
		asked   int
		pauses  []time.Duration
		part    string // what is kept
	}{
		{"good", []http.HandlerFunc{good}, "", 1, nil, ""},
		{"a passing fault", []http.HandlerFunc{answer(http.StatusInternalServerError, "sorry"), good}, "", 2, []time.Duration{time.Second}, ""},
		{"a passing break", []http.HandlerFunc{abort, good}, "", 2, []time.Duration{time.Second}, ""},
		{"other bytes", []http.HandlerFunc{answer(http.StatusOK, "other bytes")}, "sent other bytes than the lock names", 2, nil, ""},
		{"other bytes once", []http.HandlerFunc{answer(http.StatusOK, "other bytes"), good}, "", 2, nil, ""},
		{"more bytes", []http.HandlerFunc{answer(http.StatusOK, content+"!")}, "sent other bytes than the lock names", 2, nil, ""},
		{"an empty body", []http.HandlerFunc{answer(http.StatusOK, "")}, "sent other bytes than the lock names", 2, nil, ""},
		{"a passing broken body", []http.HandlerFunc{broken, good}, "", 2, []time.Duration{time.Second}, ""},
		{"a broken body", []http.HandlerFunc{broken}, "broke the download off after 5 of 11 bytes", 3, []time.Duration{time.Second, 2 * time.Second}, "the p"},
		{"gone", []http.HandlerFunc{http.NotFound, good}, `run "ingot lock"`, 1, nil, ""},
		{"an error page", []http.HandlerFunc{answer(http.StatusForbidden, content)}, "403 Forbidden", 3, []time.Duration{time.Second, 2 * time.Second}, ""},
		{"reset", []http.HandlerFunc{abort}, "cannot be reached", 3, []time.Duration{time.Second, 2 * time.Second}, ""},
		{"busy", []http.HandlerFunc{busy(429, "7"), busy(503, "8"), good}, "", 3, []time.Duration{7 * time.Second, 8 * time.Second}, ""},
		{"busy without a time", []http.HandlerFunc{busy(429, ""), good}, "", 2, []time.Duration{busyDefault}, ""},
		{"busy for days", []http.HandlerFunc{busy(429, long), good}, "wants to be asked again in 4", 1, nil, ""},
		{"busy for ever", []http.HandlerFunc{busy(429, "1")}, "429 Too Many Requests", busyTries + 1, slices.Repeat([]time.Duration{time.Second}, busyTries), ""},
		{"broken without a time", []http.HandlerFunc{busy(503, "")}, "answered 503", 3, []time.Duration{time.Second, 2 * time.Second}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				n := int(asked.Add(1))
				tc.answers[min(n, len(tc.answers))-1](w, r)
			}))
			defer server.Close()
			p, store := packageOf("x", content), debs{filepath.Join(t.TempDir(), "debs")}
			f, paused := newTestFetcher(store, mirror(server.URL+"/"))
			err := f.fetch(t.Context(), []Package{p}, unwatched)
			if got := int(asked.Load()); got != tc.asked {
				t.Errorf("asked %d times, want %d", got, tc.asked)
			}
			if !slices.Equal(paused.list, tc.pauses) {
				t.Errorf("paused %v, want %v", paused.list, tc.pauses)
			}
			if tc.want == "" {
				wantStored(t, store, p, content, err)
				return
			}
			if fault.Of(err) != fault.OfMachine || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "x 1:2.3") {
				t.Errorf("%v, want %q and the package's name", err, tc.want)
			}
			wantPart(t, store, p, tc.part)
		})
	}
}

// wantPart wants the store to hold this much of a package and nothing else.
func wantPart(t *testing.T, store debs, p Package, want string) {
	t.Helper()
	if want == "" {
		wantNames(t, store.dir)
		return
	}
	wantNames(t, store.dir, p.SHA256+".deb.part")
	if b, err := os.ReadFile(store.path(p) + ".part"); string(b) != want {
		t.Errorf("%q is kept (%v), want %q", b, err, want)
	}
}

// A download goes on where the last one ended, of whatever run and server.
func TestFetchContinues(t *testing.T) {
	t.Parallel()
	const content = "the package"
	ranges := func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(content))
	}
	whole := answer(http.StatusOK, content)
	elsewhere := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") == "" {
			whole(w, r)
			return
		}
		w.Header().Set("Content-Range", "bytes 0-10/11")
		answer(http.StatusPartialContent, content)(w, r)
	}
	shorter := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		whole(w, r)
	}
	for _, tc := range []struct {
		name, part string
		server     http.HandlerFunc
		asked      []string // for these ranges
	}{
		{"the rest", "the p", ranges, []string{"bytes=5-"}},
		{"a server without ranges", "the p", whole, []string{"bytes=5-"}},
		{"all but the name", content, ranges, nil},
		{"too much", content + "!", ranges, []string{""}},
		{"other bytes", "xyz", ranges, []string{"bytes=3-", ""}},
		{"other bytes of the same size", "xyz" + content[3:], ranges, []string{""}},
		{"a server whose file is shorter", "the pack", shorter, []string{"bytes=8-", ""}},
		{"another range than asked for", "the p", elsewhere, []string{"bytes=5-", ""}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var asked []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked = append(asked, r.Header.Get("Range"))
				tc.server(w, r)
			}))
			defer server.Close()
			p, store := packageOf("x", content), debs{t.TempDir()}
			if err := os.WriteFile(store.path(p)+".part", []byte(tc.part), 0o600); err != nil {
				t.Fatal(err)
			}
			f, _ := newTestFetcher(store, mirror(server.URL))
			wantStored(t, store, p, content, f.fetch(t.Context(), []Package{p}, unwatched))
			if !slices.Equal(asked, tc.asked) {
				t.Errorf("asked for the ranges %q, want %q", asked, tc.asked)
			}
		})
	}
}

// A connection that breaks again and again brings the package in the end, as
// long as each brings something worthwhile.
func TestFetchContinuesAsLongAsItComes(t *testing.T) {
	t.Parallel()
	content := strings.Repeat("0123456789abcdef", 6*worthwhile/16)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(&breaking{ResponseWriter: w, left: worthwhile + 1<<16}, r, "", time.Time{}, strings.NewReader(content))
	}))
	defer server.Close()
	p, store := packageOf("x", content), debs{t.TempDir()}
	f, _ := newTestFetcher(store, mirror(server.URL))
	wantStored(t, store, p, content, f.fetch(t.Context(), []Package{p}, unwatched))
}

// breaking is a connection that ends after some bytes.
type breaking struct {
	http.ResponseWriter
	left int
}

func (b *breaking) Write(data []byte) (int, error) {
	if b.left -= len(data); b.left < 0 {
		_, _ = b.ResponseWriter.Write(data[:len(data)+b.left])
		b.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return b.ResponseWriter.Write(data)
}

// trickle is a server that sends a byte now and then. It runs in a bubble of
// testing/synctest, where time passes only when everybody waits.
type trickle struct {
	content string
	every   time.Duration
	hangAt  int // sends no more from here on
}

func (s trickle) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Status: "200 OK", Header: http.Header{}, Body: &trickling{trickle: s, ctx: r.Context()}}, nil
}

type trickling struct {
	trickle
	ctx context.Context
	at  int
}

func (b *trickling) Read(p []byte) (int, error) {
	wait := b.every
	if b.at == b.hangAt {
		wait = 1000 * time.Hour
	}
	select {
	case <-b.ctx.Done():
		return 0, b.ctx.Err()
	case <-time.After(wait):
	}
	if b.at == len(b.content) {
		return 0, io.EOF
	}
	p[0] = b.content[b.at]
	b.at++
	return 1, nil
}

func (b *trickling) Close() error { return nil }

// A slow download takes its time; one that stands still ends, and says so.
func TestFetchEndsForLackOfProgress(t *testing.T) {
	t.Parallel()
	const content = "the package"
	for _, tc := range []struct {
		name   string
		server trickle
		want   string
	}{
		{"slow", trickle{content, idleTime * 9 / 10, -1}, ""},
		{"too slow", trickle{content, idleTime * 11 / 10, -1}, "after 0 of 11 bytes: nothing came any more for 1m0s"},
		{"hangs", trickle{content, time.Second, 5}, "after 5 of 11 bytes: nothing came any more for 1m0s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, store := packageOf("x", content), debs{t.TempDir()}
				f := newFetcher(store, []*origin{mirror("http://mirror.example")})
				f.client.Transport = tc.server
				err := f.fetch(t.Context(), []Package{p}, unwatched)
				if tc.want == "" {
					wantStored(t, store, p, content, err)
				} else if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("%v, want %q", err, tc.want)
				}
			})
		})
	}
}

func wantStored(t *testing.T, store debs, p Package, content string, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(store.path(p)); string(b) != content {
		t.Errorf("the store holds %q (%v)", b, err)
	}
	wantNames(t, store.dir, p.SHA256+".deb")
}

func TestFetchAsksForThePathOfTheLock(t *testing.T) {
	t.Parallel()
	var asked atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.RequestURI)
		fmt.Fprint(w, "x")
	}))
	defer server.Close()
	p := packageOf("x", "x")
	p.Path = "debian/pool/a b/x_1%3a2+b1~rc#?.deb"
	f, _ := newTestFetcher(debs{t.TempDir()}, mirror(server.URL))
	if err := f.fetch(t.Context(), []Package{p}, unwatched); err != nil {
		t.Fatal(err)
	}
	if got, want := asked.Load(), "/debian/pool/a%20b/x_1%253a2+b1~rc%23%3F.deb"; got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
}

func TestFetchOnlyWhatIsMissing(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		fmt.Fprint(w, strings.TrimSuffix(filepath.Base(r.URL.Path), "_2.3.deb"))
	}))
	defer server.Close()
	f, _ := newTestFetcher(debs{t.TempDir()}, mirror(server.URL))
	var packages []Package
	for i := range 10 {
		name := fmt.Sprint("p", i)
		packages = append(packages, packageOf(name, name))
	}
	var last atomic.Int64
	progress := func(done, total int64) {
		if total != 14 { // seven packages of two bytes
			t.Errorf("a total of %d bytes, want 14", total)
		}
		last.Store(max(last.Load(), done))
	}
	if err := f.fetch(t.Context(), packages[:3], unwatched); err != nil {
		t.Fatal(err)
	}
	if err := f.fetch(t.Context(), append(packages, packages...), progress); err != nil {
		t.Fatal(err)
	}
	if asked.Load() != 10 || last.Load() != 14 {
		t.Errorf("asked %d times, want 10; progress ended at %d of 14", asked.Load(), last.Load())
	}
}

// What an interrupted download brought is kept, and is not taken for the
// package.
func TestFetchCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	p, store := packageOf("x", "the package"), debs{t.TempDir()}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "11")
		fmt.Fprint(w, "the")
		w.(http.Flusher).Flush()
		for { // until it has arrived
			if info, err := os.Stat(store.path(p) + ".part"); err == nil && info.Size() == 3 {
				break
			}
		}
		cancel() // in the middle of a body that never ends
		<-r.Context().Done()
	}))
	defer server.Close()
	f, _ := newTestFetcher(store, mirror(server.URL))
	err := f.fetch(ctx, []Package{p}, unwatched)
	if !errors.Is(err, context.Canceled) || fault.Of(err) != fault.Unknown {
		t.Errorf("%v, want the cancellation", err)
	}
	wantPart(t, store, p, "the")
}

// Two builds that need the same package: one brings it, the other waits.
func TestFetchTwoAtOnce(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	p, store := packageOf("x", "the package"), debs{t.TempDir()}
	second := make(chan error, 1)
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			go func() {
				f, _ := newTestFetcher(store, mirror(server.URL))
				second <- f.fetch(t.Context(), []Package{p}, unwatched)
			}()
		}
		fmt.Fprint(w, "the package")
	}))
	defer server.Close()
	f, _ := newTestFetcher(store, mirror(server.URL))
	wantStored(t, store, p, "the package", errors.Join(f.fetch(t.Context(), []Package{p}, unwatched), <-second))
	if asked.Load() != 1 {
		t.Errorf("asked %d times, want once", asked.Load())
	}
}

// A full disk is this machine's: no other place is asked.
func TestFetchOnAFullDisk(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		fmt.Fprint(w, "the package")
	}))
	defer server.Close()
	p, store := packageOf("x", "the package"), debs{t.TempDir()}
	if err := os.Symlink("/dev/full", store.path(p)+".part"); err != nil {
		t.Fatal(err)
	}
	f, _ := newTestFetcher(store, mirror(server.URL), mirror(server.URL))
	err := f.fetch(t.Context(), []Package{p}, unwatched)
	if !errors.Is(err, unix.ENOSPC) || fault.Of(err) != fault.OfMachine || asked.Load() != 1 {
		t.Errorf("%v after asking %d times", err, asked.Load())
	}
}

// newSnapshot is an archive like Debian's: it redirects to the last state
// before the time asked for, and is busy at first.
func newSnapshot(t *testing.T, files map[string]string) *httptest.Server {
	t.Helper()
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			w.Header().Set("Retry-After", "3")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		parts := strings.SplitN(strings.TrimPrefix(r.URL.Path, "/archive/"), "/", 3)
		content, ok := files[parts[0]+"/"+parts[2]]
		switch {
		case !ok:
			http.NotFound(w, r)
		case parts[1] != "20261124T211502Z":
			http.Redirect(w, r, "/archive/"+parts[0]+"/20261124T211502Z/"+parts[2], http.StatusFound)
		default:
			fmt.Fprint(w, content)
		}
	}))
	t.Cleanup(server.Close)
	return server
}

func TestFetchFromTheSnapshot(t *testing.T) {
	t.Parallel()
	empty := httptest.NewServer(http.NotFoundHandler())
	defer empty.Close()
	dead := httptest.NewServer(nil)
	dead.Close()
	p := packageOf("x", "the package")
	p.Path = "debian-security/pool/updates/main/x/x_2.3.deb"
	has := newSnapshot(t, map[string]string{p.Path: "the package"})
	has2 := newSnapshot(t, map[string]string{p.Path: "the package"})
	hasNot := newSnapshot(t, nil)
	const newLock = `a security update replaced this version: run "ingot lock"`
	for _, tc := range []struct {
		name, mirror, snapshot string
		want                   []string // in the error, in this order
	}{
		{"it has left the mirror", empty.URL, has.URL, nil},
		{"no mirror answers", dead.URL, has2.URL + "/", nil},
		{"never seen", empty.URL, hasNot.URL, []string{empty.URL + " no longer has this version; ", hasNot.URL + " no longer has this version; ", newLock}},
		{"out of reach", empty.URL, dead.URL, []string{empty.URL + " no longer has this version; ", dead.URL + " cannot be reached: ", "connection refused; ", newLock}},
		{"off", empty.URL, "", []string{empty.URL + " no longer has this version; " + newLock}},
		{"nothing answers", dead.URL, dead.URL, []string{"cannot be reached", "cannot be reached", "check the network and the proxy"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			store := debs{t.TempDir()}
			lock := lockOf(tc.mirror)
			f, _ := newTestFetcher(store, Options{Snapshot: tc.snapshot}.origins(lock)...)
			err := f.fetch(t.Context(), []Package{p}, unwatched)
			if tc.want == nil {
				wantStored(t, store, p, "the package", err)
				return
			}
			text := fmt.Sprint(err)
			for _, want := range tc.want {
				_, rest, found := strings.Cut(text, want)
				if !found {
					t.Fatalf("%v, want %q in %q", err, want, text)
				}
				text = rest
			}
			if fault.Of(err) != fault.OfMachine {
				t.Errorf("kind %v", fault.Of(err))
			}
		})
	}
}

func lockOf(mirror string) Lock {
	l := newLock()
	l.Mirror = mirror
	return l
}

// A mirror that does not answer holds up one package, not all.
func TestFetchAsksADeadMirrorOnce(t *testing.T) {
	t.Parallel()
	dead := httptest.NewServer(nil)
	dead.Close()
	server := httptest.NewServer(answer(http.StatusOK, "x"))
	defer server.Close()
	f, paused := newTestFetcher(debs{t.TempDir()}, mirror(dead.URL), mirror(server.URL))
	for range 3 {
		if err := f.one(t.Context(), packageOf("x", "x")); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(f.store.path(packageOf("x", "x"))); err != nil {
			t.Fatal(err)
		}
	}
	if len(paused.list) != downloadTries-1 {
		t.Errorf("paused %v", paused.list)
	}
}

func TestFetchFromAFolder(t *testing.T) {
	t.Parallel()
	dir, p, store := t.TempDir(), packageOf("x", "the package"), debs{t.TempDir()}
	p.Path = "debian/pool/a b/x_1%3a2+b1~rc#?.deb"
	file := filepath.Join(dir, p.Path)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	f, _ := newTestFetcher(store, mirror("file://"+dir))
	if err := f.fetch(t.Context(), []Package{p}, unwatched); !errors.Is(err, errGone) {
		t.Errorf("an empty folder: %v", err)
	}
	if err := os.WriteFile(file, []byte("the package"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(store.path(p)+".part", []byte("the p"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantStored(t, store, p, "the package", f.fetch(t.Context(), []Package{p}, unwatched))
}

func TestOrigins(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		o    Options
		want string
	}{
		{Options{}, "http://lock/"},
		{Options{Mirrors: []string{"http://a", "file:///b"}}, "http://a/ file:///b/ http://lock/"},
		{Options{Mirrors: []string{"http://a", "http://lock"}, Snapshot: "http://s"}, "http://a/ http://lock/ http://s/archive/debian/20261125T033000Z/"},
	} {
		var got []string
		for _, o := range tc.o.origins(lockOf("http://lock")) {
			got = append(got, strings.TrimSuffix(strings.TrimSuffix(o.url(Package{Path: "debian/x"}), "debian/x"), "x"))
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%q, want %q", got, tc.want)
		}
	}
}

// deb is the beginning of a package: an ar archive whose first member has
// this time stamp.
func deb(stamp string) string {
	return fmt.Sprintf("!<arch>\n%-16s%-12s%-6s%-6s%-8s%-10s`\n2.0\n", "debian-binary", stamp, "0", "0", "100644", "4")
}

func TestNewestPackage(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		stamps []string
		want   int64 // 0 for an error
	}{
		{"the newest in the middle", []string{"1700000000", "1794475820", "1600000000"}, 1794475820},
		{"one", []string{"1"}, 1},
		{"no number", []string{"1700000000", "yesterday"}, 0},
		{"empty", []string{""}, 0},
	} {
		store := debs{t.TempDir()}
		var packages []Package
		for _, stamp := range tc.stamps {
			p := packageOf("x", deb(stamp))
			packages = append(packages, p)
			if err := os.WriteFile(store.path(p), []byte(deb(stamp)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := newestPackage(store, packages)
		if got != tc.want || (err != nil) != (tc.want == 0) {
			t.Errorf("%s: %d (%v), want %d", tc.name, got, err, tc.want)
		}
	}
	if _, err := newestPackage(debs{t.TempDir()}, []Package{newPackage("missing")}); err == nil {
		t.Error("a missing package: no error")
	}
}
