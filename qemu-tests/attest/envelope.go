package attest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"ingot/qemu-tests/verdict"
)

const (
	// MaxBytes is the size of the largest envelope that is read. One with
	// everything that an assay can say is some hundred kilobytes.
	MaxBytes = 4 << 20
	// maxSignatures is more than anybody signs.
	maxSignatures = 8
)

// Attestation is a verdict and who says so. That its signatures hold is for
// [Attestation.SignedBy] to say.
type Attestation struct {
	Verdict verdict.Verdict
	Image   string   // the name of the image's file, without folder
	Claimed []string // key ids of the signatures, which anybody can write

	envelope *dsse.Envelope
}

// Decode reads an envelope. It takes exactly the bytes that [Sign] writes:
// another spelling of the same envelope is refused, so that no byte of it can
// be changed unnoticed.
func Decode(data []byte) (Attestation, error) {
	a, payload, err := opened(data)
	if err != nil {
		return Attestation{}, err
	}
	a.Verdict, a.Image, err = parseStatement(payload)
	return a, err
}

// opened reads an envelope, whatever it holds, without its verdict.
func opened(data []byte) (Attestation, []byte, error) {
	if len(data) > MaxBytes {
		return Attestation{}, nil, fmt.Errorf("it is larger than %d MiB", MaxBytes>>20)
	}
	var e dsse.Envelope
	if err := json.Unmarshal(data, &e); err != nil {
		return Attestation{}, nil, fmt.Errorf("it is not an envelope in JSON: %w", err)
	}
	if e.PayloadType != payloadType {
		return Attestation{}, nil, fmt.Errorf("its payload is %q, not %q", e.PayloadType, payloadType)
	}
	if n := len(e.Signatures); n == 0 || n > maxSignatures {
		return Attestation{}, nil, fmt.Errorf("it has %d signatures; 1 to %d are read", n, maxSignatures)
	}
	if again, err := written(&e); err != nil || !bytes.Equal(again, data) {
		return Attestation{}, nil, errors.New("it is not written as Ingot writes it: somebody changed or reformatted it")
	}
	payload, err := canonical(e.Payload)
	if err != nil {
		return Attestation{}, nil, fmt.Errorf("its payload %w", err)
	}
	a := Attestation{envelope: &e}
	for _, s := range e.Signatures {
		if _, err := canonical(s.Sig); err != nil {
			return Attestation{}, nil, fmt.Errorf("its signature %w", err)
		}
		a.Claimed = append(a.Claimed, s.KeyID)
	}
	return a, payload, nil
}

// canonical decodes base64 that is written in its one form: decoders pass over
// line ends and spare bits, and the library over another alphabet.
func canonical(text string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || base64.StdEncoding.EncodeToString(b) != text {
		return nil, errors.New("is not proper base64")
	}
	return b, nil
}

// SignedBy reports whether a key signed this attestation.
func (a Attestation) SignedBy(key ed25519.PublicKey) bool {
	v, err := dsse.NewEnvelopeVerifier(verifier(key))
	if err != nil {
		return false
	}
	_, err = v.Verify(context.Background(), a.envelope)
	return err == nil
}

// KeyID is a key's name in envelopes: its fingerprint as ssh-keygen -l shows
// it, which is what DSSE libraries compute.
func KeyID(key ed25519.PublicKey) string {
	id, err := dsse.SHA256KeyID(key)
	if err != nil {
		panic("attest: " + err.Error()) // only for other types of keys
	}
	return id
}

// Signer signs other envelopes with the key: of another payload type, which
// keeps them apart from verdicts.
func (k Key) Signer() dsse.Signer { return signer(k) }

// signer implements [dsse.Signer].
type signer Key

// Sign implements [dsse.Signer].
func (s signer) Sign(_ context.Context, data []byte) ([]byte, error) {
	return ed25519.Sign(s.private, data), nil
}

// KeyID implements [dsse.Signer].
func (s signer) KeyID() (string, error) { return KeyID(Key(s).Public()), nil }

// verifier implements [dsse.Verifier].
type verifier ed25519.PublicKey

// Verify implements [dsse.Verifier].
func (v verifier) Verify(_ context.Context, data, sig []byte) error {
	if !ed25519.Verify(ed25519.PublicKey(v), data, sig) {
		return errors.New("the signature is not this key's")
	}
	return nil
}

// KeyID implements [dsse.Verifier].
func (v verifier) KeyID() (string, error) { return KeyID(ed25519.PublicKey(v)), nil }

// Public implements [dsse.Verifier].
func (v verifier) Public() crypto.PublicKey { return ed25519.PublicKey(v) }
