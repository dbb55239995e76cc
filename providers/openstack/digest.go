package openstack

import (
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"hash"
	"io"
)

// digests are what a service may say about the bytes that it got.
type digests map[string]hash.Hash

// newDigests has those that clouds are set up with: glance's os_hash_algo is sha512
// unless its operator chose another.
func newDigests() digests {
	return digests{"sha256": sha256.New(), "sha384": sha512.New384(), "sha512": sha512.New()}
}

// Write implements io.Writer.
func (d digests) Write(p []byte) (int, error) {
	for _, h := range d {
		h.Write(p)
	}
	return len(p), nil
}

func (d digests) hex(algorithm string) string {
	if d[algorithm] == nil {
		return ""
	}
	return hex.EncodeToString(d[algorithm].Sum(nil))
}

// source is an image on its way out: everything that is read is counted and hashed.
// It cannot be rewound, on purpose: the SDK would do that for a second try while the
// first may still be reading.
type source struct {
	from io.Reader
	sum  digests
	// old is the checksum of services from before os_hash_algo. It proves nothing
	// against an attacker and is only compared.
	old      hash.Hash
	done     int64
	progress func(int64)
}

func newSource(image io.ReaderAt, bytes int64, progress func(int64)) *source {
	return &source{from: io.NewSectionReader(image, 0, bytes), sum: newDigests(), old: md5.New(), progress: progress}
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.from.Read(p)
	s.sum.Write(p[:n])
	s.old.Write(p[:n])
	s.done += int64(n)
	if s.progress != nil && n > 0 {
		s.progress(s.done)
	}
	return n, err
}
