package attest

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"

	"ingot/fault"
	"ingot/secrets"
)

// Key signs verdicts.
type Key struct {
	private ed25519.PrivateKey
	// Source is where it came from, for messages: a variable or a file.
	Source string
	// Local says that it is this user's own, made without being asked for:
	// nobody else has a reason to trust it.
	Local bool
}

// Public is the key's public half.
func (k Key) Public() ed25519.PublicKey { return k.private.Public().(ed25519.PublicKey) }

// The types of PEM blocks, RFC 7468 §10 and §13.
const (
	privateBlock = "PRIVATE KEY"
	publicBlock  = "PUBLIC KEY"
)

// Line is a public key in the form that test.keys of ingot.yaml takes: the one
// line of base64 between the first and the last line of its PEM file.
func Line(key ed25519.PublicKey) string { return base64.StdEncoding.EncodeToString(pkix(key)) }

// publicPEM is a public key as cosign and openssl read it.
func publicPEM(key ed25519.PublicKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: publicBlock, Bytes: pkix(key)})
}

func pkix(key ed25519.PublicKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		panic("attest: " + err.Error()) // only for other types of keys
	}
	return der
}

// MakeKey makes a key pair: the private half in a file that must not be there,
// encrypted when there are recipients, and the public half beside it in
// FILE.pub. The folder "secrets" is made when it is missing, no other is.
func MakeKey(file string, recipients []age.Recipient) (ed25519.PublicKey, error) {
	if dir := filepath.Dir(file); filepath.Base(dir) == secrets.Folder {
		if err := secrets.MakeFolder(dir); err != nil {
			return nil, err
		}
	}
	public, text, err := newKey()
	if err != nil {
		return nil, err
	}
	if text, err = secrets.Encrypt(text, recipients); err != nil {
		return nil, err
	}
	made, err := secrets.WriteOnce(file, text)
	if err != nil {
		return nil, fault.Input(fmt.Errorf("make a key: %w", err))
	}
	if !made {
		return nil, fault.Input(fmt.Errorf("%s is there already; a key that is replaced is lost: choose another file, or move the old one away", file))
	}
	if err := writePublic(file+".pub", public); err != nil {
		return nil, errors.Join(err, os.Remove(file)) // nobody has seen its public half
	}
	return public, nil
}

func newKey() (ed25519.PublicKey, []byte, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	return public, pem.EncodeToMemory(&pem.Block{Type: privateBlock, Bytes: der}), nil
}

func writePublic(file string, key ed25519.PublicKey) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, os.ErrExist) {
		return fault.Input(fmt.Errorf("%s is there already; choose another file, or move the old one away", file))
	}
	if err != nil {
		return err
	}
	_, err = f.Write(publicPEM(key))
	return errors.Join(err, f.Close())
}

// ParsePublic reads the PEM of a public key. The error does not show the text.
func ParsePublic(text []byte) (ed25519.PublicKey, error) {
	block, err := oneBlock(text)
	if err != nil {
		return nil, err
	}
	if strings.Contains(block.Type, privateBlock) {
		return nil, errors.New("this is a private key; give its public half, the .pub file")
	}
	if block.Type != publicBlock {
		return nil, fmt.Errorf("this is a PEM file of a %s, not of a public key", strings.ToLower(block.Type))
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, errors.New("this PEM file holds no public key that can be read")
	}
	if public, ok := key.(ed25519.PublicKey); ok {
		return public, nil
	}
	return nil, fmt.Errorf("this is an %s key; verdicts are signed with ed25519, which \"ingot keygen\" makes", algorithm(key))
}

// parsePrivate reads the PEM of a private key. The error does not show the text.
func parsePrivate(text []byte) (ed25519.PrivateKey, error) {
	block, err := oneBlock(text)
	if err != nil {
		return nil, err
	}
	const advice = "verdicts are signed with ed25519 in PKCS #8, which \"ingot keygen\" makes"
	switch block.Type {
	case privateBlock:
	case publicBlock:
		return nil, errors.New("this is a public key; the private half signs: the file without .pub")
	case "OPENSSH PRIVATE KEY":
		return nil, errors.New("this is a key of SSH; " + advice)
	case "RSA PRIVATE KEY":
		return nil, errors.New("this is an RSA key; " + advice)
	case "ENCRYPTED PRIVATE KEY", "ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY":
		return nil, errors.New("this key is encrypted with a passphrase, which nobody can type into a test; encrypt it with age, as \"ingot keygen --age\" does")
	default:
		return nil, fmt.Errorf("this is a PEM file of a %s; %s", strings.ToLower(block.Type), advice)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("this PEM file holds no private key that can be read; " + advice)
	}
	if private, ok := key.(ed25519.PrivateKey); ok {
		return private, nil
	}
	return nil, fmt.Errorf("this is an %s key; %s", algorithm(key), advice)
}

// oneBlock wants a PEM file with one block and nothing else.
func oneBlock(text []byte) (*pem.Block, error) {
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return nil, errors.New("this is not a PEM file, which begins with -----BEGIN; \"ingot keygen\" makes a pair of them")
	case len(strings.TrimSpace(string(rest))) > 0:
		return nil, errors.New("there is more than one key; give a file of its own to each")
	}
	return block, nil
}

func algorithm(key any) string {
	switch key.(type) {
	case *rsa.PrivateKey, *rsa.PublicKey:
		return "RSA"
	case *ecdsa.PrivateKey, *ecdsa.PublicKey:
		return "ECDSA"
	}
	return "other"
}
