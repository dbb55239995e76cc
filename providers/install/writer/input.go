package writer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Stdin is the standard input as a file that gives up when nothing comes for a
// while, as when a connection has died without a word.
func Stdin(silence time.Duration) (io.Reader, error) {
	if err := unix.SetNonblock(0, true); err != nil {
		return nil, err
	}
	return &impatient{os.NewFile(0, "stdin"), silence}, nil
}

type impatient struct {
	file    *os.File
	silence time.Duration
}

func (r *impatient) Read(p []byte) (int, error) {
	// A regular file has no deadline and does not wait.
	_ = r.file.SetReadDeadline(time.Now().Add(r.silence))
	n, err := r.file.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("nothing was heard for %v: %w", r.silence, errLost)
	}
	return n, err
}

// dataReader is the packed image as it arrives. Patches, which come before, are put
// aside.
type dataReader struct {
	s     *session
	buf   []byte
	left  []byte
	taken int64
	ended bool
}

func (r *dataReader) Read(p []byte) (int, error) {
	for len(r.left) == 0 {
		if r.ended {
			return 0, io.EOF
		}
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

func (r *dataReader) next() error {
	kind, payload, err := receive(r.s.in, r.buf)
	if err != nil {
		return err
	}
	switch kind {
	case KindPatch:
		var p Patch
		if json.Unmarshal(payload, &p) != nil { // the error may quote it
			return errors.New("a patch is not JSON")
		}
		r.s.patches = append(r.s.patches, p)
	case KindData:
		if r.taken += int64(len(payload)); r.taken > r.s.job.PackedBytes {
			return errors.New("more comes than was announced")
		}
		r.buf, r.left = payload[:cap(payload)], payload
	case KindEnd:
		r.ended = true
	default:
		return fmt.Errorf("a message of kind %q in the image", kind)
	}
	return nil
}

// end wants nothing to be left.
func (r *dataReader) end() error {
	n, err := io.Copy(io.Discard, r)
	if err == nil && n > 0 {
		return errors.New("more comes than was announced")
	}
	return err
}

// byteReader reads memory; a bytes.Reader would let the decoder take all at once.
type byteReader struct{ b []byte }

func (r *byteReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.b)
	r.b = r.b[n:]
	return n, nil
}

// patch makes the changes and reads them back.
func (s *session) patch() error {
	for _, p := range s.patches {
		if p.Offset < 0 || p.Offset%sectorBytes != 0 || len(p.Data)%sectorBytes != 0 || p.Offset+int64(len(p.Data)) > s.job.ImageBytes {
			return fmt.Errorf("a patch of %d bytes at %d", len(p.Data), p.Offset)
		}
		for at := 0; at < len(p.Data); at += len(s.buf) {
			if err := s.patchAt(p.Offset+int64(at), p.Data[at:min(at+len(s.buf), len(p.Data))]); err != nil {
				return err
			}
		}
	}
	return s.disk.Flush()
}

func (s *session) patchAt(offset int64, data []byte) error {
	p := s.buf[:copy(s.buf, data)]
	if _, err := s.disk.WriteAt(p, offset); err != nil {
		return fmt.Errorf("write the disk at %d: %w", offset, err)
	}
	if _, err := s.disk.ReadAt(p, offset); err != nil {
		return fmt.Errorf("read the disk at %d: %w", offset, err)
	}
	if !bytes.Equal(p, data) {
		return fmt.Errorf("the disk does not keep what is written to it: the instance config at %d reads back as something else", offset)
	}
	return nil
}
