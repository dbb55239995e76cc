package secrets

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"
)

// ParseRecipients reads public keys of age (age1…) and of SSH (ssh-ed25519 …,
// ssh-rsa …), the values of --age. What fails is not shown: somebody may have
// pasted the secret one.
func ParseRecipients(texts []string) ([]age.Recipient, error) {
	var list []age.Recipient
	for _, text := range texts {
		text = strings.TrimSpace(text)
		switch {
		case strings.HasPrefix(text, "AGE-SECRET-KEY-"):
			return nil, errors.New("--age wants the recipient, age1…, and not the secret key; make a new pair if the command line was seen")
		case strings.HasPrefix(text, "ssh-"):
			r, err := agessh.ParseRecipient(text)
			if err != nil {
				return nil, errors.New("--age: this is not a line of an SSH .pub file; use ed25519 or RSA")
			}
			list = append(list, r)
		default:
			r, err := age.ParseX25519Recipient(text)
			if err != nil {
				return nil, errors.New("--age: this is not a recipient; give what age-keygen prints as public key, age1…, or a line of an SSH .pub file")
			}
			list = append(list, r)
		}
	}
	return list, nil
}

// Encrypt encrypts a text to its recipients, with armour. Without recipients
// it is returned as it is.
func Encrypt(text []byte, recipients []age.Recipient) ([]byte, error) {
	if len(recipients) == 0 {
		return text, nil
	}
	var out bytes.Buffer
	armored := armor.NewWriter(&out)
	w, err := age.Encrypt(armored, recipients...)
	if err != nil {
		return nil, fmt.Errorf("encrypt with age: %w", err)
	}
	_, err = w.Write(text)
	if err := errors.Join(err, w.Close(), armored.Close()); err != nil {
		return nil, fmt.Errorf("encrypt with age: %w", err)
	}
	return out.Bytes(), nil
}

// Encrypted reports whether a text is encrypted with age, with armour or
// without.
func Encrypted(text []byte) bool {
	text = bytes.TrimSpace(text)
	return bytes.HasPrefix(text, []byte(armor.Header)) || bytes.HasPrefix(text, []byte("age-encryption.org/"))
}

// Decrypt opens what Encrypt made, with identities as age-keygen writes them
// or with the private key of an SSH pair.
func Decrypt(text, identities []byte) ([]byte, error) {
	list, err := parseIdentities(identities)
	if err != nil {
		return nil, err
	}
	var in io.Reader = bytes.NewReader(text)
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte(armor.Header)) {
		in = armor.NewReader(in)
	}
	out, err := age.Decrypt(in, list...)
	if errors.As(err, new(*age.NoIdentityMatchError)) {
		return nil, errors.New("it is encrypted to somebody else; give the identity of one of its recipients")
	}
	if err != nil {
		return nil, fmt.Errorf("decrypt with age: %w", err)
	}
	b, err := io.ReadAll(out)
	if err != nil {
		return nil, fmt.Errorf("decrypt with age: %w", err)
	}
	return b, nil
}

func parseIdentities(text []byte) ([]age.Identity, error) {
	if !bytes.HasPrefix(bytes.TrimSpace(text), []byte("-----BEGIN")) {
		list, err := age.ParseIdentities(bytes.NewReader(text))
		if err != nil {
			return nil, errors.New("this is no file of identities; give what age-keygen writes, or an SSH private key")
		}
		return list, nil
	}
	identity, err := agessh.ParseIdentity(text)
	if err != nil {
		return nil, errors.New("this is no SSH key that can be used; give one of ed25519 or RSA without a passphrase")
	}
	return []age.Identity{identity}, nil
}
