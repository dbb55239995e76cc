package assay

import (
	"crypto/rand"
	"testing"
)

func TestSecurityKey(t *testing.T) {
	t.Parallel()
	key, err := newSecurityKey()
	if err != nil {
		t.Fatal(err)
	}
	signature, err := key.Sign(rand.Reader, []byte("a login"))
	if err != nil {
		t.Fatal(err)
	}
	if err := key.PublicKey().Verify([]byte("a login"), signature); err != nil {
		t.Errorf("its own signature is refused: %v", err)
	}
	if key.PublicKey().Verify([]byte("another"), signature) == nil {
		t.Error("its signature is good for something else")
	}
	signature.Rest[0] = 0 // nobody touched it
	if key.PublicKey().Verify([]byte("a login"), signature) == nil {
		t.Error("the flags are not part of what is signed")
	}
}
