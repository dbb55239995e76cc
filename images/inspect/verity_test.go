package inspect

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"io"
	"strings"
	"testing"
)

// sealedBytes is a hash tree of data as veritysetup lays it out.
func sealedBytes(t testing.TB, data, salt []byte) []byte {
	t.Helper()
	s := superblock{Version: 1, HashType: 1, DataBlockSize: blockSize, HashBlockSize: blockSize, DataBlocks: uint64(len(data) / blockSize), SaltSize: uint16(len(salt))}
	copy(s.Signature[:], "verity")
	copy(s.Algorithm[:], "sha256")
	copy(s.Salt[:], salt)
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, s); err != nil {
		t.Fatal(err)
	}
	levels := [][]byte{padded(hashLevel(data, salt))}
	for len(levels[0]) > blockSize {
		levels = append([][]byte{padded(hashLevel(levels[0], salt))}, levels...)
	}
	return append(padded(b.Bytes()), bytes.Join(levels, nil)...)
}

// pattern is what the root hashes below are of, which veritysetup 2.6.1 made.
func pattern() []byte {
	var b []byte
	for i := range 300 {
		b = append(b, bytes.Repeat([]byte{byte(i % 251)}, blockSize)...)
	}
	return b
}

const (
	patternHash       = "edc24cd4615abcd726845d41c1e48a99aeb5837da57ffd6c74dce3919d1d6447"
	patternHashSalted = "5d0b59a32e51bcb333199d6af48159582288cb0d7c46bfeae1017a9265e04ce6" // with 00ff
)

func section(b []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}

func TestVerify(t *testing.T) {
	t.Parallel()
	at := func(n int) func(data, tree []byte) { return func(data, tree []byte) { data[n] ^= 1 } }
	inTree := func(n int) func(data, tree []byte) { return func(data, tree []byte) { tree[n] ^= 1 } }
	for name, test := range map[string]struct {
		salt   string
		hash   string
		change func(data, tree []byte)
		want   string // part of what is said; empty when all is well
	}{
		"whole":              {hash: patternHash},
		"whole, with salt":   {salt: "00ff", hash: patternHashSalted},
		"other salt":         {salt: "00fe", hash: patternHashSalted, want: "the root hash of the tree is"},
		"first byte":         {hash: patternHash, change: at(0), want: "block 0 of the root"},
		"last byte":          {hash: patternHash, change: at(300*blockSize - 1), want: "block 299 of the root"},
		"a hash of a block":  {hash: patternHash, change: inTree(2*blockSize + 32), want: "block 1 of the root"},
		"padding of a level": {hash: patternHash, change: inTree(5*blockSize - 1), want: "block 383 of the root"},
		"the top":            {hash: patternHash, change: inTree(blockSize + 64), want: "hash 2 in level 1"},
		"other root hash":    {hash: patternHashSalted, want: "the root hash of the tree is edc24cd4"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			salt, err := hex.DecodeString(test.salt)
			if err != nil {
				t.Fatal(err)
			}
			data := pattern()
			tree := sealedBytes(t, data, salt)
			if test.change != nil {
				test.change(data, tree)
			}
			root, verity := Partition{UUID: uuidOf(test.hash[:32])}, Partition{UUID: uuidOf(test.hash[32:])}
			sealed, got, err := verify(t.Context(), section(data), section(tree), test.hash, root, verity)
			if err != nil || sealed != int64(len(data)) || (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
				t.Errorf("%q (%v), want %q", got, err, test.want)
			}
			if test.want == "" {
				_, got, err = verify(t.Context(), section(data), section(tree), test.hash, verity, verity)
				if err != nil || !strings.Contains(got, "the root's partition has the UUID") {
					t.Errorf("another partition's UUID: %q (%v)", got, err)
				}
			}
		})
	}
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(tree []byte) []byte
		want   string
	}{
		"no tree":        {func(tree []byte) []byte { return make([]byte, len(tree)) }, "there is no hash tree"},
		"truncated":      {func(tree []byte) []byte { return tree[:3*blockSize] }, "the tree ends within its level 0"},
		"shorter still":  {func(tree []byte) []byte { return tree[:100] }, "EOF"},
		"type 0":         {func(tree []byte) []byte { tree[12] = 0; return tree }, "of type 0"},
		"sha512":         {func(tree []byte) []byte { copy(tree[32:], "sha512"); return tree }, `"sha512"`},
		"too many":       {func(tree []byte) []byte { tree[79] = 0x7f; return tree }, "blocks and the root's partition has 300"},
		"one too many":   {func(tree []byte) []byte { tree[72]++; return tree }, "of 301 blocks and the root's partition has 300"},
		"a salt of 0xff": {func(tree []byte) []byte { tree[81] = 0xff; return tree }, "256 are the most"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := pattern()
			_, _, err := verify(t.Context(), section(data), section(test.change(sealedBytes(t, data, nil))), patternHash, Partition{}, Partition{})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}
