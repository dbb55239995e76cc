// Package attest makes signed evidence of verdicts and judges it: an in-toto
// Statement about one image, of the predicate type test-result, in a DSSE
// envelope signed with ed25519. docs/verdict.md shows the format.
package attest

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/renameio/v2"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"ingot/qemu-tests/verdict"
)

// payloadType is that of in-toto's envelope layer, spec/v1/envelope.md.
const payloadType = "application/vnd.in-toto+json"

// Sign returns the envelope of a verdict about the image file of that name.
// The error is for a verdict that contradicts itself or lacks a digest: such a
// one is no evidence of anything.
func Sign(v verdict.Verdict, image string, key Key) ([]byte, error) {
	s, err := statementOf(v, image)
	if err != nil {
		return nil, fmt.Errorf("sign the verdict: %w", err)
	}
	payload, err := s.bytes()
	if err != nil {
		return nil, fmt.Errorf("sign the verdict: %w", err)
	}
	return seal(payload, key)
}

// Write signs a verdict and writes the envelope to a file, whole or not at all.
func Write(file string, v verdict.Verdict, image string, key Key) error {
	envelope, err := Sign(v, image, key)
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(file, envelope, 0o644); err != nil {
		return fmt.Errorf("write the verdict: %w", err)
	}
	return nil
}

// seal puts a payload into a signed envelope.
func seal(payload []byte, key Key) ([]byte, error) {
	s, err := dsse.NewEnvelopeSigner(signer(key))
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	e, err := s.SignPayload(context.Background(), payloadType, payload)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return written(e)
}

// written is the one form in which an envelope is written, and accepted.
func written(e *dsse.Envelope) ([]byte, error) {
	b, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("write the envelope: %w", err)
	}
	return append(b, '\n'), nil
}
