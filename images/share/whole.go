package share

import (
	"archive/tar"
	"errors"
	"io"
)

// Whole copies a tar of [Pack]'s as one that everybody reads: runs of zeros are
// written out.
func Whole(w io.Writer, r io.Reader) error {
	in, out := tar.NewReader(r), tar.NewWriter(w)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, r)
			return errors.Join(err, out.Close())
		}
		if err != nil {
			return err
		}
		parts := []part{{0, h.Size}}
		if text, sparse := h.PAXRecords[sparseRecord]; sparse {
			delete(h.PAXRecords, sparseRecord)
			if h.Size, parts, err = parseSparse(text, h.Size); err != nil {
				return err
			}
		}
		if err := out.WriteHeader(h); err != nil {
			return err
		}
		at := int64(0)
		for _, p := range append(parts, part{at: h.Size}) {
			if _, err := io.CopyN(out, zeros{}, p.at-at); err != nil {
				return err
			}
			if _, err := io.CopyN(out, in, p.length); err != nil {
				return err
			}
			at = p.at + p.length
		}
	}
}

type zeros struct{}

// Read implements [io.Reader].
func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
