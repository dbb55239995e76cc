// Package share keeps finished stages of builds in OCI registries, so that
// another machine need not make them.
//
// An entry is an image of one layer, the stage's folder as a tar compressed with
// zstd, under the tag STAGE-KEY. Its config is a DSSE envelope: a statement of
// which stage and key the layer is for, signed with ed25519. A reader takes an
// entry when a key it trusts signed exactly that, and the layer has the digest
// of the statement; the registry itself is not trusted.
package share

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// Entry names a stage.
type Entry struct {
	Stage string // such as "base"
	Key   string // the digest of its inputs, 64 hex digits
}

// tag holds as much of the key as file names of the cache do.
func (e Entry) tag() string { return e.Stage + "-" + e.Key[:32] }

var entryShape = regexp.MustCompile(`^[a-z][a-z0-9]{0,31}-[0-9a-f]{64}$`)

func (e Entry) check() error {
	if !entryShape.MatchString(e.Stage + "-" + e.Key) {
		return fmt.Errorf("%q with the key %q is no stage", e.Stage, e.Key)
	}
	return nil
}

// ErrNone says that a place has no such entry.
var ErrNone = errors.New("no such entry")

// ErrRefused says that an entry is there and cannot be relied on.
var ErrRefused = errors.New("refused")

func refuse(format string, arguments ...any) error {
	return fmt.Errorf("%w: %w", ErrRefused, fmt.Errorf(format, arguments...))
}

// Trust is whose entries are taken.
type Trust struct {
	Keys []ed25519.PublicKey
	// Anyone takes every entry that the registry has: whoever may write to it
	// decides what is in the images.
	Anyone bool
}

// payloadType keeps these statements apart from all others that a key signs.
const payloadType = "application/vnd.ingot.stage.v1+json"

// statement is what is signed.
type statement struct {
	Stage string `json:"stage"`
	Key   string `json:"key"`
	Layer string `json:"layer"` // digest of the compressed layer, "sha256:…"
	Bytes int64  `json:"bytes"` // its size
}

// Limits of what is read from others.
const (
	maxEnvelope = 64 << 10
	maxLayer    = 4 << 30  // the largest stage today, stock trees excepted, has 250 MB
	maxUnpacked = 16 << 30 // data that is written to the disk
)

// seal makes the envelope of an entry.
func seal(ctx context.Context, e Entry, layer v1.Hash, bytes int64, signer dsse.Signer) ([]byte, error) {
	payload, err := json.Marshal(statement{e.Stage, e.Key, layer.String(), bytes})
	if err != nil {
		return nil, err
	}
	s, err := dsse.NewEnvelopeSigner(signer)
	if err != nil {
		return nil, err
	}
	envelope, err := s.SignPayload(ctx, payloadType, payload)
	if err != nil {
		return nil, err
	}
	return json.Marshal(envelope)
}

// open reads the envelope of an entry: the digest and size that its layer must
// have.
func open(data []byte, e Entry, trust Trust) (layer v1.Hash, bytes int64, err error) {
	var envelope dsse.Envelope
	if err := json.Unmarshal(data, &envelope); err != nil {
		return layer, 0, refuse("it has no envelope: %w", err)
	}
	payload, err := base64.StdEncoding.DecodeString(envelope.Payload)
	if err != nil || envelope.PayloadType != payloadType {
		return layer, 0, refuse("its envelope is about %q, not a stage", envelope.PayloadType)
	}
	if !trust.Anyone && !signed(envelope, payload, trust.Keys) {
		return layer, 0, refuse("none of the trusted keys signed it")
	}
	var s statement
	if err := json.Unmarshal(payload, &s); err != nil {
		return layer, 0, refuse("its statement cannot be read: %w", err)
	}
	if s.Stage != e.Stage || s.Key != e.Key {
		return layer, 0, refuse("it is the stage %q with the key %q", s.Stage, s.Key)
	}
	if s.Bytes <= 0 || s.Bytes > maxLayer {
		return layer, 0, refuse("its layer has %d bytes, and at most %d are read", s.Bytes, int64(maxLayer))
	}
	if layer, err = v1.NewHash(s.Layer); err != nil || layer.Algorithm != "sha256" {
		return layer, 0, refuse("its layer has the digest %q", s.Layer)
	}
	return layer, s.Bytes, nil
}

func signed(envelope dsse.Envelope, payload []byte, keys []ed25519.PublicKey) bool {
	data := dsse.PAE(envelope.PayloadType, payload)
	for _, s := range envelope.Signatures {
		sig, err := base64.StdEncoding.DecodeString(s.Sig)
		if err != nil {
			continue
		}
		for _, key := range keys {
			if ed25519.Verify(key, data, sig) {
				return true
			}
		}
	}
	return false
}

// store is where entries are: a registry or a folder. An image that is not there
// is ErrNone.
type store interface {
	find(ctx context.Context, tag string) (v1.Image, error)
	put(ctx context.Context, tag string, image v1.Image) error
}

// Place is where entries are kept.
type Place struct {
	name  string
	store store
	pause time.Duration // before the second try of a download
}

func (p Place) String() string { return p.name }

// Has reports whether an entry is there. It does not look into it.
func (p Place) Has(ctx context.Context, e Entry) (bool, error) {
	if err := e.check(); err != nil {
		return false, err
	}
	_, err := p.store.find(ctx, e.tag())
	if errors.Is(err, ErrNone) {
		return false, nil
	}
	return err == nil, err
}

// Push stores a stage's layer, signed.
func (p Place) Push(ctx context.Context, e Entry, l Layer, signer dsse.Signer) error {
	if err := e.check(); err != nil {
		return err
	}
	envelope, err := seal(ctx, e, l.digest, l.bytes, signer)
	if err != nil {
		return err
	}
	ctx, l.watch = newWatch(ctx)
	defer l.watch.end()
	image, err := imageOf(e, l, envelope)
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		err := p.store.put(ctx, e.tag(), image)
		if !p.again(ctx, try, err) {
			return l.watch.explain(err)
		}
	}
}

// Pull downloads an entry's layer into a new file of dir and returns it when the
// entry is what it should be: ErrNone or ErrRefused tell why not. What fails on
// the way is tried again.
func (p Place) Pull(ctx context.Context, e Entry, trust Trust, dir string) (Layer, error) {
	if err := e.check(); err != nil {
		return Layer{}, err
	}
	ctx, watch := newWatch(ctx)
	defer watch.end()
	image, err := p.store.find(ctx, e.tag())
	if err != nil {
		return Layer{}, watch.explain(err)
	}
	digest, bytes, err := verify(image, e, trust)
	if err != nil {
		return Layer{}, err
	}
	for try := 1; ; try++ {
		l, err := download(watch, image, digest, bytes, dir)
		if !p.again(ctx, try, err) {
			return l, watch.explain(err)
		}
	}
}

// verify looks at everything but the layer's content.
func verify(image v1.Image, e Entry, trust Trust) (v1.Hash, int64, error) {
	manifest, err := image.Manifest()
	if err != nil {
		return v1.Hash{}, 0, refuse("its manifest cannot be read: %w", err)
	}
	if n := manifest.Config.Size; n <= 0 || n > maxEnvelope {
		return v1.Hash{}, 0, refuse("its envelope has %d bytes, and at most %d are read", n, maxEnvelope)
	}
	envelope, err := image.RawConfigFile()
	if err != nil {
		return v1.Hash{}, 0, err
	}
	digest, bytes, err := open(envelope, e, trust)
	if err != nil {
		return digest, 0, err
	}
	if len(manifest.Layers) != 1 || manifest.Layers[0].Digest != digest || manifest.Layers[0].Size != bytes {
		return digest, 0, refuse("its manifest has another layer than its envelope")
	}
	return digest, bytes, nil
}

// discard closes what is only read.
func discard(c io.Closer) { _ = c.Close() }
