package document

import (
	"encoding/base64"
	"regexp"
	"strings"
)

// Findings are printed to terminals and kept in the logs of build machines.
// A secret pasted into a file by mistake must not get there with them.

// maskFile masks a whole file: what looks like a secret, and what stands
// behind a key that says so.
func maskFile(text string) string {
	value := regexp.MustCompile(`[^\s,}]`)
	return regexp.MustCompile(secretKeys).ReplaceAllStringFunc(mask(text), func(entry string) string {
		colon := strings.IndexByte(entry, ':') + 1
		return entry[:colon] + value.ReplaceAllString(entry[colon:], "*")
	})
}

// mask replaces every character of what looks like a secret with an asterisk
// and leaves lines and columns where they are.
func mask(text string) string {
	text = regexp.MustCompile(secretShapes).ReplaceAllStringFunc(text, stars)
	return regexp.MustCompile(wireguardShape).ReplaceAllStringFunc(text, func(key string) string {
		if looksPrivate(key) {
			return stars(key)
		}
		return key
	})
}

const (
	// PEM blocks of any private key, also cut off ones; the body of an
	// OpenSSH private key (base64 of "openssh-key-v1"); age identities; the body
	// of an ed25519 private key in PKCS #8 (RFC 8410 §10.3); user and password
	// in a URL.
	secretShapes = `(?s)-----BEGIN [A-Z ]*PRIVATE KEY.*?(?:-----END [A-Z ]*-----|\z)` +
		`|b3BlbnNzaC1rZXktdjE[A-Za-z0-9+/=\s]*` +
		`|AGE-SECRET-KEY-1[A-Z0-9]+` +
		`|M(?:C4CAQA|FECAQE)wBQYDK2VwBCIEI[A-Za-z0-9+/=]*` +
		`|//[^\s/@:]+:[^\s/@]+@`
	// What stands behind a key that says so.
	secretKeys = `(?i)(?:password|passphrase|token|private_?key|secret_?key|api_?key)\w*["']?:[ \t][^\n]*`
	// 32 bytes in base64.
	wireguardShape = `[A-Za-z0-9+/]{43}=`
)

// looksPrivate reports whether a base64 text is 32 bytes with the bits that
// every private key of WireGuard has set and cleared ("clamped", RFC 7748 §5):
// the low three bits of the first byte 0, the top two of the last 01. One
// public key in 16 looks the same by chance.
func looksPrivate(text string) bool {
	key, err := base64.StdEncoding.Strict().DecodeString(text)
	return err == nil && len(key) == 32 && key[0]&7 == 0 && key[31]&0xc0 == 0x40
}

func stars(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' {
			return r
		}
		return '*'
	}, s)
}
