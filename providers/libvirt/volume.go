package libvirt

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	api "github.com/digitalocean/go-libvirt"

	"ingot/fault"
)

// piece is how much of a disk is looked at at once, in bytes, and least is how long a
// stretch of zeros must be to be left out: after each stretch that is sent libvirt
// looks through the whole pool.
const (
	piece = 1 << 20
	least = 8 << 20
)

// defaultStall is how long libvirt may take no byte of a volume, or not answer when all
// were sent.
const defaultStall = 2 * time.Minute

// extent is a stretch of a disk with data.
type extent struct{ at, length int64 }

// extents finds what of a disk is not zeros.
func extents(ctx context.Context, r io.ReaderAt, size int64) ([]extent, error) {
	var list []extent
	buf, zeros := make([]byte, piece), make([]byte, piece)
	for at := int64(0); at < size; at += piece {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		b := buf[:min(piece, size-at)]
		if n, err := r.ReadAt(b, at); n < len(b) {
			return nil, fault.Input(fmt.Errorf("read the image: %w", err))
		}
		if bytes.Equal(b, zeros[:len(b)]) {
			continue
		}
		if n := len(list) - 1; n >= 0 && at-(list[n].at+list[n].length) < least {
			list[n].length = at + int64(len(b)) - list[n].at
		} else {
			list = append(list, extent{at, int64(len(b))})
		}
	}
	return list, nil
}

// createVolume makes an empty volume of zeros, readable for its owner only.
func (p *Provider) createVolume(ctx context.Context, name string, size int64) (api.StorageVol, error) {
	pool, err := p.pool(ctx)
	if err != nil {
		return api.StorageVol{}, err
	}
	text, err := marshal(newVolume(name, size))
	if err != nil {
		return api.StorageVol{}, err
	}
	return ask(ctx, p, "make the volume "+name, func(l *api.Libvirt) (api.StorageVol, error) {
		return l.StorageVolCreateXML(pool, text, 0)
	})
}

// cloneVolume makes a volume that begins with what is in another.
func (p *Provider) cloneVolume(ctx context.Context, name string, size int64, from api.StorageVol) error {
	pool, err := p.pool(ctx)
	if err != nil {
		return err
	}
	text, err := marshal(newVolume(name, size))
	if err != nil {
		return err
	}
	return tell(ctx, p, fmt.Sprintf("copy the volume %s to %s", from.Name, name), func(l *api.Libvirt) error {
		_, err := l.StorageVolCreateXMLFrom(pool, text, from, 0)
		return err
	})
}

// fill writes a disk into a new volume. What is zeros is not sent.
func (p *Provider) fill(ctx context.Context, volume api.StorageVol, r io.ReaderAt, size int64, progress func(int64)) error {
	list, err := extents(ctx, r, size)
	if err != nil {
		return err
	}
	for _, e := range list {
		if err := p.send(ctx, volume, r, e, progress); err != nil {
			return err
		}
	}
	if progress != nil {
		progress(size)
	}
	return nil
}

// send writes one stretch. The library waits for ever when the reader fails, and when
// libvirt refuses the last bytes (it waits for a sender that has ended): the reader
// never fails, and a connection on which nothing moves is given up.
func (p *Provider) send(ctx context.Context, volume api.StorageVol, r io.ReaderAt, e extent, progress func(int64)) error {
	conn, err := p.libvirt(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	source := &source{ctx: ctx, r: r, extent: e, progress: progress}
	done := make(chan error, 1)
	go func() {
		done <- conn.StorageVolUpload(volume, source, uint64(e.at), uint64(e.length), 0)
	}()
	what := "write the volume " + volume.Name
	for before := int64(-1); ; {
		select {
		case err := <-done:
			switch {
			case source.err != nil:
				return fault.Input(fmt.Errorf("read the image: %w", source.err))
			case err != nil:
				return problem(what, err)
			}
			return nil
		case <-ctx.Done():
			p.drop(conn)
			return ctx.Err()
		case <-time.After(p.stall):
			if now := source.sent.Load(); now != before {
				before = now
				continue
			}
			p.drop(conn)
			return fault.Provider(fmt.Errorf("%s: libvirt has not answered for %s; has the pool %s room?", what, p.stall, p.o.Pool))
		}
	}
}

// source reads a stretch of a disk without ever failing: after an error it gives
// zeros.
type source struct {
	ctx      context.Context
	r        io.ReaderAt
	extent   extent
	progress func(int64)
	sent     atomic.Int64
	err      error // read when the transfer has ended
}

func (s *source) Read(b []byte) (int, error) {
	n := s.sent.Load()
	left := s.extent.length - n
	if left == 0 {
		return 0, io.EOF
	}
	b = b[:min(int64(len(b)), left, piece)]
	if s.err == nil {
		s.err = s.ctx.Err()
	}
	got := 0
	if s.err == nil {
		var err error
		if got, err = s.r.ReadAt(b, s.extent.at+n); got < len(b) {
			s.err = errors.Join(err, io.ErrUnexpectedEOF)
		}
	}
	clear(b[got:])
	s.sent.Add(int64(len(b)))
	if s.progress != nil && s.err == nil {
		s.progress(s.extent.at + n + int64(len(b)))
	}
	return len(b), nil
}

// receive reads the first bytes of a volume into w, which must never fail: the
// library would wait for ever.
func (p *Provider) receive(ctx context.Context, volume api.StorageVol, size int64, w io.Writer) error {
	conn, err := p.libvirt(ctx)
	if err != nil {
		return err
	}
	_, err = await(ctx, func() (struct{}, error) {
		return struct{}{}, conn.StorageVolDownload(volume, w, 0, uint64(size), 0)
	})
	if ctx.Err() != nil {
		p.drop(conn)
	}
	if err != nil {
		return problem("read the volume "+volume.Name, err)
	}
	return nil
}

// sum is the SHA-256 of the first bytes of a volume, in hex.
func (p *Provider) sum(ctx context.Context, volume api.StorageVol, size int64) (string, error) {
	h := sha256.New()
	if err := p.receive(ctx, volume, size, h); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// volumes are those of the pool that Ingot made, by name.
func (p *Provider) volumes(ctx context.Context) (map[string]api.StorageVol, error) {
	pool, err := p.pool(ctx)
	if err != nil {
		return nil, err
	}
	list, err := ask(ctx, p, "list the volumes of the pool "+p.o.Pool, func(l *api.Libvirt) ([]api.StorageVol, error) {
		volumes, _, err := l.StoragePoolListAllVolumes(pool, 1, 0)
		return volumes, err
	})
	if err != nil {
		return nil, err
	}
	found := map[string]api.StorageVol{}
	for _, v := range list {
		if volumeID(v.Name) != "" {
			found[v.Name] = v
		}
	}
	return found, nil
}

// deleteVolume removes a volume. One that is not there is no error.
func (p *Provider) deleteVolume(ctx context.Context, name string) error {
	pool, err := p.pool(ctx)
	if err != nil {
		return err
	}
	err = tell(ctx, p, "delete the volume "+name, func(l *api.Libvirt) error {
		volume, err := l.StorageVolLookupByName(pool, name)
		if err != nil {
			return err
		}
		return l.StorageVolDelete(volume, 0)
	})
	if isGone(err) {
		return nil
	}
	return err
}
