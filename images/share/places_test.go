package share

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

func writes(b []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	}
}

// key signs, the same for the same letter.
type key byte

func (k key) private() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{byte(k)}, ed25519.SeedSize))
}

func (k key) public() ed25519.PublicKey { return k.private().Public().(ed25519.PublicKey) }

func (k key) Sign(_ context.Context, data []byte) ([]byte, error) {
	return ed25519.Sign(k.private(), data), nil
}

func (k key) KeyID() (string, error) { return string(k), nil }

func (k key) trust() Trust { return Trust{Keys: []ed25519.PublicKey{key('o').public(), k.public()}} }

var entry = Entry{"base", strings.Repeat("0123456789abcdef", 4)}

func newRegistry() http.Handler { return registry.New(registry.Logger(log.New(io.Discard, "", 0))) }

// serve is a place in a registry on this machine.
func serve(t *testing.T, h http.Handler) Place {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return placeAt(t, strings.TrimPrefix(server.URL, "http://")+"/team/ingot-cache")
}

// placeAt does not wait long between its tries.
func placeAt(t *testing.T, name string) Place {
	t.Helper()
	p, err := ParsePlace(name)
	must(t, err)
	p.pause = time.Millisecond
	if r, ok := p.store.(repository); ok {
		r.pause = time.Millisecond
		p.store = r
	}
	return p
}

func layerOf(t *testing.T, content string) Layer {
	t.Helper()
	l, err := Compress(t.TempDir(), writes([]byte(content)))
	must(t, err)
	return l
}

// content pulls an entry and unpacks the layer.
func content(t *testing.T, p Place, e Entry, trust Trust) (string, error) {
	t.Helper()
	dir := t.TempDir()
	l, err := p.Pull(t.Context(), e, trust, dir)
	if err != nil {
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("a failed download leaves %v", left)
		}
		return "", err
	}
	r, err := l.Open()
	must(t, err)
	b, err := io.ReadAll(r)
	must(t, err, r.Close(), l.Remove())
	return string(b), nil
}

func TestPushAndPull(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]Place{
		"registry": serve(t, newRegistry()), "folder": placeAt(t, "oci:"+filepath.Join(t.TempDir(), "new", "cache")),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := content(t, p, entry, key('k').trust()); !errors.Is(err, ErrNone) {
				t.Errorf("before it is pushed: %v", err)
			}
			if has, err := p.Has(t.Context(), entry); has || err != nil {
				t.Errorf("has it already: %t, %v", has, err)
			}
			other := Entry{"root", entry.Key}
			must(t, p.Push(t.Context(), entry, layerOf(t, "the base"), key('k')), p.Push(t.Context(), other, layerOf(t, "the root"), key('k')))
			must(t, p.Push(t.Context(), entry, layerOf(t, "the base, again"), key('k')))
			for e, want := range map[Entry]string{entry: "the base, again", other: "the root"} {
				if got, err := content(t, p, e, key('k').trust()); got != want || err != nil {
					t.Errorf("%s holds %q, %v, want %q", e.Stage, got, err, want)
				}
				if has, err := p.Has(t.Context(), e); !has || err != nil {
					t.Errorf("does not have %s: %t, %v", e.Stage, has, err)
				}
			}
		})
	}
}

func TestWhoIsTrusted(t *testing.T) {
	t.Parallel()
	p := serve(t, newRegistry())
	must(t, p.Push(t.Context(), entry, layerOf(t, "x"), key('k')))
	for name, tc := range map[string]struct {
		trust Trust
		taken bool
	}{
		"its key": {key('k').trust(), true}, "another key": {key('l').trust(), false},
		"nobody": {Trust{}, false}, "anyone": {Trust{Anyone: true}, true},
	} {
		_, err := content(t, p, entry, tc.trust)
		if tc.taken && err != nil || !tc.taken && (!errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "none of the trusted keys")) {
			t.Errorf("%s: %v, taken %t", name, err, tc.taken)
		}
	}
}

// An envelope is about one stage, one key and one layer, and says so in one way.
func TestEnvelopes(t *testing.T) {
	t.Parallel()
	l := layerOf(t, "x")
	sign := func(s statement, payloadType string, k key) []byte {
		payload, err := json.Marshal(s)
		must(t, err)
		signer, err := dsse.NewEnvelopeSigner(k)
		must(t, err)
		e, err := signer.SignPayload(t.Context(), payloadType, payload)
		must(t, err)
		b, err := json.Marshal(e)
		must(t, err)
		return b
	}
	good := statement{entry.Stage, entry.Key, l.digest.String(), l.bytes}
	honest := sign(good, payloadType, 'k')
	var e dsse.Envelope
	must(t, json.Unmarshal(honest, &e))
	swapped := e
	payload, err := json.Marshal(statement{"root", entry.Key, good.Layer, good.Bytes})
	must(t, err)
	swapped.Payload = base64.StdEncoding.EncodeToString(payload)
	swap, err := json.Marshal(swapped)
	must(t, err)
	with := func(change func(*statement)) []byte {
		s := good
		change(&s)
		return sign(s, payloadType, 'k')
	}
	for name, tc := range map[string]struct {
		envelope []byte
		want     string
	}{
		"good":               {honest, ""},
		"no envelope":        {[]byte("{"), "no envelope"},
		"another type":       {sign(good, "application/vnd.in-toto+json", 'k'), "is about"},
		"another key":        {sign(good, payloadType, 'x'), "none of the trusted"},
		"no signature":       {[]byte(fmt.Sprintf(`{"payloadType":%q,"payload":%q,"signatures":[]}`, payloadType, e.Payload)), "none of the trusted"},
		"another payload":    {swap, "none of the trusted"},
		"another stage":      {with(func(s *statement) { s.Stage = "root" }), `it is the stage "root"`},
		"another stage key":  {with(func(s *statement) { s.Key = strings.Repeat("f", 64) }), "with the key"},
		"the same 32 digits": {with(func(s *statement) { s.Key = s.Key[:32] + strings.Repeat("f", 32) }), "with the key"},
		"too large":          {with(func(s *statement) { s.Bytes = maxLayer + 1 }), "at most"},
		"nothing":            {with(func(s *statement) { s.Bytes = 0 }), "has 0 bytes"},
		"no digest":          {with(func(s *statement) { s.Layer = "sha256:x" }), "has the digest"},
		"a weak digest":      {with(func(s *statement) { s.Layer = "md5:" + strings.Repeat("0", 32) }), "has the digest"},
	} {
		digest, bytes, err := open(tc.envelope, entry, key('k').trust())
		if tc.want == "" {
			if err != nil || digest != l.digest || bytes != l.bytes {
				t.Errorf("%s: %s, %d, %v", name, digest, bytes, err)
			}
		} else if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want the refusal %q", name, err, tc.want)
		}
	}
	// A manifest with another layer than the envelope's.
	p := serve(t, newRegistry())
	other := layerOf(t, "y")
	i, err := imageOf(entry, other, honest)
	must(t, err)
	must(t, p.store.put(t.Context(), entry.tag(), i))
	if _, err := content(t, p, entry, key('k').trust()); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "another layer") {
		t.Errorf("another layer: %v", err)
	}
	if i, err = imageOf(entry, l, bytes.Repeat([]byte(" "), maxEnvelope+1)); err != nil {
		t.Fatal(err)
	}
	must(t, p.store.put(t.Context(), entry.tag(), i))
	if _, err := content(t, p, entry, key('k').trust()); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "its envelope has") {
		t.Errorf("a huge envelope: %v", err)
	}
}

// isLayer reports whether a request is for a blob that is no envelope.
func isLayer(r *http.Request, l Layer) bool {
	return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/blobs/"+l.digest.String())
}

// other answers a request with another one's body, changed.
func changedBody(w http.ResponseWriter, r *http.Request, h http.Handler, change func([]byte) []byte) {
	recorded := httptest.NewRecorder()
	h.ServeHTTP(recorded, r)
	body := change(recorded.Body.Bytes())
	for k, v := range recorded.Header() {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(recorded.Code)
	_, _ = w.Write(body)
}

func TestCorruptedLayers(t *testing.T) {
	t.Parallel()
	l := layerOf(t, strings.Repeat("content", 1000))
	for name, change := range map[string]func([]byte) []byte{
		"a flipped bit": func(b []byte) []byte { b = bytes.Clone(b); b[len(b)/2] ^= 1; return b },
		"the last bit":  func(b []byte) []byte { return append(bytes.Clone(b[:len(b)-1]), b[len(b)-1]^1) },
		"other bytes":   func(b []byte) []byte { return bytes.Repeat([]byte("x"), len(b)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backend := newRegistry()
			asked := atomic.Int32{}
			p := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if isLayer(r, l) {
					asked.Add(1)
					changedBody(w, r, backend, change)
					return
				}
				backend.ServeHTTP(w, r)
			}))
			must(t, p.Push(t.Context(), entry, l, key('k')))
			if _, err := content(t, p, entry, key('k').trust()); !errors.Is(err, ErrRefused) {
				t.Errorf("%v, want a refusal", err)
			}
			if asked.Load() != 1 {
				t.Errorf("asked %d times for what is wrong", asked.Load())
			}
		})
	}
	p := placeAt(t, "oci:"+t.TempDir())
	must(t, p.Push(t.Context(), entry, l, key('k')))
	blob := filepath.Join(string(p.store.(folder)), "blobs", "sha256", l.digest.Hex)
	b, err := os.ReadFile(blob)
	must(t, err)
	b[len(b)/2] ^= 1
	must(t, os.WriteFile(blob, b, 0o644))
	if _, err := content(t, p, entry, key('k').trust()); !errors.Is(err, ErrRefused) {
		t.Errorf("in a folder: %v, want a refusal", err)
	}
}

// flaky fails the first requests of each kind, in every way there is.
func flaky(h http.Handler, l Layer, failures int) http.Handler {
	var mu sync.Mutex
	seen := map[string]int{}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		what, _, _ := strings.Cut(r.Method+" "+r.URL.Path, "/uploads/") // each upload has a number
		mu.Lock()
		seen[what]++
		n := seen[what]
		mu.Unlock()
		switch {
		case n > failures:
			h.ServeHTTP(w, r)
		case isLayer(r, l): // the connection breaks off in the middle
			w.Header().Set("Content-Length", fmt.Sprint(l.bytes))
			_, _ = w.Write(make([]byte, l.bytes/2))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case n%2 == 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			panic(http.ErrAbortHandler)
		}
	})
}

func TestFlakyNetwork(t *testing.T) {
	t.Parallel()
	l := layerOf(t, strings.Repeat("content", 1000))
	for failures, want := range map[int]bool{1: true, 2: true, 50: false} {
		backend := newRegistry()
		p := serve(t, flaky(backend, l, failures))
		err := p.Push(t.Context(), entry, l, key('k'))
		if (err == nil) != want || errors.Is(err, ErrRefused) {
			t.Errorf("push with %d failures each: %v", failures, err)
		}
		must(t, serve(t, backend).Push(t.Context(), entry, l, key('k')))
		_, err = content(t, serve(t, flaky(backend, l, failures)), entry, key('k').trust())
		if (err == nil) != want || errors.Is(err, ErrRefused) || errors.Is(err, ErrNone) {
			t.Errorf("pull with %d failures each: %v", failures, err)
		}
	}
}

// Not parallel: the environment is the whole process's.
func TestPassword(t *testing.T) {
	backend := newRegistry()
	p := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	l := layerOf(t, "x")
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	if err := p.Push(t.Context(), entry, l, key('k')); err == nil {
		t.Error("pushed without a password")
	}
	if _, err := content(t, p, entry, key('k').trust()); err == nil || errors.Is(err, ErrNone) || errors.Is(err, ErrRefused) {
		t.Errorf("without a password: %v", err)
	}
	host, _, _ := strings.Cut(p.String(), "/")
	config := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte("me:secret")))
	must(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600))
	must(t, p.Push(t.Context(), entry, l, key('k')))
	if got, err := content(t, p, entry, key('k').trust()); got != "x" || err != nil {
		t.Errorf("with the password: %q, %v", got, err)
	}
}

func TestPushAtOnce(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]Place{"registry": serve(t, newRegistry()), "folder": placeAt(t, "oci:"+filepath.Join(t.TempDir(), "cache"))} {
		var group sync.WaitGroup
		layers := map[string]Layer{}
		for i := range 6 {
			layers[fmt.Sprint("content ", i%3)] = layerOf(t, fmt.Sprint("content ", i%3))
		}
		for i := range 6 {
			group.Go(func() {
				e := Entry{fmt.Sprint("stage", i/2), entry.Key}
				if err := p.Push(t.Context(), e, layers[fmt.Sprint("content ", i%3)], key('k')); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		group.Wait()
		for i := range 3 {
			got, err := content(t, p, Entry{fmt.Sprint("stage", i), entry.Key}, key('k').trust())
			if err != nil || got != fmt.Sprint("content ", 2*i%3) && got != fmt.Sprint("content ", (2*i+1)%3) {
				t.Errorf("%s: stage %d holds %q, %v", name, i, got, err)
			}
		}
	}
}

func TestCancelledPull(t *testing.T) {
	t.Parallel()
	backend := newRegistry()
	l := layerOf(t, "x")
	ctx, cancel := context.WithCancel(t.Context())
	p := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isLayer(r, l) { // a body that does not end
			w.Header().Set("Content-Length", fmt.Sprint(l.bytes))
			w.(http.Flusher).Flush()
			cancel()
			<-r.Context().Done()
			return
		}
		backend.ServeHTTP(w, r)
	}))
	must(t, p.Push(t.Context(), entry, l, key('k')))
	dir := t.TempDir()
	if _, err := p.Pull(ctx, entry, key('k').trust(), dir); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the cancellation", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestParsePlace(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"ghcr.io/example/ingot-cache", "localhost:5000/x", "127.0.0.1:5000/a/b", "oci:/srv/cache", "oci:rel"} {
		if p, err := ParsePlace(good); err != nil || p.String() != good {
			t.Errorf("%q: %v, %v", good, p, err)
		}
	}
	for _, bad := range []string{"", "ingot-cache", "ghcr.io/", "ghcr.io/x:tag", "ghcr.io/x@sha256:00", "GHCR.io/Upper", "https://ghcr.io/x", "oci:", "a b/c"} {
		if _, err := ParsePlace(bad); err == nil || !strings.Contains(err.Error(), "such as") {
			t.Errorf("%q: %v, want advice", bad, err)
		}
	}
}

// Nothing goes over a network in clear, to private addresses neither.
func TestEncrypted(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]bool{
		"https://ghcr.io/v2/": true, "http://ghcr.io/v2/": false, "http://10.0.0.1/v2/": false, "http://192.168.1.2:5000/v2/": false, "http://box.local/v2/": false,
		"http://localhost:5000/v2/": true, "http://127.0.0.1:5000/v2/": true, "http://[::1]:5000/v2/": true, "http://localhost.example/v2/": false,
	} {
		asked := false
		e := encrypted{roundTrip(func(*http.Request) (*http.Response, error) { asked = true; return nil, errors.New("reached") })}
		r, err := http.NewRequest(http.MethodGet, url, nil)
		must(t, err)
		if _, err := e.RoundTrip(r); asked != want || err == nil {
			t.Errorf("%s was asked: %t, want %t (%v)", url, asked, want, err)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestNamesOfEntries(t *testing.T) {
	t.Parallel()
	p := placeAt(t, "oci:"+t.TempDir())
	for _, e := range []Entry{{"", entry.Key}, {"base", ""}, {"../x", entry.Key}, {"base", entry.Key + "0"}, {"base", strings.Repeat("G", 64)}} {
		_, err1 := p.Has(t.Context(), e)
		_, err2 := p.Pull(t.Context(), e, Trust{}, t.TempDir())
		if err3 := p.Push(t.Context(), e, Layer{}, key('k')); err1 == nil || err2 == nil || err3 == nil {
			t.Errorf("%q: %v, %v, %v", e, err1, err2, err3)
		}
	}
}
