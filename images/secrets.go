package images

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
)

// secretShape is something that must never be in an image. What has none of its
// marks cannot match, and looking for those is a hundred times faster.
type secretShape struct {
	what    string
	marks   []string
	pattern *regexp.Regexp
}

// secretShapes are private keys by their armour and tokens by the prefixes
// their issuers gave them for exactly this purpose.
var secretShapes = []secretShape{
	// Behind the armour come header lines (RFC 1421, OpenPGP) and the key; in
	// JSON the line ends are written \n.
	{"a private key", []string{"PRIVATE KEY"}, regexp.MustCompile(`-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----(?:\s|\\[nr])+(?:[A-Za-z-]+: .*(?:\s|\\[nr])+)*[A-Za-z0-9+/=]{16}`)},
	{"a PuTTY private key", []string{"PuTTY-User-Key-File-"}, regexp.MustCompile(`(?m)^PuTTY-User-Key-File-\d: `)},
	{"an age secret key", []string{"AGE-SECRET-KEY-1"}, regexp.MustCompile(`AGE-SECRET-KEY-1[0-9A-Z]{20}`)},
	// Whatever its case, a key is 32 bytes in base64, and ends so.
	{"a WireGuard private key", []string{"="}, regexp.MustCompile(`(?mi)^[\s{,-]*"?(?:private_?key|preshared_?key)"?\s*[=:]\s*"?[A-Za-z0-9+/]{43}=`)},
	{"an AWS access key", []string{"AKIA", "ASIA"}, regexp.MustCompile(`\b(?:AKIA|ASIA)[0-9A-Z]{16}\b`)},
	{"a GitHub token", []string{"ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"}, regexp.MustCompile(`\bgh[pousr]_[A-Za-z0-9]{36}\b|\bgithub_pat_[A-Za-z0-9_]{60}`)},
	{"a GitLab token", []string{"glpat-"}, regexp.MustCompile(`\bglpat-[A-Za-z0-9_-]{20}`)},
	{"a Slack token", []string{"xox"}, regexp.MustCompile(`\bxox[abprs]-[A-Za-z0-9-]{20}`)},
	{"an API key", []string{"sk-"}, regexp.MustCompile(`\bsk-(?:ant-|proj-)?[A-Za-z0-9_-]{40}`)},
	{"a Google API key", []string{"AIza"}, regexp.MustCompile(`\bAIza[0-9A-Za-z_-]{35}`)},
	{"a DigitalOcean token", []string{"_v1_"}, regexp.MustCompile(`\bdo[opr]_v1_[0-9a-f]{64}`)},
	{"a password hash", []string{":$"}, regexp.MustCompile(`(?m)^[a-z_][a-z0-9_-]*:\$[0-9a-z]+\$[^:]{8}`)},
}

func (s secretShape) in(content []byte) bool {
	return slices.ContainsFunc(s.marks, func(mark string) bool { return bytes.Contains(content, []byte(mark)) }) && s.pattern.Match(content)
}

// secret is a find: never its content, only where and what.
type secret struct {
	path string // absolute, in the image
	what string
}

func (s secret) String() string { return s.path + " holds " + s.what }

// wireGuardKeyFile is a file that is nothing but a key, as "wg genkey" prints
// it: the name must say so, since a public key looks the same.
var (
	wireGuardKeyFile = regexp.MustCompile(`^[A-Za-z0-9+/]{43}=\s*$`)
	keyFileName      = regexp.MustCompile(`(?i)priv|secret|\.key$|psk`)
)

// findSecret says what a file's content must not hold, "" when nothing.
func findSecret(name string, content []byte) string {
	for _, s := range secretShapes {
		if s.in(content) {
			return s.what
		}
	}
	if keyFileName.MatchString(path.Base(name)) && wireGuardKeyFile.Match(content) {
		return "a WireGuard private key"
	}
	return ""
}

// scanTar looks for secrets in every regular file of a tar archive.
func scanTar(file string) ([]secret, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var found []secret
	archive := tar.NewReader(f)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the layers' files: %w", err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		var content bytes.Buffer
		if _, err := io.Copy(&content, archive); err != nil {
			return nil, err
		}
		name := "/" + strings.TrimPrefix(path.Clean(h.Name), "./")
		if what := findSecret(name, content.Bytes()); what != "" {
			found = append(found, secret{name, what})
		}
	}
}
