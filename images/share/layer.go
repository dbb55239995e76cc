package share

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Layer is a packed stage in a file.
type Layer struct {
	file   string
	digest v1.Hash // of the compressed bytes
	bytes  int64
	watch  *watch // of the push
}

// Compress makes the layer of what pack writes, in a new file of dir.
func Compress(dir string, pack func(io.Writer) error) (Layer, error) {
	f, err := os.CreateTemp(dir, "layer-")
	if err != nil {
		return Layer{}, err
	}
	sum := sha256.New()
	counted := &counter{w: io.MultiWriter(f, sum)}
	// One goroutine: builds share their machine, and memory stays small.
	z, err := zstd.NewWriter(counted, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault))
	if err == nil {
		err = errors.Join(pack(z), z.Close())
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return Layer{}, errors.Join(err, os.Remove(f.Name()))
	}
	return Layer{file: f.Name(), digest: hashOf(sum.Sum(nil)), bytes: counted.n}, nil
}

// Open reads the layer's tar.
func (l Layer) Open() (io.ReadCloser, error) {
	f, err := os.Open(l.file)
	if err != nil {
		return nil, err
	}
	z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(64<<20))
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return unpacking{z, f}, nil
}

type unpacking struct {
	*zstd.Decoder
	f *os.File
}

// Close implements [io.Closer].
func (u unpacking) Close() error {
	u.Decoder.Close()
	return u.f.Close()
}

// Remove deletes the layer's file.
func (l Layer) Remove() error { return os.Remove(l.file) }

type counter struct {
	w io.Writer
	n int64
}

// Write implements [io.Writer].
func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func hashOf(sum []byte) v1.Hash { return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum)} }

// Digest implements [partial.CompressedLayer].
func (l Layer) Digest() (v1.Hash, error) { return l.digest, nil }

// Size implements [partial.CompressedLayer].
func (l Layer) Size() (int64, error) { return l.bytes, nil }

// MediaType implements [partial.CompressedLayer].
func (l Layer) MediaType() (types.MediaType, error) { return types.OCILayerZStd, nil }

// Compressed implements [partial.CompressedLayer].
func (l Layer) Compressed() (io.ReadCloser, error) {
	f, err := os.Open(l.file)
	if err != nil {
		return nil, err
	}
	if l.watch == nil {
		return f, nil
	}
	return reading{f, l.watch}, nil
}

// image is an entry as [partial.CompressedImageCore].
type image struct {
	layer              Layer
	manifest, envelope []byte
}

const envelopeType types.MediaType = "application/vnd.dsse.envelope.v1+json"

func imageOf(e Entry, l Layer, envelope []byte) (v1.Image, error) {
	sum := sha256.Sum256(envelope)
	manifest, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1,
		Config:      v1.Descriptor{MediaType: envelopeType, Size: int64(len(envelope)), Digest: hashOf(sum[:])},
		Layers:      []v1.Descriptor{{MediaType: types.OCILayerZStd, Size: l.bytes, Digest: l.digest}},
		Annotations: map[string]string{"io.ingot.stage": e.Stage, "io.ingot.key": e.Key},
	})
	if err != nil {
		return nil, err
	}
	return partial.CompressedToImage(image{l, manifest, envelope})
}

// RawConfigFile implements [partial.CompressedImageCore].
func (i image) RawConfigFile() ([]byte, error) { return i.envelope, nil }

// RawManifest implements [partial.CompressedImageCore].
func (i image) RawManifest() ([]byte, error) { return i.manifest, nil }

// MediaType implements [partial.CompressedImageCore].
func (i image) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// LayerByDigest implements [partial.CompressedImageCore].
func (i image) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	if h != i.layer.digest {
		return nil, fmt.Errorf("there is no layer %s", h)
	}
	return i.layer, nil
}

// tries cover a passing fault of the network. Single requests are repeated as
// often: the library does, but for those with a body.
const tries = 3

// again reports whether an operation is worth another try, after a pause.
func (p Place) again(ctx context.Context, try int, err error) bool {
	var answer *transport.Error
	hopeless := errors.As(err, &answer) && !answer.Temporary() || errors.Is(err, ErrRefused) || errors.Is(err, ErrNone)
	if err == nil || hopeless || try == tries {
		return false
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(time.Duration(try) * p.pause):
		return true
	}
}

// stall is how long nothing may come or go before a place is given up.
const stall = 2 * time.Minute

// watch ends an operation in which nothing happens any more.
type watch struct {
	timer *time.Timer
	ctx   context.Context
	end   context.CancelFunc
}

func newWatch(ctx context.Context) (context.Context, *watch) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watch{ctx: ctx, timer: time.AfterFunc(stall, func() { cancel(fmt.Errorf("nothing came or went for %v", stall)) })}
	w.end = func() {
		w.timer.Stop()
		cancel(nil)
	}
	return ctx, w
}

// explain is the cause of an error that comes from the end of the operation.
func (w *watch) explain(err error) error {
	if cause := context.Cause(w.ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// reading is a reader whose reads show that something happens.
type reading struct {
	io.ReadCloser
	watch *watch
}

// Read implements [io.Reader].
func (r reading) Read(p []byte) (int, error) {
	r.watch.timer.Reset(stall)
	return r.ReadCloser.Read(p)
}

// download copies an image's layer into a file, and wants exactly the bytes that
// were signed.
func download(w *watch, image v1.Image, digest v1.Hash, bytes int64, dir string) (Layer, error) {
	layer, err := image.LayerByDigest(digest)
	if err != nil {
		return Layer{}, err
	}
	from, err := layer.Compressed()
	if err != nil {
		return Layer{}, err
	}
	defer discard(from)
	f, err := os.CreateTemp(dir, "layer-")
	if err != nil {
		return Layer{}, err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum), io.LimitReader(reading{from, w}, bytes+1))
	err = errors.Join(err, f.Close())
	if got := hashOf(sum.Sum(nil)); n >= bytes && got != digest {
		err = refuse("its layer has the digest %s, and its envelope names %s", got, digest) // the library's error says less
	} else if err == nil && n < bytes {
		err = fmt.Errorf("the download ended after %d of %d bytes", n, bytes)
	}
	if err != nil {
		return Layer{}, errors.Join(err, os.Remove(f.Name()))
	}
	return Layer{file: f.Name(), digest: digest, bytes: bytes}, nil
}
