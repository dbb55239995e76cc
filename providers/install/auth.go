package install

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"ingot/fault"
)

// usualIdentities are the files that ssh tries without being told.
var usualIdentities = []string{"id_ed25519", "id_ecdsa", "id_rsa"}

// auth is how to log in. done must be called after the login.
func (t Target) auth() (methods []ssh.AuthMethod, done func(), err error) {
	if t.Auth != nil {
		return t.Auth, func() {}, nil
	}
	signers, err := t.identities()
	if err != nil {
		return nil, nil, err
	}
	fromAgent, done := agentKeys()
	signers = append(signers, fromAgent...)
	if len(signers) == 0 {
		done()
		return nil, nil, fault.Input(fmt.Errorf("there is no key to log in to %s with: name the file of a private key, or put one into ssh-agent", t))
	}
	// One method: the library tries each once.
	return []ssh.AuthMethod{ssh.PublicKeys(signers...)}, done, nil
}

// identities are the keys in files.
func (t Target) identities() ([]ssh.Signer, error) {
	if t.Identity != "" {
		signer, err := readIdentity(t.Identity)
		if err != nil {
			return nil, err
		}
		return []ssh.Signer{signer}, nil
	}
	var signers []ssh.Signer
	for _, name := range usualIdentities {
		// One that cannot be used is as good as none: it may be in the agent.
		if signer, err := readIdentity(filepath.Join(homeDir(), ".ssh", name)); err == nil {
			signers = append(signers, signer)
		}
	}
	return signers, nil
}

// readIdentity reads a private key. No error holds any of it.
func readIdentity(file string) (ssh.Signer, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fault.Input(fmt.Errorf("read the private key: %w", err))
	}
	signer, err := ssh.ParsePrivateKey(b)
	if errors.As(err, new(*ssh.PassphraseMissingError)) {
		return nil, fault.Input(fmt.Errorf("%s is protected by a passphrase: ssh-add it, and leave it to ssh-agent", file))
	}
	if err != nil {
		return nil, fault.Input(fmt.Errorf("%s is no private key that can be used here: make one with ssh-keygen", file))
	}
	return signer, nil
}

// agentKeys are those of the ssh-agent, if there is one.
func agentKeys() (signers []ssh.Signer, done func()) {
	socket := os.Getenv("SSH_AUTH_SOCK")
	if socket == "" {
		return nil, func() {}
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, func() {}
	}
	signers, _ = agent.NewClient(conn).Signers() // one that does not answer has none
	return signers, func() { conn.Close() }
}

// homeDir is the user's, also where HOME is not set.
func homeDir() string {
	if home, err := os.UserHomeDir(); err == nil {
		return home
	}
	if u, err := user.Current(); err == nil {
		return u.HomeDir
	}
	return ""
}
