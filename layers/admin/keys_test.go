package admin

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func line(t *testing.T, public any) string {
	t.Helper()
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

func rsaLine(t *testing.T, bits int) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return line(t, &key.PublicKey)
}

func TestKeys(t *testing.T) {
	t.Parallel()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "laptop")
	if err != nil {
		t.Fatal(err)
	}
	secret := string(pem.EncodeToMemory(block))
	good := line(t, public)
	for name, c := range map[string]struct{ key, want string }{
		"ed25519":           {good, ""},
		"comment":           {good + " laptop of J. Doe", ""},
		"blanks":            {"  " + good + "\n", ""},
		"ecdsa":             {line(t, &curve.PublicKey), ""},
		"rsa 3072":          {rsaLine(t, 3072), ""},
		"rsa 2048":          {rsaLine(t, 2048), "2048 bits is too weak"},
		"private":           {secret, "private key"},
		"private, one line": {strings.ReplaceAll(secret, "\n", " "), "private key"},
		"private, no frame": {strings.Split(secret, "\n")[1], "private key"},
		"putty":             {"PuTTY-User-Key-File-3: ssh-ed25519", "private key"},
		"options":           {`from="10.8.0.2" ` + good, "options"},
		"two":               {good + "\n" + good, "one line"},
		"escape":            {good + " \x1b[31m", "not printable"},
		"empty":             {"", "not an SSH public key"},
		"hash":              {"# " + good, "not an SSH public key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, message, advice := parseKey(c.key)
			if c.want == "" && message != "" || !strings.Contains(message, c.want) {
				t.Errorf("message %q, want %q", message, c.want)
			}
			if message != "" && advice == "" {
				t.Error("no advice")
			}
		})
	}
}

func TestUser(t *testing.T) {
	t.Parallel()
	for user, ok := range map[string]bool{
		"clawadmin": true, "_x": true, "a-b_c1": true, strings.Repeat("a", 32): true,
		"": false, "root": false, "sshd": false, "systemd-network": false, "A": false, "1a": false, "a b": false,
		"a\nb": false, "../x": false, "a*": false, "a:b": false, "ALL": false, strings.Repeat("a", 33): false,
	} {
		if got := len(validateUser(user)) == 0; got != ok {
			t.Errorf("%q: accepted %t, want %t", user, got, ok)
		}
	}
}
