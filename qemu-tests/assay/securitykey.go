package assay

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"io"

	"golang.org/x/crypto/ssh"
)

// securityKey is a FIDO2 key in software: sshd cannot tell it from a token
// that was touched and whose PIN was given. The wire formats are those of
// OpenSSH's PROTOCOL.u2f.
type securityKey struct {
	public  ssh.PublicKey
	private ed25519.PrivateKey
}

const (
	securityKeyType = "sk-ssh-ed25519@openssh.com"
	application     = "ssh:" // what ssh-keygen asks a token for
	// The authenticator data flags, CTAP 2.1 §6.1: the user was there, and
	// was verified.
	userPresent, userVerified = 0x01, 0x04
)

func newSecurityKey() (securityKey, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return securityKey{}, err
	}
	key, err := ssh.ParsePublicKey(ssh.Marshal(struct {
		Type        string
		Key         []byte
		Application string
	}{securityKeyType, public, application}))
	return securityKey{key, private}, err
}

// PublicKey implements [ssh.Signer].
func (k securityKey) PublicKey() ssh.PublicKey { return k.public }

// Sign implements [ssh.Signer].
func (k securityKey) Sign(_ io.Reader, data []byte) (*ssh.Signature, error) {
	state := binary.BigEndian.AppendUint32([]byte{userPresent | userVerified}, 1) // flags and counter
	app, message := sha256.Sum256([]byte(application)), sha256.Sum256(data)
	signed := append(append(app[:], state...), message[:]...)
	return &ssh.Signature{Format: securityKeyType, Blob: ed25519.Sign(k.private, signed), Rest: state}, nil
}
