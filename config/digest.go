package config

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
)

// digest sums names and contents of files. Lengths go in too, so that no two
// sets of files give the same stream of bytes.
type digest struct{ hash.Hash }

func newDigest() digest { return digest{sha256.New()} }

func (d digest) add(name string, data []byte) {
	for _, part := range [][]byte{[]byte(name), data} {
		d.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		d.Write(part)
	}
}

func (d digest) sum() string { return hex.EncodeToString(d.Sum(nil)) }
