package ssh

import (
	"bufio"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"
)

// The configuration judged by sshd and ssh-audit themselves: sshd runs here on
// loopback with what the layer renders.

// account is the one that logs in; that its shell refuses comes after.
const account = "nobody"

// server is a running sshd and the folder of its files.
type server struct{ address, dir string }

// program finds one that may be in a folder of root's.
func program(t *testing.T, name string) string {
	t.Helper()
	for _, candidate := range []string{name, "/usr/sbin/" + name} {
		if p, err := exec.LookPath(candidate); err == nil {
			return p
		}
	}
	t.Skipf("%s is not installed here", name)
	return ""
}

// start runs sshd with the layer's configuration.
func start(t *testing.T, l Layer) server {
	t.Helper()
	sshd := program(t, "sshd")
	if os.Getuid() != 0 {
		t.Skip("sshd lets in other accounts as root only")
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Skipf("sshd wants /run/sshd: %v", err)
	}
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} { // sshd reads the keys as the account
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command(program(t, "ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, "key")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	_, port, _ := net.SplitHostPort(address)
	config := strings.NewReplacer(
		HostKey, filepath.Join(dir, "key"), AuthorizedKeysDir, dir, UserCAPath, filepath.Join(dir, "ca"),
		// Folders of tests are below /tmp, which others may write.
		"StrictModes yes", "StrictModes no", "UsePAM yes", "UsePAM no\nListenAddress 127.0.0.1\nPort "+port,
	).Replace(l.config([]string{account}))
	file := filepath.Join(dir, "sshd_config")
	if err := os.WriteFile(file, []byte(forThisVersion(t, sshd, config)), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(sshd, "-D", "-e", "-f", file)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready, lines := make(chan bool), make(chan struct{})
	go func() {
		defer close(lines)
		defer close(ready)
		for s := bufio.NewScanner(log); s.Scan(); {
			if strings.HasPrefix(s.Text(), "Server listening") {
				ready <- true
			}
			t.Log(s.Text())
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-lines
		cmd.Wait()
	})
	select {
	case ok := <-ready:
		if !ok {
			t.Fatal("sshd did not start")
		}
	case <-time.After(30 * time.Second):
		t.Fatal("sshd does not listen")
	}
	return server{address, dir}
}

// forThisVersion leaves out what an sshd older than the image's does not know,
// and says so.
func forThisVersion(t *testing.T, sshd, config string) string {
	t.Helper()
	for _, name := range []string{"mlkem768x25519-sha256,", "sntrup761x25519-sha512,"} {
		out, err := exec.Command(program(t, "ssh"), "-Q", "kex").Output()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(out), strings.TrimSuffix(name, ",")+"\n") {
			t.Logf("this OpenSSH has no %s", name)
			config = strings.Replace(config, name, "", 1)
		}
	}
	const penalties = "\nPerSourcePenalties "
	before, after, found := strings.Cut(config, penalties)
	value, rest, _ := strings.Cut(after, "\n")
	if !found {
		t.Fatal("the configuration has no penalties")
	}
	out, err := exec.Command(sshd, "-t", "-f", "/dev/null", "-o", "PerSourcePenalties="+value).CombinedOutput()
	if err != nil && strings.Contains(string(out), "Bad configuration option: PerSourcePenalties") {
		t.Log("this OpenSSH has no PerSourcePenalties")
		return before + "\n" + rest
	}
	// Half of the tests' logins are to be refused, one right after the other.
	return before + penalties + value + "\nPerSourcePenaltyExemptList 127.0.0.1\n" + rest
}

// logIn says whether the server lets the account in.
func (s server) logIn(t *testing.T, key gossh.Signer) bool {
	t.Helper()
	c, err := gossh.Dial("tcp", s.address, &gossh.ClientConfig{
		User: account, Auth: []gossh.AuthMethod{gossh.PublicKeys(key)}, Timeout: 30 * time.Second,
		HostKeyCallback: gossh.InsecureIgnoreHostKey(), // it was made a second ago
	})
	if err != nil && !strings.Contains(err.Error(), "unable to authenticate") {
		t.Fatalf("no answer to a login: %v", err)
	}
	if err == nil {
		c.Close()
	}
	return err == nil
}

func (s server) write(t *testing.T, name string, keys ...gossh.PublicKey) {
	t.Helper()
	var text strings.Builder
	for _, k := range keys {
		text.Write(gossh.MarshalAuthorizedKey(k))
	}
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func newKey(t *testing.T) gossh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := gossh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func TestWhichKeysLogIn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		options                           Options
		plain, touch, verify, certificate bool
	}{
		"default":            {Options{}, true, true, true, true},
		"security keys only": {Options{SecurityKeysOnly: true}, false, true, true, false},
		"verified":           {Options{VerifyRequired: true}, true, false, true, true},
		"both":               {Options{SecurityKeysOnly: true, VerifyRequired: true}, false, false, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, Layer{c.options})
			plain, touch, verify, other := newKey(t), newToken(t, touched), newToken(t, touched|verified), newKey(t)
			authority, stranger := newKey(t), newKey(t)
			s.write(t, account, plain.PublicKey(), touch.PublicKey(), verify.PublicKey())
			s.write(t, "ca", authority.PublicKey())
			for _, attempt := range []struct {
				what string
				key  gossh.Signer
				in   bool
			}{
				{"a key", plain, c.plain},
				{"a token that was touched", touch, c.touch},
				{"a token that was given its PIN", verify, c.verify},
				{"a key that is not listed", other, false},
				{"a certificate", certificate(t, authority, account), c.certificate},
				{"a certificate for somebody else", certificate(t, authority, "root"), false},
				{"a certificate for nobody", certificate(t, authority), false},
				{"a stranger's certificate", certificate(t, stranger, account), false},
			} {
				if in := s.logIn(t, attempt.key); in != attempt.in {
					t.Errorf("%s: let in %t, want %t", attempt.what, in, attempt.in)
				}
			}
		})
	}
}

// certificate is a new key that an authority vouches for.
func certificate(t *testing.T, authority gossh.Signer, principals ...string) gossh.Signer {
	t.Helper()
	key := newKey(t)
	c := &gossh.Certificate{
		Key: key.PublicKey(), CertType: gossh.UserCert, KeyId: "test", ValidPrincipals: principals, ValidBefore: gossh.CertTimeInfinity,
	}
	if err := c.SignCert(rand.Reader, authority); err != nil {
		t.Fatal(err)
	}
	signer, err := gossh.NewCertSigner(c, key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// ssh-audit has nothing to say against the server. Its versions before 3 do
// not know the algorithms of today's OpenSSH, or call them experimental.
func TestSSHAudit(t *testing.T) {
	t.Parallel()
	audit := program(t, "ssh-audit")
	s := start(t, Layer{})
	// The exit code tells of those old warnings, too.
	out, _ := exec.Command(audit, "--no-colors", s.address).CombinedOutput()
	if !strings.Contains(string(out), "(kex) sntrup761x25519-sha512@openssh.com") || !strings.Contains(string(out), "(mac) ") {
		t.Fatalf("ssh-audit did not look at sshd:\n%s", out)
	}
	for line := range strings.Lines(string(out)) {
		old := strings.Contains(line, "unknown algorithm") || strings.Contains(line, "using experimental algorithm")
		if !old && (strings.Contains(line, "[warn]") || strings.Contains(line, "[fail]") || strings.Contains(line, "Terrapin")) {
			t.Errorf("ssh-audit says %s", line)
		}
	}
}

// token is a FIDO2 security key in software, as OpenSSH's PROTOCOL.u2f has it.
type token struct {
	public  gossh.PublicKey
	private ed25519.PrivateKey
	flags   byte
}

// The authenticator data flags of CTAP 2.1 §6.1.
const touched, verified = 0x01, 0x04

func newToken(t *testing.T, flags byte) token {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := gossh.ParsePublicKey(gossh.Marshal(struct {
		Type        string
		Key         []byte
		Application string
	}{gossh.KeyAlgoSKED25519, public, "ssh:"}))
	if err != nil {
		t.Fatal(err)
	}
	return token{key, private, flags}
}

func (k token) PublicKey() gossh.PublicKey { return k.public }

func (k token) Sign(_ io.Reader, data []byte) (*gossh.Signature, error) {
	state := binary.BigEndian.AppendUint32([]byte{k.flags}, 1)
	app, message := sha256.Sum256([]byte("ssh:")), sha256.Sum256(data)
	signed := append(append(app[:], state...), message[:]...)
	return &gossh.Signature{Format: gossh.KeyAlgoSKED25519, Blob: ed25519.Sign(k.private, signed), Rest: state}, nil
}
