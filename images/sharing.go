package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"ingot/images/share"
)

// Sharing is where stages come from and go to beside the cache of this machine. A
// place that does not work is a remark, and the stage is made here.
type Sharing struct {
	From  []share.Place // asked in this order for what the cache does not have
	Trust share.Trust   // whose entries are taken
	To    []share.Place // get what they do not have of the stages of a build
	Sign  dsse.Signer   // signs what goes there
}

// used is a stage of this build.
type used struct {
	id  stageID
	dir string
}

// pull fills an empty folder from the first place that has the stage. It is empty
// when none has, the name of the place otherwise.
func (b *builder) pull(ctx context.Context, s stageID, dir string) (string, error) {
	for _, place := range b.opts.Sharing.From {
		if b.isBroken(place) {
			continue
		}
		b.progress(Progress{Stage: s.name, Step: "from " + place.String()})
		err := b.pullFrom(ctx, place, s, dir)
		if err == nil {
			return place.String(), nil
		}
		if cleared := b.opts.Cache.empty(dir); cleared != nil || ctx.Err() != nil {
			return "", errors.Join(ctx.Err(), cleared)
		}
		b.failed(place, s, err)
	}
	return "", nil
}

// failed tells of an entry that could not be had, and leaves a place alone that
// does not work.
func (b *builder) failed(place share.Place, s stageID, err error) {
	switch {
	case errors.Is(err, share.ErrNone):
	case errors.Is(err, share.ErrRefused):
		b.remark("WARNING: the stage %s in %s cannot be relied on and is made here: %v", s.name, place, err)
	default:
		b.remark("%s does not work and is left alone: %v", place, err)
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.broken == nil {
			b.broken = map[string]bool{}
		}
		b.broken[place.String()] = true
	}
}

func (b *builder) isBroken(place share.Place) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.broken[place.String()]
}

func (b *builder) pullFrom(ctx context.Context, place share.Place, s stageID, dir string) error {
	tmp, done, err := b.opts.Cache.Scratch("pull-")
	if err != nil {
		return err
	}
	defer done()
	layer, err := place.Pull(ctx, share.Entry{Stage: s.name, Key: s.key()}, b.opts.Sharing.Trust, tmp)
	if err != nil {
		return err
	}
	tar, err := layer.Open()
	if err != nil {
		return err
	}
	defer tar.Close()
	if err := b.ns.unpack(ctx, tar, dir); err != nil {
		return err
	}
	return checkPulled(s, dir)
}

// checkPulled compares what is known of a stage beforehand: the lock names
// Ignition's digest.
func checkPulled(s stageID, dir string) error {
	if s.name != "ignition" {
		return nil
	}
	if got, err := fileDigest(filepath.Join(dir, ignitionFile)); err != nil || s.inputs[lockedDigest] != `"`+got+`"` {
		return errors.Join(fmt.Errorf("%w: its Ignition has the SHA-256 %q, and the lock names %s", share.ErrRefused, got, s.inputs[lockedDigest]), err)
	}
	return nil
}

// push gives every place the stages of this build that it does not have.
func (b *builder) push(ctx context.Context, epoch int64) {
	for _, u := range b.used {
		var lacking []share.Place
		for _, place := range b.opts.Sharing.To {
			if b.isBroken(place) {
				continue
			}
			has, err := place.Has(ctx, share.Entry{Stage: u.id.name, Key: u.id.key()})
			if err != nil {
				b.failed(place, u.id, err)
			} else if !has {
				lacking = append(lacking, place)
			}
		}
		if len(lacking) > 0 && ctx.Err() == nil {
			b.pushTo(ctx, lacking, u, epoch)
		}
	}
}

func (b *builder) pushTo(ctx context.Context, places []share.Place, u used, epoch int64) {
	tmp, done, err := b.opts.Cache.Scratch("push-")
	if err != nil {
		b.remark("the stage %s could not be shared: %v", u.id.name, err)
		return
	}
	defer done()
	b.progress(Progress{Stage: u.id.name, Step: "packing"})
	layer, err := share.Compress(tmp, func(w io.Writer) error { return b.ns.pack(ctx, w, u.dir, epoch) })
	if err != nil {
		b.remark("the stage %s could not be shared: %v", u.id.name, err)
		return
	}
	for _, place := range places {
		b.progress(Progress{Stage: u.id.name, Step: "to " + place.String()})
		if err := place.Push(ctx, share.Entry{Stage: u.id.name, Key: u.id.key()}, layer, b.opts.Sharing.Sign); err != nil && ctx.Err() == nil {
			b.failed(place, u.id, err)
		}
	}
}

// Verbs of the program that work as uid 0 of a namespace; see [namespace.self].
const (
	PackVerb   = "pack-stage"
	UnpackVerb = "unpack-stage"
)

// pack writes a stage as a tar, with the owners as root sees them.
func (n namespace) pack(ctx context.Context, w io.Writer, dir string, epoch int64) error {
	dir, err := filepath.EvalSymlinks(dir) // a second name
	if err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		return share.Pack(cancelable{ctx, w}, dir, epoch)
	}
	return n.self(ctx, nil, w, PackVerb, dir, strconv.FormatInt(epoch, 10))
}

// unpack is the reverse, into an empty folder.
func (n namespace) unpack(ctx context.Context, r io.Reader, dir string) error {
	if os.Geteuid() == 0 {
		return share.Unpack(cancelableReader{ctx, r}, dir)
	}
	err := n.self(ctx, r, nil, UnpackVerb, dir)
	if errors.Is(err, errScript) {
		err = fmt.Errorf("%w: %w", share.ErrRefused, err)
	}
	return err
}

// UnpackHere is what [UnpackVerb] does. A refusal is told as scripts tell theirs.
func UnpackHere(r io.Reader, dir string) error {
	err := share.Unpack(r, dir)
	if errors.Is(err, share.ErrRefused) {
		return fmt.Errorf("\n%s%w", refusal, err)
	}
	return err
}

type cancelable struct {
	ctx context.Context
	io.Writer
}

// Write implements [io.Writer].
func (c cancelable) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.Writer.Write(p)
}

type cancelableReader struct {
	ctx context.Context
	io.Reader
}

// Read implements [io.Reader].
func (c cancelableReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.Reader.Read(p)
}
