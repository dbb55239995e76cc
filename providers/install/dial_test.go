package install

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"ingot/fault"
)

// A machine is let in by the key that somebody expects, whichever kind it is, and by
// no other.
func TestHostKeys(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "ed25519", "ecdsa", "rsa")
	dir := filepath.Dir(m.log)
	prints := map[string]string{}
	publics := map[string]ssh.PublicKey{}
	for _, kind := range []string{"ed25519", "ecdsa", "rsa"} {
		file := filepath.Join(dir, "host-"+kind+".pub")
		prints[kind] = fingerprint(t, file)
		key, _, _, _, err := ssh.ParseAuthorizedKey(read(t, file))
		if err != nil {
			t.Fatal(err)
		}
		publics[kind] = key
	}
	other := newSigner(t).PublicKey()
	known := func(lines ...string) []string {
		file := filepath.Join(t.TempDir(), "known_hosts")
		write(t, file, []byte(strings.Join(lines, "\n")+"\n"))
		return []string{file}
	}
	line := func(key ssh.PublicKey) string { return knownhosts.Line([]string{m.address()}, key) }
	hashed := func(key ssh.PublicKey) string {
		_, rest, _ := strings.Cut(line(key), " ")
		return knownhosts.HashHostname(knownhosts.Normalize(m.address())) + " " + rest
	}
	accept := "accept it by --host-key " + prints["ed25519"]
	for name, c := range map[string]struct {
		print string
		known []string
		want  []string // of the error; none is success
	}{
		"expected":               {prints["ed25519"], nil, nil},
		"expected, ECDSA":        {prints["ecdsa"], nil, nil},
		"expected, RSA":          {prints["rsa"], nil, nil},
		"expected another":       {ssh.FingerprintSHA256(other), nil, []string{"is not " + ssh.FingerprintSHA256(other), prints["ed25519"], prints["rsa"]}},
		"no fingerprint":         {"MD5:00:11", nil, []string{"is no fingerprint of a host key"}},
		"known":                  {"", known(line(publics["ed25519"])), nil},
		"known, RSA":             {"", known(line(publics["rsa"])), nil},
		"known, hashed":          {"", known(hashed(publics["ecdsa"])), nil},
		"known, one of two":      {"", known(line(publics["ecdsa"]), line(other)), nil},
		"unknown":                {"", known(), []string{"is not known", prints["ecdsa"], "accept it by --host-key " + prints["ecdsa"]}},
		"changed":                {"", known(line(other)), []string{"has changed", ssh.FingerprintSHA256(other), "known_hosts:1", accept}},
		"revoked":                {"", known("@revoked " + line(publics["ecdsa"])), []string{"revoked"}},
		"of another host":        {"", known(knownhosts.Line([]string{"192.0.2.1"}, publics["ed25519"])), []string{"is not known"}},
		"no such file":           {"", []string{"/absent"}, []string{"read the known hosts"}},
		"expected, also changed": {prints["ed25519"], known(line(other)), nil},
	} {
		t.Run(name, func(t *testing.T) {
			to := m.Target
			to.HostKey, to.KnownHosts = c.print, c.known
			client, err := Dial(t.Context(), to)
			if err == nil {
				client.Close()
			}
			if len(c.want) == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || fault.Of(err) != fault.OfInput {
				t.Fatalf("%v is no fault of the input", err)
			}
			says(t, err.Error(), c.want...)
		})
	}
}

// A machine without a key of the known kind shows the one that it has.
func TestHostKeyOfAnotherKind(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "ecdsa")
	file := filepath.Join(t.TempDir(), "known_hosts")
	write(t, file, []byte(knownhosts.Line([]string{m.address()}, newSigner(t).PublicKey())+"\n"))
	to := m.Target
	to.HostKey, to.KnownHosts = "", []string{file}
	_, err := Dial(t.Context(), to)
	if err == nil {
		t.Fatal("a machine with another key was let in")
	}
	says(t, err.Error(), "has changed", m.HostKey)
}

// Keys come from a file, from ssh-agent, or from the caller.
func TestAuth(t *testing.T) {
	m := newMachine(t)
	t.Setenv("HOME", t.TempDir())
	t.Setenv("SSH_AUTH_SOCK", "")
	good, signer := privateKey(t, "")
	locked, lockedSigner := privateKey(t, "open sesame")
	stranger, _ := privateKey(t, "")
	nonsense := filepath.Join(t.TempDir(), "id")
	write(t, nonsense, []byte("-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----\n"))
	write(t, filepath.Join(filepath.Dir(m.log), "authorized"), slices.Concat(ssh.MarshalAuthorizedKey(signer.PublicKey()), ssh.MarshalAuthorizedKey(lockedSigner.PublicKey())))
	dial := func(identity string) error {
		to := m.Target
		to.Auth, to.Identity = nil, identity
		client, err := Dial(t.Context(), to)
		if err == nil {
			client.Close()
		}
		return err
	}
	if err := dial(good); err != nil {
		t.Error(err)
	}
	for identity, want := range map[string]string{
		"":        "there is no key to log in to root@127.0.0.1",
		locked:    "is protected by a passphrase",
		stranger:  "does not let us in",
		nonsense:  "is no private key that can be used here",
		"/absent": "read the private key",
	} {
		err := dial(identity)
		if err == nil || fault.Of(err) != fault.OfInput {
			t.Fatalf("%q: %v is no fault of the input", identity, err)
		}
		says(t, err.Error(), want)
		if strings.Contains(err.Error(), "c2VjcmV0") || strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows the file: %v", err)
		}
	}
	t.Setenv("SSH_AUTH_SOCK", serveAgent(t, locked, "open sesame"))
	for _, identity := range []string{"", stranger} {
		if err := dial(identity); err != nil {
			t.Errorf("with a key in the agent: %v", err)
		}
	}
}

// serveAgent is an ssh-agent with one key.
func serveAgent(t *testing.T, file, passphrase string) (socket string) {
	t.Helper()
	key, err := ssh.ParseRawPrivateKeyWithPassphrase(read(t, file), []byte(passphrase))
	if err != nil {
		t.Fatal(err)
	}
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // the test is over
			}
			go func() { defer conn.Close(); _ = agent.ServeAgent(ring, conn) }() // until the other end closes
		}
	}()
	return socket
}

func TestParseTarget(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Target{
		"root@192.0.2.7":          {User: "root", Host: "192.0.2.7"},
		"example.org":             {User: "root", Host: "example.org"},
		"debian@example.org:2222": {User: "debian", Host: "example.org", Port: 2222},
		"root@2001:db8::1":        {User: "root", Host: "2001:db8::1"},
		"root@[2001:db8::1]":      {User: "root", Host: "2001:db8::1"},
		"root@[2001:db8::1]:2222": {User: "root", Host: "2001:db8::1", Port: 2222},
	} {
		got, err := ParseTarget(in)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) || got.User != want.User || got.Host != want.Host || got.Port != want.Port {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
	for _, bad := range []string{"", "root@", "@host", "host:0", "host:x", "host:70000", "root@a b", "-oProxyCommand=x", "a@b@c"} {
		if got, err := ParseTarget(bad); err == nil || fault.Of(err) != fault.OfInput {
			t.Errorf("%q: %+v, %v", bad, got, err)
		}
	}
}
