package images

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

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
	var group sync.WaitGroup // all at once: they mostly wait between two tries
	for _, tc := range []struct {
		name    string
		answers []http.HandlerFunc // of one request after the other, the last is repeated
		want    string             // in the error, empty when it must succeed
		asked   int
	}{
		{"good", []http.HandlerFunc{good}, "", 1},
		{"a passing fault", []http.HandlerFunc{answer(http.StatusInternalServerError, "sorry"), good}, "", 2},
		{"a passing break", []http.HandlerFunc{abort, good}, "", 2},
		{"other bytes", []http.HandlerFunc{answer(http.StatusOK, "other bytes")}, "other bytes than the lock names", 3},
		{"more bytes", []http.HandlerFunc{answer(http.StatusOK, content+"!")}, "other bytes than the lock names", 3},
		{"an empty body", []http.HandlerFunc{answer(http.StatusOK, "")}, "other bytes than the lock names", 3},
		{"a passing broken body", []http.HandlerFunc{broken, good}, "", 2},
		{"a broken body", []http.HandlerFunc{broken}, "the download broke off", 3},
		{"gone", []http.HandlerFunc{http.NotFound, good}, `run "ingot lock"`, 1},
		{"an error page", []http.HandlerFunc{answer(http.StatusForbidden, content)}, "403 Forbidden", 3},
		{"reset", []http.HandlerFunc{abort}, "the mirror cannot be reached", 3},
	} {
		group.Go(func() {
			t.Run(tc.name, func(t *testing.T) {
				var asked atomic.Int32
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					n := int(asked.Add(1))
					tc.answers[min(n, len(tc.answers))-1](w, r)
				}))
				defer server.Close()
				p, store := packageOf("x", content), debs{filepath.Join(t.TempDir(), "debs")}
				err := store.fetch(t.Context(), server.URL+"/", []Package{p}, func(int64, int64) {})
				if got := int(asked.Load()); got != tc.asked {
					t.Errorf("asked %d times, want %d", got, tc.asked)
				}
				if tc.want == "" {
					wantStored(t, store, p, content, err)
					return
				}
				if fault.Of(err) != fault.OfMachine || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "x 1:2.3") {
					t.Errorf("%v, want %q and the package's name", err, tc.want)
				}
				wantNames(t, store.dir)
			})
		})
	}
	group.Wait()
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
	if err := (debs{t.TempDir()}).fetch(t.Context(), server.URL, []Package{p}, func(int64, int64) {}); err != nil {
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
	store := debs{t.TempDir()}
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
	if err := store.fetch(t.Context(), server.URL, packages[:3], func(int64, int64) {}); err != nil {
		t.Fatal(err)
	}
	if err := store.fetch(t.Context(), server.URL, packages, progress); err != nil {
		t.Fatal(err)
	}
	if asked.Load() != 10 || last.Load() != 14 {
		t.Errorf("asked %d times, want 10; progress ended at %d of 14", asked.Load(), last.Load())
	}
}

func TestFetchCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "11")
		fmt.Fprint(w, "the")
		w.(http.Flusher).Flush()
		cancel() // in the middle of a body that never ends
		<-r.Context().Done()
	}))
	defer server.Close()
	store := debs{t.TempDir()}
	err := store.fetch(ctx, server.URL, []Package{packageOf("x", "the package")}, func(int64, int64) {})
	if !errors.Is(err, context.Canceled) || fault.Of(err) != fault.Unknown {
		t.Errorf("%v, want the cancellation", err)
	}
	wantNames(t, store.dir)
}

func TestDownloadPrefersTheMirrorAskedFor(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(answer(http.StatusOK, "x"))
	defer server.Close()
	dead := httptest.NewServer(nil)
	dead.Close()
	for _, tc := range []struct{ asked, locked string }{{server.URL, dead.URL}, {"", server.URL}} {
		cache, err := OpenCache(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		b := &builder{opts: Options{Mirror: tc.asked, Cache: cache}}
		lock := Lock{Mirror: tc.locked, Trees: map[Tree][]Package{TreeImage: {packageOf("x", "x")}}}
		if err := b.download(t.Context(), lock, TreeImage); err != nil {
			t.Errorf("--mirror %q and %q in the lock: %v", tc.asked, tc.locked, err)
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
