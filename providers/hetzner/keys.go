package hetzner

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// key is one for a connection that is made once.
type key struct {
	private ed25519.PrivateKey
	public  ssh.PublicKey
}

func newKey() (key, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return key{}, err
	}
	public, err := ssh.NewPublicKey(private.Public())
	return key{private, public}, err
}

// line is the public key as in authorized_keys.
func (k key) line() string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k.public)))
}

// hostConfig is user-data that gives a server its SSH host key, and no other.
//
// It is how the server is known again. The API does not tell host keys, neither of
// servers nor of the rescue system, which makes new ones at each boot: whoever
// connects to that trusts whatever answers at the address, and a snapshot of what was
// not written would get the image's label. A stock Debian takes its host key from
// user-data (cloud-init's cc_ssh, before sshd starts), which goes to Hetzner over
// TLS. Only the server itself and Hetzner can read it there, and it is of use for a
// few minutes.
func hostConfig(host key) (string, error) {
	block, err := ssh.MarshalPrivateKey(host.private, "ingot")
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	b.WriteString("#cloud-config\nssh_deletekeys: true\nssh_keys:\n  ed25519_private: |\n")
	for line := range strings.Lines(string(pem.EncodeToMemory(block))) {
		b.WriteString("    " + line)
	}
	fmt.Fprintf(&b, "  ed25519_public: %s\n", host.line())
	return b.String(), nil
}
