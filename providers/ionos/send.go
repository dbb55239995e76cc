package ionos

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/jlaffaye/ftp"

	"ingot/fault"
)

// The server's folders. What ends in ".img" is taken for a CD-ROM, in whatever folder
// it is (ionosctl, image upload): Ingot's disks end in ".raw".
const (
	diskFolder = "hdd-images"
	discFolder = "iso-images"
)

// cargo is a file on its way to the server.
type cargo struct {
	image    io.ReaderAt
	bytes    int64
	sha256   string // in hex; empty is not checked
	progress func(int64)

	sum    hash.Hash
	hashed int64 // how far sum has come
}

// tries is how often an upload is begun or gone on with before it is given up.
const tries = 6

// errTaken says that the server does not let a file be written.
var errTaken = errors.New("the server does not take the file under this name")

// send stores a file under the first name that the server takes, and returns the
// name. An upload that was cut is gone on with. name makes the names: the first for 1.
func (p *Provider) send(ctx context.Context, folder string, name func(n int) string, c *cargo) (string, error) {
	c.sum = sha256.New()
	var last error
	names := 1
	for range tries {
		file := folder + "/" + name(names)
		err := p.sendOnce(ctx, file, c)
		switch {
		case err == nil:
			return name(names), c.check()
		case ctx.Err() != nil:
			return "", fmt.Errorf("upload %s: %w", file, ctx.Err())
		case errors.Is(err, errTaken):
			names++ // at once: nothing is to be waited for
		case fault.Of(err) != fault.OfProvider || errors.Is(err, errStranger):
			return "", err
		default:
			if e := rest(ctx, p.pace.poll); e != nil {
				return "", e
			}
		}
		last = err
	}
	return "", fault.Provider(fmt.Errorf("the upload was tried %d times: %w", tries, last))
}

// sendOnce sends what the server lacks of a file.
func (p *Provider) sendOnce(ctx context.Context, file string, c *cargo) error {
	session, err := p.dialFTP(ctx)
	if err != nil {
		return err
	}
	defer session.Close()
	what := "upload " + file
	there, err := session.sizeOf(file)
	switch {
	case err != nil:
		return p.ftpError(what, ctx, err)
	case there > c.bytes:
		return fmt.Errorf("%w: it has a larger one", errTaken)
	}
	if err := c.skip(max(there, 0)); err != nil {
		return err
	}
	if there != c.bytes {
		err := session.StorFrom(file, c.from(ctx, max(there, 0), session.wire.cut), uint64(max(there, 0)))
		if refused(err) {
			return fmt.Errorf("%w: %s", errTaken, p.hide(err.Error()))
		}
		if fault.Of(err) == fault.OfMachine {
			return err // nobody's fault but that of the image's file
		}
		if err != nil {
			return p.ftpError(what, ctx, err)
		}
		if there, err = session.sizeOf(file); err != nil {
			return p.ftpError(what, ctx, err)
		}
	}
	if there != c.bytes {
		return fault.Provider(fmt.Errorf("%s: the server has %d bytes of %d", what, max(there, 0), c.bytes))
	}
	return nil
}

// refused reports whether a server does not take a file because of its name, or does
// not go on with it.
func refused(err error) bool {
	switch replied(err) {
	case ftp.StatusFileUnavailable, ftp.StatusBadFileName, ftp.StatusNotImplemented, ftp.StatusNotImplementedParameter, ftp.StatusBadCommand:
		return true
	}
	return false
}

// skip hashes what the server has already, as far as it was not hashed when it was
// sent.
func (c *cargo) skip(n int64) error {
	if n <= c.hashed {
		return nil
	}
	_, err := io.Copy(c.sum, io.NewSectionReader(c.image, c.hashed, n-c.hashed))
	if err != nil {
		return fault.Machine(fmt.Errorf("read the image: %w", err))
	}
	c.hashed = n
	return nil
}

// from reads from an offset on, hashes what was not hashed and tells the progress. FTP
// tells no lengths: a file is whole when its connection is closed in order. So where
// reading ends early the connection is cut.
func (c *cargo) from(ctx context.Context, offset int64, cut func()) io.Reader {
	return &flow{c, ctx, offset, cut}
}

type flow struct {
	*cargo
	ctx context.Context
	at  int64
	cut func()
}

func (f *flow) Read(b []byte) (int, error) {
	if err := f.ctx.Err(); err != nil {
		f.cut()
		return 0, err
	}
	if f.at >= f.bytes {
		return 0, io.EOF
	}
	n, err := f.image.ReadAt(b[:min(int64(len(b)), f.bytes-f.at)], f.at)
	end := f.at + int64(n)
	if end > f.hashed {
		f.sum.Write(b[f.hashed-f.at : n])
		f.hashed = end
	}
	f.at = end
	if f.progress != nil {
		f.progress(f.at)
	}
	if n > 0 {
		return n, nil // what remains is read next
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	f.cut()
	return 0, fault.Machine(fmt.Errorf("read the image: %w", err))
}

// check compares what was sent with what was proven.
func (c *cargo) check() error {
	got := hex.EncodeToString(c.sum.Sum(nil))
	if c.sha256 != "" && got != c.sha256 {
		return fault.Input(fmt.Errorf("the image has changed: its SHA-256 was %s and what was sent has %s; build and test it again", c.sha256, got))
	}
	return nil
}

// readBack fetches a file and compares it.
func (p *Provider) readBack(ctx context.Context, file string, c *cargo) error {
	session, err := p.dialFTP(ctx)
	if err != nil {
		return err
	}
	defer session.Close()
	what := "read " + file + " back"
	r, err := session.Retr(file)
	if err != nil {
		return p.ftpError(what, ctx, err)
	}
	sum := sha256.New()
	_, err = io.Copy(sum, r)
	if err := errors.Join(err, r.Close()); err != nil {
		return p.ftpError(what, ctx, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != c.sha256 {
		return fault.Provider(fmt.Errorf("%s: its SHA-256 is %s there and %s here", what, got, c.sha256))
	}
	return nil
}
