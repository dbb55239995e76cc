package config

import (
	"fmt"
	"net/url"
	"regexp"

	"ingot/config/document"
)

// mirrorPattern is what apt's sources.list takes as one word.
const mirrorPattern = `^(https?://[A-Za-z0-9.:-]+|file://)(/[A-Za-z0-9._~%+-]*)*$`

// MirrorProblem says what keeps a URL from being a mirror of Debian's archives,
// and what to do; both are empty for one that can be.
func MirrorProblem(text string) (message, advice string) {
	u, err := url.Parse(text)
	switch {
	case err == nil && u.User != nil:
		return "this URL has a user name in it, and the lock would have it, too",
			"use a mirror that needs none; one that asks for a password can be reached through a proxy (http_proxy)"
	case err != nil || !regexp.MustCompile(mirrorPattern).MatchString(text) || u.Scheme == "file" && (u.Path == "" || u.Path == "/"):
		return fmt.Sprintf("%q is not the URL of a mirror", clip(text)),
			"write http://, https:// or file:///, and what comes before debian and debian-security, such as http://deb.debian.org"
	}
	return "", ""
}

// mirrorURL is one of base.mirrors.
type mirrorURL string

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *mirrorURL) UnmarshalText(text []byte) error {
	if message, advice := MirrorProblem(string(text)); message != "" {
		return document.ValueError{Message: message, Advice: advice}
	}
	*m = mirrorURL(text)
	return nil
}

// mirrorProblems checks what the type does not.
func (d *decoder) mirrorProblems(mirrors []mirrorURL) []Finding {
	var list []Finding
	seen := map[mirrorURL]bool{}
	for i, m := range mirrors {
		if m != "" && seen[m] {
			list = append(list, d.doc.Finding([]any{"base", "mirrors", i}, false, "this mirror is in the list already", "remove it"))
		}
		seen[m] = true
	}
	return list
}
