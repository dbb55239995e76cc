package admin

import (
	"bytes"
	"crypto/rsa"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/crypto/ssh"

	"ingot/layers"
)

// MinRSABits is the smallest RSA key that may log in: BSI TR-02102-4 and NIST
// SP 800-57 ask for 3072 bits beyond 2030. sshd gets the same number.
const MinRSABits = 3072

// maxComment is how long the comment of a key may be, in bytes.
const maxComment = 128

// KeyFindings says which of some public keys may not log in, and why. The path
// is where the list stands, relative to the layer's node.
func KeyFindings(keys []string, securityKeysOnly bool, path ...any) []layers.Finding {
	var findings []layers.Finding
	seen := map[string]int{}
	for i, line := range keys {
		key, message, advice := parseKey(line)
		if message == "" {
			if first, twice := seen[string(key.Marshal())]; twice {
				message, advice = fmt.Sprintf("this is the same key as %v[%d]", path[len(path)-1], first), "remove one of the two"
			}
			seen[string(key.Marshal())] = i
		}
		if message == "" && securityKeysOnly && !securityKey(key) {
			message = "this is no security key, and securityKeysOnly lets no other key in"
			advice = "give the line of a key that lives in a token: ssh-keygen -t ed25519-sk makes one"
		}
		if message != "" {
			findings = append(findings, layers.Finding{Path: append(slices.Clone(path), i), Message: message, Advice: advice})
		}
	}
	return findings
}

// securityKey reports a key whose private half is in a FIDO2 token.
func securityKey(key ssh.PublicKey) bool {
	return slices.Contains([]string{ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256}, key.Type())
}

// parseKey reads one line of an authorized_keys file. The message is empty
// when the key may log in. Neither message nor advice quotes the line, which
// may be a secret.
func parseKey(line string) (key ssh.PublicKey, message, advice string) {
	const wanted = "give one line of a .pub file, such as ssh-ed25519 AAAA… laptop"
	line = strings.TrimSpace(line)
	if private(line) {
		return nil, "this is a private key", "it must not be in this file: give the line of the .pub file that belongs to it, and replace the key if this file was ever shared"
	}
	if strings.ContainsAny(line, "\r\n") {
		return nil, "an admin key is one line, this is several", wanted
	}
	key, comment, options, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	switch {
	case err != nil:
		return nil, "this is not an SSH public key", wanted
	case len(options) > 0 || len(bytes.TrimSpace(rest)) > 0:
		return nil, "options before an admin key are not supported", "leave them out: " + wanted
	case len(comment) > maxComment || strings.ContainsFunc(comment, unprintable):
		return nil, "the comment of the key is too long or not printable", "use a short name after the key, such as laptop"
	}
	message, advice = weak(key)
	return key, message, advice
}

// private recognises private keys in the formats of OpenSSH, PEM and PuTTY.
func private(text string) bool {
	if strings.Contains(text, "PRIVATE KEY") || strings.Contains(text, "PuTTY-User-Key-File") {
		return true
	}
	const opensshMagic = "b3BlbnNzaC1rZXktdjE" // base64 of openssh-key-v1
	if strings.Contains(text, opensshMagic) {
		return true
	}
	_, err := ssh.ParseRawPrivateKey([]byte(text))
	return err == nil
}

// weak says why a key may not log in.
func weak(key ssh.PublicKey) (message, advice string) {
	const better = "use an ed25519 key: ssh-keygen -t ed25519"
	switch key.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256,
		ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521:
		return "", ""
	case ssh.KeyAlgoRSA:
		crypto, ok := key.(ssh.CryptoPublicKey)
		if !ok {
			return "this RSA key cannot be read", better
		}
		if bits := crypto.CryptoPublicKey().(*rsa.PublicKey).N.BitLen(); bits < MinRSABits {
			return fmt.Sprintf("an RSA key of %d bits is too weak, %d are needed", bits, MinRSABits), better
		}
		return "", ""
	}
	return fmt.Sprintf("keys of type %s are not accepted", key.Type()), better
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// AuthorizedKeys renders valid keys as the content of an authorized_keys file.
func AuthorizedKeys(keys []string) string {
	var b strings.Builder
	for _, line := range keys {
		b.WriteString(strings.TrimSpace(line))
		b.WriteByte('\n')
	}
	return b.String()
}
