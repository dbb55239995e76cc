package inspect

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
)

// blockSize is the size of both data and hash blocks.
const blockSize = 4096

// maxRoot is the largest root that is looked into: its hashes are kept in memory.
const maxRoot = 16 << 30

// superblock is the first 512 bytes of a hash tree, from cryptsetup's
// lib/verity/verity.c. Salt lies behind it.
type superblock struct {
	Signature     [8]byte // "verity\0\0"
	Version       uint32
	HashType      uint32
	UUID          [16]byte
	Algorithm     [32]byte
	DataBlockSize uint32
	HashBlockSize uint32
	DataBlocks    uint64
	SaltSize      uint16
	_             [6]byte
	Salt          [256]byte
	_             [168]byte
}

// verify does what "veritysetup verify" does: it hashes every block and compares
// the whole tree. What differs is the result, after the number of bytes that the
// tree covers; the error is for a tree that cannot be read. The partitions' UUIDs
// are the halves of the root hash.
func verify(ctx context.Context, data, tree *io.SectionReader, rootHash string, root, verity Partition) (int64, string, error) {
	salt, blocks, err := readSuperblock(tree, data.Size())
	if err != nil {
		return 0, "", err
	}
	hashes, err := hashBlocks(ctx, io.NewSectionReader(data, 0, blocks*blockSize), salt, blocks)
	if err != nil {
		return 0, "", err
	}
	broken, err := compare(tree, hashes, salt, rootHash)
	if err != nil || broken != "" {
		return blocks * blockSize, broken, err
	}
	if want := uuidOf(rootHash[:32]); root.UUID != want {
		broken = fmt.Sprintf("the root's partition has the UUID %s and its root hash wants %s", root.UUID, want)
	} else if want := uuidOf(rootHash[32:]); verity.UUID != want {
		broken = fmt.Sprintf("the hash tree's partition has the UUID %s and its root hash wants %s", verity.UUID, want)
	}
	return blocks * blockSize, broken, nil
}

// compare builds the tree over hashes and holds the one that is there against it.
func compare(tree io.ReaderAt, hashes, salt []byte, rootHash string) (string, error) {
	// From the data up. In the file the levels are the other way round.
	var levels [][]byte
	for len(levels) == 0 || len(hashes) > blockSize {
		if len(levels) > 0 {
			hashes = hashLevel(hashes, salt)
		}
		hashes = padded(hashes)
		levels = append(levels, hashes)
	}
	// From the data up again, so that a changed block is named as such.
	at := int64(blockSize)
	for _, l := range levels {
		at += int64(len(l))
	}
	for n, l := range levels {
		at -= int64(len(l))
		stored := make([]byte, len(l))
		if _, err := tree.ReadAt(stored, at); err != nil {
			return "", fmt.Errorf("the tree ends within its level %d: %w", n, err)
		}
		if d := firstDifference(stored, l); d >= 0 {
			return differs(n, d), nil
		}
	}
	if got := hashOf(levels[len(levels)-1], salt); hex.EncodeToString(got) != rootHash {
		return fmt.Sprintf("the root hash of the tree is %x and the machine boots with %s", got, rootHash), nil
	}
	return "", nil
}

func differs(level, hash int) string {
	if level == 0 {
		return fmt.Sprintf("block %d of the root, or its hash, is not what was sealed", hash)
	}
	return fmt.Sprintf("hash %d in level %d of the hash tree is not what was sealed", hash, level)
}

func readSuperblock(tree *io.SectionReader, data int64) (salt []byte, blocks int64, err error) {
	var s superblock
	if err := binary.Read(io.NewSectionReader(tree, 0, sectorSize), binary.LittleEndian, &s); err != nil {
		return nil, 0, err
	}
	algorithm, _, _ := bytes.Cut(s.Algorithm[:], []byte{0})
	switch {
	case string(s.Signature[:]) != "verity\x00\x00" || s.Version != 1:
		return nil, 0, errors.New("there is no hash tree")
	case s.HashType != 1 || string(algorithm) != "sha256" || s.DataBlockSize != blockSize || s.HashBlockSize != blockSize:
		return nil, 0, fmt.Errorf("the hash tree is of type %d with %q and blocks of %d and %d bytes; Ingot's are of type 1 with sha256 and 4096", s.HashType, algorithm, s.DataBlockSize, s.HashBlockSize)
	case s.DataBlocks == 0 || s.DataBlocks > uint64(min(data, maxRoot)/blockSize):
		return nil, 0, fmt.Errorf("the hash tree is of %d blocks and the root's partition has %d, at most %d", s.DataBlocks, data/blockSize, maxRoot/blockSize)
	case int(s.SaltSize) > len(s.Salt):
		return nil, 0, fmt.Errorf("the salt has %d bytes, 256 are the most", s.SaltSize)
	}
	return s.Salt[:s.SaltSize], int64(s.DataBlocks), nil
}

// hashBlocks are the hashes of all blocks, one after the other.
func hashBlocks(ctx context.Context, r io.Reader, salt []byte, blocks int64) ([]byte, error) {
	hashes := make([]byte, 0, padSize(blocks*sha256.Size))
	buf := make([]byte, 256*blockSize)
	for blocks > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		piece := buf[:min(int64(len(buf)), blocks*blockSize)]
		if _, err := io.ReadFull(r, piece); err != nil {
			return nil, err
		}
		hashes = append(hashes, hashLevel(piece, salt)...)
		blocks -= int64(len(piece) / blockSize)
	}
	return hashes, nil
}

func hashLevel(level, salt []byte) []byte {
	var hashes []byte
	for at := 0; at < len(level); at += blockSize {
		hashes = append(hashes, hashOf(level[at:at+blockSize], salt)...)
	}
	return hashes
}

func hashOf(block, salt []byte) []byte {
	h := sha256.New()
	h.Write(salt)
	h.Write(block)
	return h.Sum(nil)
}

// padded fills the last block with zeros.
func padded(b []byte) []byte { return append(b, make([]byte, padSize(int64(len(b)))-int64(len(b)))...) }

func padSize(n int64) int64 { return (n + blockSize - 1) / blockSize * blockSize }

// firstDifference is the number of the first hash that differs, or -1.
func firstDifference(a, b []byte) int {
	for at := 0; at < len(a); at += sha256.Size {
		if !bytes.Equal(a[at:at+sha256.Size], b[at:at+sha256.Size]) {
			return at / sha256.Size
		}
	}
	return -1
}

// uuidOf writes 32 hex digits as a UUID.
func uuidOf(digits string) string {
	d := strings.ToUpper(digits)
	return strings.Join([]string{d[:8], d[8:12], d[12:16], d[16:20], d[20:]}, "-")
}
