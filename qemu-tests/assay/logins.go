package assay

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"golang.org/x/crypto/ssh"

	"ingot/layers"
)

// auth tries to log in. What the server says to a refusal is the evidence.
func (r *run) auth(ctx context.Context, c layers.SSHAuthCheck) (string, error) {
	method, err := r.id.method(c)
	if err != nil {
		return "", err
	}
	client, err := r.machine.patientLogin(ctx, r.tunnel, c.User, r.fingerprint, method)
	if err == nil {
		client.Close()
		if c.Refused {
			return "logged in", unmet("%s could log in with %s", c.User, c.Method)
		}
		return "logged in as " + c.User, nil
	}
	isRefusal := isAuthFailure(err)
	switch {
	case c.Refused && isRefusal:
		return err.Error(), nil
	case isRefusal:
		return "", unmet("%s cannot log in with %s: %v", c.User, c.Method, err)
	}
	return "", err
}

// method is what the assay shows to the server.
func (id Identity) method(c layers.SSHAuthCheck) (ssh.AuthMethod, error) {
	switch c.Method {
	case "publickey":
		return ssh.PublicKeys(id.admin), nil
	case "password":
		return ssh.Password("ingot-assay"), nil
	case "keyboard-interactive":
		return ssh.KeyboardInteractive(func(_, _ string, questions []string, _ []bool) ([]string, error) {
			return make([]string, len(questions)), nil
		}), nil
	case layers.Certificate:
		return id.certificate(id.authority, c.User, time.Now().Add(time.Hour))
	case layers.CertificateForOther:
		return id.certificate(id.authority, layers.OtherPrincipal, time.Now().Add(time.Hour))
	case layers.CertificateExpired:
		return id.certificate(id.authority, c.User, time.Now().Add(-30*time.Minute))
	case layers.CertificateOfStranger:
		return id.certificate(id.stranger, c.User, time.Now().Add(time.Hour))
	}
	return nil, fmt.Errorf("there is no login method %q", c.Method)
}

// certificate shows a key of which only the authority knows: the server has no
// other reason to let it in. It is valid from two hours ago.
func (id Identity) certificate(authority ssh.Signer, principal string, until time.Time) (ssh.AuthMethod, error) {
	key, err := newKey(id.Plan.Site.Admin.SecurityKeysOnly)
	if err != nil {
		return nil, err
	}
	cert := &ssh.Certificate{
		Key: key.PublicKey(), CertType: ssh.UserCert, KeyId: "ingot assay", ValidPrincipals: []string{principal},
		ValidAfter: uint64(time.Now().Add(-2 * time.Hour).Unix()), ValidBefore: uint64(until.Unix()),
		Permissions: ssh.Permissions{Extensions: map[string]string{"permit-pty": ""}},
	}
	if err := cert.SignCert(rand.Reader, authority); err != nil {
		return nil, err
	}
	signer, err := ssh.NewCertSigner(cert, key)
	if err != nil {
		return nil, err
	}
	return ssh.PublicKeys(signer), nil
}
