package ssh

import (
	"slices"

	gossh "golang.org/x/crypto/ssh"

	"ingot/layers"
	"ingot/layers/admin"
)

// UserCAPath holds the authorities whose certificates let people in. It is the
// instance's: sshd reads it at every login, and does without.
const UserCAPath = "/etc/ssh/user_ca.pub"

// caTypes are the keys that may sign certificates: what [caAlgorithms] names.
var caTypes = []string{gossh.KeyAlgoED25519, gossh.KeyAlgoSKED25519, gossh.KeyAlgoRSA}

func (l Layer) validateCA() []layers.Finding {
	// The authority's own key need not be in a token: it logs nobody in.
	findings := admin.KeyFindings(l.Options.UserCA, false, "userCA")
	for i, line := range l.Options.UserCA {
		key, _, _, _, err := gossh.ParseAuthorizedKey([]byte(line))
		if err != nil || slices.Contains(caTypes, key.Type()) {
			continue // what is no key was reported
		}
		if slices.ContainsFunc(findings, func(f layers.Finding) bool { return f.Path[1] == i }) {
			continue
		}
		findings = append(findings, layers.Finding{
			Path: []any{"userCA", i}, Message: "a key of type " + key.Type() + " signs no certificates here",
			Advice: "use an ed25519 key for the authority: ssh-keygen -t ed25519",
		})
	}
	return findings
}

// addCA contributes the authorities. Which there are is the instance's, that
// there may be some is the image's, so that the first needs no new image.
func (l Layer) addCA(c *layers.Contribution, users []string) {
	c.Identity = append(c.Identity, UserCAPath)
	if len(l.Options.UserCA) > 0 {
		for _, user := range users {
			c.Checks = append(c.Checks, certificateChecks(user)...)
		}
		c.Instance.Files = append(c.Instance.Files, layers.File{
			Path: UserCAPath, Mode: 0o644, Contents: admin.AuthorizedKeys(l.Options.UserCA), Option: []any{"userCA"},
			Why: "the authorities whose certificates let people in",
		})
	}
}
