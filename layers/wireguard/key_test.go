package wireguard

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"math/big"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// seeded gives the same keys in every run.
func seeded() *mathrand.ChaCha8 { return mathrand.NewChaCha8([32]byte{1}) }

// keyPair makes a key pair without NewKeyPair's choice.
func keyPair(t *testing.T, random *mathrand.ChaCha8) (private, public []byte) {
	t.Helper()
	private = make([]byte, keyBytes)
	if _, err := random.Read(private); err != nil {
		t.Fatal(err)
	}
	private[0] &^= 7
	private[31] = private[31]&0x7f | 0x40
	key, err := ecdh.X25519().NewPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return private, key.PublicKey().Bytes()
}

// The claims of publicKeyProblem: no private key passes, 15 in 16 are known
// for certain, and 1 in 16 public keys needs verified.
func TestKeyOdds(t *testing.T) {
	t.Parallel()
	const n = 2000
	random := seeded()
	certain, doubtful := 0, 0
	for range n {
		private, public := keyPair(t, random)
		message, _ := publicKeyProblem(base64.StdEncoding.EncodeToString(private), false)
		switch {
		case message == "":
			t.Fatal("a private key passes")
		case strings.HasPrefix(message, "this is a private key"):
			certain++
		}
		text := base64.StdEncoding.EncodeToString(public)
		if message, _ := publicKeyProblem(text, false); message != "" {
			doubtful++
			if !clamped(public) {
				t.Fatalf("a public key is refused: %s", message)
			}
		}
		if message, _ := publicKeyProblem(text, true); message != "" {
			t.Fatalf("a verified public key is refused: %s", message)
		}
	}
	// Six standard deviations around n/16, with a fixed seed anyway.
	for name, got := range map[string]int{"uncertain private keys": n - certain, "doubtful public keys": doubtful} {
		if got < n/16-65 || got > n/16+65 {
			t.Errorf("%d of %d %s, want about %d", got, n, name, n/16)
		}
	}
}

func TestNewKeyPair(t *testing.T) {
	t.Parallel()
	random := seeded()
	for range 200 {
		private, public, err := NewKeyPair(random)
		if err != nil {
			t.Fatal(err)
		}
		if message, _ := publicKeyProblem(public, false); message != "" {
			t.Fatal(message)
		}
		raw, err := base64.StdEncoding.DecodeString(private)
		if err != nil || !clamped(raw) {
			t.Fatalf("%q is not what wg genkey prints", private)
		}
		key, err := ecdh.X25519().NewPrivateKey(raw)
		if err != nil || base64.StdEncoding.EncodeToString(key.PublicKey().Bytes()) != public {
			t.Fatal("the halves do not belong together")
		}
	}
	if _, _, err := NewKeyPair(bytes.NewReader(nil)); err == nil {
		t.Error("a key was made of nothing")
	}
}

func TestInPrimeSubgroup(t *testing.T) {
	t.Parallel()
	base := append([]byte{9}, make([]byte, 31)...) // RFC 7748 §4.1
	if !inPrimeSubgroup(base) {
		t.Error("the base point is not in its own subgroup")
	}
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	notCanonical := p.Add(p, big.NewInt(9)).FillBytes(make([]byte, 32))
	slices.Reverse(notCanonical)
	small := append([]byte{1}, make([]byte, 31)...) // of order 4
	for name, key := range map[string][]byte{"zero": make([]byte, 32), "small order": small, "not canonical": notCanonical} {
		if inPrimeSubgroup(key) {
			t.Errorf("%s is taken for a public key", name)
		}
	}
}

func TestSystemRandomWorks(t *testing.T) {
	t.Parallel()
	if _, _, err := NewKeyPair(rand.Reader); err != nil {
		t.Fatal(err)
	}
}
