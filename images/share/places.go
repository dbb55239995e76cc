package share

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/match"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sys/unix"
)

// layoutPrefix is that of places that are OCI layouts.
const layoutPrefix = "oci:"

// ParsePlace reads the name of a registry's repository, such as
// ghcr.io/example/ingot-cache, or of a folder in OCI's image layout, oci:FOLDER.
func ParsePlace(text string) (Place, error) {
	if dir, ok := strings.CutPrefix(text, layoutPrefix); ok {
		if dir == "" {
			return Place{}, errors.New("oci: wants a folder, such as oci:/srv/ingot-cache")
		}
		return Place{text, folder(dir), firstPause}, nil
	}
	if !strings.Contains(text, "/") || strings.Contains(text, "://") {
		return Place{}, fmt.Errorf("%q is no repository; name the registry, too, such as ghcr.io/example/ingot-cache, or a folder as oci:FOLDER", text)
	}
	repo, err := name.NewRepository(text, name.StrictValidation)
	if err != nil {
		return Place{}, fmt.Errorf("%q is no repository; give it without a tag, such as ghcr.io/example/ingot-cache: %w", text, err)
	}
	return Place{text, repository{repo, firstPause}, firstPause}, nil
}

// firstPause is the wait before the second try; the next one is longer.
const firstPause = time.Second

// repository is one of a registry.
type repository struct {
	name.Repository
	pause time.Duration // before the second try
}

// options are for one operation. Passing faults (408, 429, 5xx, connections that
// break off) are tried three times.
func (r repository) options(ctx context.Context) []remote.Option {
	return append(RegistryOptions(ctx), remote.WithRetryBackoff(remote.Backoff{Duration: r.pause, Factor: 3, Jitter: 0.1, Steps: tries}))
}

// RegistryOptions are for one operation with a registry, with the passwords of
// docker's configuration.
func RegistryOptions(ctx context.Context) []remote.Option {
	return []remote.Option{
		remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithTransport(encrypted{resuming{remote.DefaultTransport, stall, firstPause}}),
		remote.WithRetryBackoff(remote.Backoff{Duration: firstPause, Factor: 3, Jitter: 0.1, Steps: tries}),
		remote.WithRetryStatusCodes(http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
			http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout),
		remote.WithJobs(1), remote.WithUserAgent("ingot"),
	}
}

func (r repository) find(ctx context.Context, tag string) (v1.Image, error) {
	d, err := remote.Get(r.Tag(tag), r.options(ctx)...)
	var answer *transport.Error
	if errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
		return nil, ErrNone
	}
	if err != nil {
		return nil, err
	}
	if !d.MediaType.IsImage() {
		return nil, refuse("it is a %s", d.MediaType)
	}
	return d.Image()
}

func (r repository) put(ctx context.Context, tag string, image v1.Image) error {
	return remote.Write(r.Tag(tag), image, r.options(ctx)...)
}

// encrypted lets nothing go over the network in clear: the library would also
// ask registries in private networks without TLS, passwords included.
type encrypted struct{ http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (e encrypted) RoundTrip(r *http.Request) (*http.Response, error) {
	host := r.URL.Hostname()
	if ip := net.ParseIP(host); r.URL.Scheme != "https" && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("%s does not speak TLS; only a registry on this machine may do without", r.URL.Host)
	}
	return e.RoundTripper.RoundTrip(r)
}

// folder is an OCI image layout, on a disk that machines share.
type folder string

// tagName is the annotation of a tag in an image layout.
const tagName = "org.opencontainers.image.ref.name"

func (f folder) find(_ context.Context, tag string) (v1.Image, error) {
	l, err := layout.FromPath(string(f))
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, err
	}
	index, err := l.ImageIndex()
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, d := range manifest.Manifests {
		if d.Annotations[tagName] == tag {
			return l.Image(d.Digest)
		}
	}
	return nil, ErrNone
}

// put writes blobs before the index that names them. Two writers of the index
// wait for each other.
func (f folder) put(_ context.Context, tag string, image v1.Image) error {
	if err := os.MkdirAll(string(f), 0o755); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(string(f), ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer discard(lock)
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", f, err)
	}
	l, err := layout.FromPath(string(f))
	if errors.Is(err, os.ErrNotExist) {
		l, err = layout.Write(string(f), empty.Index)
	}
	if err != nil {
		return err
	}
	return l.ReplaceImage(image, match.Name(tag), layout.WithAnnotations(map[string]string{tagName: tag}))
}
