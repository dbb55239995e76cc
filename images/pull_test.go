package images

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	ocilayout "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"ingot/fault"
	"ingot/layers"
)

// shop is a registry on this machine whose answers can be changed.
type shop struct {
	*httptest.Server
	change func(w http.ResponseWriter, r *http.Request, next http.Handler)
}

func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{}
	next := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.change != nil {
			s.change(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *shop) ref(t *testing.T, text string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(strings.TrimPrefix(s.URL, "http://") + "/" + text)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func randomImage(t *testing.T) v1.Image {
	t.Helper()
	image, err := random.Image(100_000, 2)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func digestIs(t *testing.T, image v1.Image) string {
	t.Helper()
	d, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

func (s *shop) put(t *testing.T, text string, image v1.Image) layers.ContainerImage {
	t.Helper()
	ref := s.ref(t, text)
	if err := remote.Write(ref, image); err != nil {
		t.Fatal(err)
	}
	return layers.ContainerImage{Name: ref.Name()}
}

func lockedTo(i layers.ContainerImage, digest string) Lock {
	return Lock{Images: []LockedImage{{i.Name, digest}}}
}

// whole reads all layers, as the store does.
func whole(t *testing.T, image v1.Image) {
	t.Helper()
	list, err := image.Layers()
	if err != nil || len(list) != 2 {
		t.Fatalf("%d layers, %v", len(list), err)
	}
	for _, l := range list {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, r); err != nil || n < 100_000 {
			t.Errorf("%d bytes, %v", n, err)
		}
	}
}

// A tag is resolved to the image for this platform, and pulled once.
func TestPull(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	wanted, other := randomImage(t), randomImage(t)
	ref := s.ref(t, "app:1")
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: other, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}},
		mutate.IndexAddendum{Add: wanted, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}})
	if err := remote.WriteIndex(ref, index); err != nil {
		t.Fatal(err)
	}
	b := &builder{opts: Options{Cache: newCache(t)}}
	i := layers.ContainerImage{Name: ref.Name()}
	locked, err := b.resolveImages(t.Context(), layers.Plan{Images: []layers.ContainerImage{i, {Name: "localhost/x", Packages: []string{"x"}}}})
	if err != nil || len(locked) != 1 || locked[0] != (LockedImage{i.Name, digestIs(t, wanted)}) {
		t.Fatalf("locked %+v, %v; want %s", locked, err, digestIs(t, wanted))
	}
	if err := remote.Write(ref, other); err != nil { // the tag moves on
		t.Fatal(err)
	}
	moved, err := b.resolveImages(t.Context(), layers.Plan{Images: []layers.ContainerImage{i}})
	if err != nil {
		t.Fatal(err)
	}
	if got := imageChanges(Lock{Images: locked}, Lock{Images: moved}); len(got) != 1 || got[0] != (ImageChange{i.Name, locked[0].Digest, digestIs(t, other)}) {
		t.Errorf("changes %+v", got)
	}
	for range 2 {
		image, err := b.pulled(t.Context(), Lock{Images: locked}, i)
		if err != nil {
			t.Fatal(err)
		}
		if got := digestIs(t, image); got != locked[0].Digest {
			t.Errorf("pulled %s, want %s", got, locked[0].Digest)
		}
		whole(t, image)
		s.Close()
	}
}

func TestOtherPlatform(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	image, err := mutate.ConfigFile(randomImage(t), &v1.ConfigFile{OS: "linux", Architecture: "arm64"})
	if err != nil {
		t.Fatal(err)
	}
	i := s.put(t, "app:1", image)
	b := &builder{opts: Options{Cache: newCache(t)}}
	_, err = b.resolveImages(t.Context(), layers.Plan{Images: []layers.ContainerImage{i}})
	if err == nil || !strings.Contains(err.Error(), "it is for linux/arm64 and the machine is linux/amd64") || fault.Of(err) != fault.OfInput {
		t.Errorf("%v", err)
	}
}

// What goes wrong on the way is mended or told, and nothing of it stays.
func TestPullTrouble(t *testing.T) {
	t.Parallel()
	body := func(next http.Handler, r *http.Request) []byte {
		r = r.Clone(r.Context())
		r.Header.Del("Range")
		recorded := httptest.NewRecorder()
		next.ServeHTTP(recorded, r)
		return recorded.Body.Bytes()
	}
	blob := func(r *http.Request) bool {
		return r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/")
	}
	half := func(w http.ResponseWriter, b []byte) {
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		_, _ = w.Write(b[:len(b)/2])
		panic(http.ErrAbortHandler)
	}
	for name, tt := range map[string]struct {
		change func(calls int64, w http.ResponseWriter, r *http.Request, next http.Handler)
		want   string
		kind   fault.Kind
	}{
		"it breaks off once": {func(_ int64, w http.ResponseWriter, r *http.Request, next http.Handler) {
			b := body(next, r)
			if r.Header.Get("Range") == "" && len(b) > 1000 {
				half(w, b)
			}
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
		}, "", 0},
		"it breaks off always": {func(_ int64, w http.ResponseWriter, r *http.Request, next http.Handler) {
			half(w, body(next, r))
		}, "the download ended after", fault.OfProvider},
		"it lies": {func(_ int64, w http.ResponseWriter, r *http.Request, next http.Handler) {
			b := body(next, r)
			b[len(b)/2] ^= 1
			_, _ = w.Write(b)
		}, "sha256", fault.OfProvider},
		"it has no such layer": {func(_ int64, w http.ResponseWriter, r *http.Request, next http.Handler) {
			http.Error(w, "{}", http.StatusNotFound)
		}, "404", fault.OfProvider},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			image := randomImage(t)
			i := s.put(t, "app:1", image)
			var calls atomic.Int64
			s.change = func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if !blob(r) {
					next.ServeHTTP(w, r)
					return
				}
				tt.change(calls.Add(1), w, r, next)
			}
			cache := newCache(t)
			b := &builder{opts: Options{Cache: cache}}
			got, err := b.pulled(t.Context(), lockedTo(i, digestIs(t, image)), i)
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				whole(t, got)
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || fault.Of(err) != tt.kind {
				t.Errorf("%v of kind %v, want %q of kind %v", err, fault.Of(err), tt.want, tt.kind)
			}
			if left, _ := filepath.Glob(filepath.Join(cache.Dir, "*", "container-*[0-9a-f]")); len(left) > 0 {
				t.Errorf("%q is left", left)
			}
		})
	}
}

func TestPullOfWhatIsGone(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	i := s.put(t, "app:1", randomImage(t))
	b := &builder{opts: Options{Cache: newCache(t)}}
	_, err := b.pulled(t.Context(), lockedTo(i, digestIs(t, randomImage(t))), i)
	if err == nil || !strings.Contains(err.Error(), `run "ingot lock"`) {
		t.Errorf("%v, want advice", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.pulled(ctx, lockedTo(i, digestIs(t, randomImage(t))), i); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that it was cancelled", err)
	}
}

// Archives are those of docker save and OCI layouts. A changed one is not what the
// lock names.
func TestArchives(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	image := randomImage(t)
	tag, err := name.NewTag("localhost/app:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(filepath.Join(dir, "app.tar"), tag, image); err != nil {
		t.Fatal(err)
	}
	l, err := ocilayout.Write(filepath.Join(dir, "layout"), empty.Index)
	if err == nil {
		err = l.AppendImage(image)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, archive := range []string{"app.tar", "layout"} {
		b := &builder{opts: Options{Cache: newCache(t), Dir: dir}}
		i := layers.ContainerImage{Name: "localhost/app:1", Archive: archive}
		locked, err := b.resolveImages(t.Context(), layers.Plan{Images: []layers.ContainerImage{i}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := b.pulled(t.Context(), Lock{Images: locked}, i)
		if err != nil {
			t.Fatal(err)
		}
		whole(t, got)
		_, err = b.pulled(t.Context(), lockedTo(i, digestIs(t, randomImage(t))), i)
		if err == nil || !strings.Contains(err.Error(), `run "ingot lock"`) || fault.Of(err) != fault.OfInput {
			t.Errorf("another archive: %v", err)
		}
	}
	// An index in an index, and a changed archive, before and after it was read.
	nested, err := ocilayout.Write(filepath.Join(dir, "nested"), empty.Index)
	if err == nil {
		err = nested.AppendIndex(mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &platform}}))
	}
	if err != nil {
		t.Fatal(err)
	}
	b := &builder{opts: Options{Cache: newCache(t), Dir: dir}}
	i := layers.ContainerImage{Name: "localhost/app:1", Archive: "nested"}
	plan := layers.Plan{Images: []layers.ContainerImage{i}}
	locked, err := b.resolveImages(t.Context(), plan)
	if err != nil || len(locked) != 1 || locked[0].Digest != digestIs(t, image) {
		t.Fatalf("%+v, %v", locked, err)
	}
	if err := b.checkArchives(plan, Lock{Images: locked}); err != nil {
		t.Error(err)
	}
	if err := b.checkArchives(plan, lockedTo(i, digestIs(t, randomImage(t)))); err == nil || !strings.Contains(err.Error(), `run "ingot lock"`) {
		t.Errorf("a changed archive: %v", err)
	}
	list, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	layer, err := list[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	blob := filepath.Join(dir, "nested/blobs/sha256", layer.Hex)
	content, err := os.ReadFile(blob)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 1
	if err := os.WriteFile(blob, content, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := b.pulled(t.Context(), Lock{Images: locked}, i); err == nil || !strings.Contains(err.Error(), layer.Hex+" has the SHA-256") || fault.Of(err) != fault.OfInput {
		t.Errorf("a blob of other bytes: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "text"), []byte("no archive"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	for archive, want := range map[string]string{"text": "no archive of docker save", "folder": "no folder in OCI's image layout", "none": "no such file"} {
		b := &builder{opts: Options{Cache: newCache(t), Dir: dir}}
		_, err := b.resolveImages(t.Context(), layers.Plan{Images: []layers.ContainerImage{{Name: "localhost/x:1", Archive: archive}}})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "localhost/x:1") || fault.Of(err) != fault.OfInput {
			t.Errorf("%s: %v, want %q", archive, err, want)
		}
	}
}

// A registry that wants a password gets that of docker login. Not parallel: the
// environment is the whole process's.
func TestPullWithPassword(t *testing.T) {
	s := newShop(t)
	wanted := randomImage(t)
	i := s.put(t, "app:1", wanted)
	s.change = func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	}
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	b := &builder{opts: Options{Cache: newCache(t)}}
	locked := lockedTo(i, digestIs(t, wanted))
	if _, err := b.pulled(t.Context(), locked, i); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("without a password: %v", err)
	}
	host := strings.TrimPrefix(s.URL, "http://")
	config := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte("me:secret")))
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := b.resolveImages(t.Context(), layers.Plan{Images: []layers.ContainerImage{i}}); err != nil || got[0].Digest != digestIs(t, wanted) {
		t.Errorf("resolved %+v, %v", got, err)
	}
	image, err := b.pulled(t.Context(), locked, i)
	if err != nil {
		t.Fatal(err)
	}
	whole(t, image)
}

// An image may be named by the digest of an index, and an index may have nothing
// for this machine, which is the owner's to mend.
func TestPullOfAnIndex(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	wanted, other := randomImage(t), randomImage(t)
	add := func(image v1.Image, architecture string) mutate.IndexAddendum {
		return mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}}}
	}
	index := mutate.AppendManifests(empty.Index, add(other, "arm64"), add(wanted, "amd64"))
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	ref := s.ref(t, "app@"+digest.String())
	if err := remote.WriteIndex(ref, index); err != nil {
		t.Fatal(err)
	}
	b := &builder{opts: Options{Cache: newCache(t)}}
	i := layers.ContainerImage{Name: ref.Name()}
	locked, err := b.resolveImages(t.Context(), layers.Plan{Images: []layers.ContainerImage{i}})
	if err != nil || locked[0].Digest != digestIs(t, wanted) {
		t.Fatalf("locked %+v, %v; want %s", locked, err, digestIs(t, wanted))
	}
	image, err := b.pulled(t.Context(), Lock{Images: locked}, i)
	if err != nil {
		t.Fatal(err)
	}
	whole(t, image)
	if err := remote.WriteIndex(s.ref(t, "foreign:1"), mutate.AppendManifests(empty.Index, add(other, "arm64"))); err != nil {
		t.Fatal(err)
	}
	_, err = b.resolveImages(t.Context(), layers.Plan{Images: []layers.ContainerImage{{Name: s.ref(t, "foreign:1").Name()}}})
	if err == nil || fault.Of(err) != fault.OfInput {
		t.Errorf("an index without this platform: %v, class %v", err, fault.Of(err))
	}
}
