package wireguard

import (
	"bytes"
	"crypto/ecdh"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"slices"
)

// keyBytes is the length of every WireGuard key.
const keyBytes = 32

// publicKeyProblem says why text is no public key, or may be a private one.
//
// A private key is any 32 bytes with five bits fixed ("clamped", RFC 7748 §5).
// A public key is a multiple of the base point: it lies in the curve's
// subgroup of prime order, where one random value in 16 lies. So of the
// private keys 15 in 16 are no public key, for certain; the last one cannot be
// told from a public key that happens to have the five bits, of which the top
// one is 0 in every public key: 1 in 16. Those need verified.
func publicKeyProblem(text string, verified bool) (message, advice string) {
	key, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(key) != keyBytes {
		return "this is not a WireGuard key: 32 bytes in base64, 44 characters", "use what wg pubkey prints"
	}
	const replace = "give the peer's public key (wg pubkey < its private key), and make a new pair if this file was ever shared"
	switch public := inPrimeSubgroup(key); {
	case !public && clamped(key):
		return "this is a private key, a public one belongs here", replace
	case !public:
		return "this is not a public key that wg pubkey can have printed", "copy the key again, a character is wrong"
	case clamped(key) && !verified:
		return "this looks like a private key, as 1 in 16 public keys does by chance",
			"compare it with what wg pubkey prints: add verified: true when it is the same, else " + replace
	}
	return "", ""
}

func clamped(key []byte) bool { return key[0]&7 == 0 && key[31]&0xc0 == 0x40 }

// inPrimeSubgroup reports whether key is the canonical u-coordinate of a point
// other than 0 in the subgroup of prime order L of Curve25519. Multiplying by
// k = 5L-1 tells: in the subgroup kP is -P, with the same u. Outside (a point
// of the twist or with a part of small order) it is another point, because X25519
// takes multiples of 8 only, as k is, and so drops the part of small order.
func inPrimeSubgroup(key []byte) bool {
	// L = 2^252 + 27742317777372353535851937790883648493, RFC 7748 §4.1.
	// 5 is the factor that makes 5L-1 a clamped scalar.
	l, _ := new(big.Int).SetString("27742317777372353535851937790883648493", 10)
	l.Add(l, new(big.Int).Lsh(big.NewInt(1), 252))
	k := l.Mul(l, big.NewInt(5))
	scalar := k.Sub(k, big.NewInt(1)).FillBytes(make([]byte, keyBytes))
	slices.Reverse(scalar) // X25519 is little-endian

	private, err := ecdh.X25519().NewPrivateKey(scalar)
	if err != nil {
		return false
	}
	public, err := ecdh.X25519().NewPublicKey(key)
	if err != nil {
		return false
	}
	product, err := private.ECDH(public) // an error means a point of small order
	return err == nil && bytes.Equal(product, key)
}

// NewKeyPair makes a key pair, both halves in base64 as wg prints them, whose
// public half no one can take for a private one. The error is that of random.
func NewKeyPair(random io.Reader) (private, public string, err error) {
	for {
		seed := make([]byte, keyBytes)
		if _, err := io.ReadFull(random, seed); err != nil {
			return "", "", fmt.Errorf("make a WireGuard key: %w", err)
		}
		seed[0] &^= 7
		seed[31] = seed[31]&0x7f | 0x40
		key, err := ecdh.X25519().NewPrivateKey(seed)
		if err != nil {
			return "", "", fmt.Errorf("make a WireGuard key: %w", err)
		}
		if point := key.PublicKey().Bytes(); !clamped(point) {
			return base64.StdEncoding.EncodeToString(seed), base64.StdEncoding.EncodeToString(point), nil
		}
	}
}
