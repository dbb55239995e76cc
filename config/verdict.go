package config

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"ingot/config/document"
	"ingot/qemu-tests/verdict"
)

// Test is which verdicts about the image are relied on. It is no part of the
// image.
type Test struct {
	Keys    []ed25519.PublicKey // one of them must have signed
	Require []string            // suites, and ids of checks
	MaxAge  time.Duration       // 0 is any
}

// testOptions is which verdicts about the image are relied on.
type testOptions struct {
	// Keys are public keys, of which one must have signed the verdict: lines that
	// "ingot keygen" prints, ed25519.
	Keys []signingKey `yaml:"keys"`
	// Require are suites (standard, full, depth) and ids of checks, such as
	// ssh.no-password, that the verdict must have passed.
	Require []string `yaml:"require"`
	// MaxAge is how old a verdict may be: 1h to 365d, in m, h or d; any age by
	// default.
	MaxAge maxAge `yaml:"max_age"`
}

func (o testOptions) test() Test {
	t := Test{Require: o.Require, MaxAge: time.Duration(o.MaxAge)}
	for _, k := range o.Keys {
		t.Keys = append(t.Keys, ed25519.PublicKey(k))
	}
	return t
}

// signingKeyPattern is the DER of an ed25519 public key in base64: the algorithm
// (RFC 8410 §10.1) is the first 12 bytes, the key the other 32.
const signingKeyPattern = `^MCowBQYDK2VwAyEA[A-Za-z0-9+/]{43}=$`

// signingKey is the public half of a key that signs verdicts.
type signingKey ed25519.PublicKey

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *signingKey) UnmarshalText(text []byte) error {
	line := string(text)
	if problem, mistaken := mistakenKey(line); mistaken {
		return problem
	}
	const advice = `write the line that "ingot keygen" prints, which begins with MCowBQYDK2VwAyEA`
	der, err := base64.StdEncoding.DecodeString(line)
	// Decoders pass over line ends and spare bits.
	if err != nil || base64.StdEncoding.EncodeToString(der) != line {
		return document.ValueError{Message: fmt.Sprintf("%q is not a public key", clip(line)), Advice: advice}
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return document.ValueError{Message: fmt.Sprintf("%q is not a public key", clip(line)), Advice: advice}
	}
	switch key := parsed.(type) {
	case ed25519.PublicKey:
		*k = signingKey(key)
		return nil
	case *rsa.PublicKey:
		return document.ValueError{Message: "this is an RSA key; verdicts are signed with ed25519", Advice: advice}
	case *ecdsa.PublicKey:
		return document.ValueError{Message: "this is an ECDSA key; verdicts are signed with ed25519", Advice: advice}
	}
	return document.ValueError{Message: "this key is not one of ed25519", Advice: advice}
}

// mistakenKey knows what people put where the line of a public key belongs.
func mistakenKey(text string) (document.ValueError, bool) {
	privateBody := regexp.MustCompile(`^(MC4CAQAwBQYDK2Vw|MFECAQEwBQYDK2Vw)`) // PKCS #8, RFC 8410 §10.3
	ssh := regexp.MustCompile(`^(ssh-|sk-ssh-|ecdsa-sha2-|sk-ecdsa-)`)
	switch {
	case strings.Contains(text, "PRIVATE KEY"), privateBody.MatchString(text), strings.HasPrefix(text, "AGE-SECRET-KEY-"):
		return document.ValueError{Message: "this is a private key", Advice: `write the public half; the private one is known from now on, so make a new pair with "ingot keygen"`}, true
	case strings.HasPrefix(text, "-----BEGIN "):
		return document.ValueError{Message: "this is a whole PEM file", Advice: "write only the line between -----BEGIN PUBLIC KEY----- and -----END PUBLIC KEY-----"}, true
	case ssh.MatchString(text):
		return document.ValueError{Message: "this is a key of SSH", Advice: `make one for verdicts with "ingot keygen" and write the line that it prints`}, true
	case strings.HasSuffix(text, ".pub"):
		return document.ValueError{Message: "this is the name of a file", Advice: "write the key itself: the line between the first and the last line of that file"}, true
	}
	return document.ValueError{}, false
}

// maxAge is how old a verdict may be.
type maxAge time.Duration

// Limits of test.max_age. A verdict takes minutes to make, and within a year
// every image is outdated.
const (
	minMaxAge = time.Hour
	maxMaxAge = 365 * 24 * time.Hour
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *maxAge) UnmarshalText(text []byte) error {
	units := map[byte]time.Duration{'m': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}
	m := regexp.MustCompile(`^([0-9]+)([mhd])$`).FindStringSubmatch(string(text))
	if m == nil {
		return document.ValueError{Message: fmt.Sprintf("%q is not an age", clip(string(text))), Advice: "write a whole number and m, h or d, such as 7d"}
	}
	unit := units[m[2][0]]
	n, err := strconv.Atoi(m[1])
	if err != nil || n > int(maxMaxAge/unit) || n < int(minMaxAge/unit) || n == 0 {
		return document.ValueError{Message: fmt.Sprintf("a max_age of %s cannot be", clip(string(text))), Advice: "use 1h to 365d; without max_age a verdict may be of any age"}
	}
	*a = maxAge(time.Duration(n) * unit)
	return nil
}

// requirePattern is a suite or the id of a check: words with dots between them.
const requirePattern = `^(standard|full|depth|[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_@:/-]+)+)$`

// testProblems checks what the types do not.
func (d *decoder) testProblems(o testOptions) []Finding {
	var list []Finding
	report := func(message, advice string, path ...any) {
		list = append(list, d.doc.Finding(append([]any{"test"}, path...), false, message, advice))
	}
	for i, key := range o.Keys {
		if key != nil && slices.ContainsFunc(o.Keys[:i], func(k signingKey) bool { return slices.Equal(k, key) }) {
			report("this key is in the list already", "remove it, or write the other key that was meant", "keys", i)
		}
	}
	suites := []string{verdict.Standard, verdict.Full, verdict.Deep}
	for i, name := range o.Require {
		switch {
		case slices.Contains(o.Require[:i], name):
			report(fmt.Sprintf("%q is in the list already", clip(name)), "remove it", "require", i)
		case !regexp.MustCompile(requirePattern).MatchString(name):
			advice := "write a suite (" + strings.Join(suites, ", ") + ") or the id of a check, such as ssh.no-password"
			if near := document.Nearest(name, suites); near != "" {
				advice = fmt.Sprintf("did you mean %s?", near)
			}
			report(fmt.Sprintf("%q is neither a suite nor the id of a check", clip(name)), advice, "require", i)
		}
	}
	return list
}
