package assay

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"encoding/pem"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"ingot/layers"
	sshlayer "ingot/layers/ssh"
)

const sshd = "/usr/sbin/sshd"

// serveSSH lets the sshd of this machine answer on loopback, one process a
// connection as inetd would, with what the file holds then.
func serveSSH(t *testing.T, config string) (address string) {
	t.Helper()
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Skipf("sshd wants /run/sshd: %v", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { listener.Close(); <-done })
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			file, err := conn.(*net.TCPConn).File()
			conn.Close()
			if err != nil {
				t.Error(err)
				return
			}
			cmd := exec.Command(sshd, "-i", "-e", "-f", config)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = file, file, t.Output()
			_ = cmd.Run() // most end with the client
			file.Close()
		}
	}()
	return listener.Addr().String()
}

// ofLayer writes what the layer ssh renders, as far as this machine's sshd knows
// it, and returns the checks about what it offers.
func ofLayer(t *testing.T, dir string) (config string, checks []layers.Check) {
	t.Helper()
	if _, err := os.Stat(sshd); err != nil {
		t.Skip("there is no sshd on this machine")
	}
	contribution := sshlayer.Layer{}.Contribute(layers.Site{Admin: layers.Admin{User: "nobody"}})
	text := ""
	for _, f := range contribution.Image.Files {
		if f.Path == sshlayer.ConfigPath {
			text = strings.Replace(f.Contents, sshlayer.HostKey, newHostKey(t, filepath.Join(dir, "key")), 1)
		}
	}
	known, err := exec.Command("ssh", "-Q", "kex").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range contribution.Checks {
		if c.SSHOffer == nil {
			continue
		}
		if kex := c.SSHOffer.Kex; kex != nil {
			kex.Exactly = slices.DeleteFunc(kex.Exactly, func(name string) bool { return !slices.Contains(strings.Fields(string(known)), name) })
			text = regexp.MustCompile(`(?m)^KexAlgorithms .*`).ReplaceAllString(text, "KexAlgorithms "+strings.Join(kex.Exactly, ","))
		}
		checks = append(checks, c)
	}
	config = filepath.Join(dir, "sshd_config")
	for {
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(sshd, "-t", "-f", config).CombinedOutput()
		if err == nil {
			return config, checks
		}
		unknown := regexp.MustCompile(`Bad configuration option: (\w+)`).FindSubmatch(out)
		if unknown == nil {
			t.Fatalf("%v: %s", err, out)
		}
		text = regexp.MustCompile(`(?m)^`+string(unknown[1])+` .*\n`).ReplaceAllString(text, "")
	}
}

func newHostKey(t *testing.T, file string) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// What the layer promises about its sshd holds, and no longer after the check's
// sabotage: against a real sshd.
func TestOffersOfTheLayer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config, checks := ofLayer(t, dir)
	address := serveSSH(t, config)
	healthy, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(c layers.SSHOfferCheck) (string, error) {
		c.User = "nobody"
		lists, err := askOffer(t.Context(), (&net.Dialer{}).DialContext, address, ssh.InsecureIgnoreHostKey(), c) // it was made a second ago
		if err != nil {
			t.Fatal(err)
		}
		return judgeOffer(lists, c)
	}
	if len(checks) != 2 {
		t.Fatalf("%d checks of the layer are about what sshd offers", len(checks))
	}
	for _, c := range checks {
		evidence, err := ask(*c.SSHOffer)
		holds(t, err, "")
		t.Log(evidence)
		command := strings.NewReplacer(layers.SabotageEtc+" && ", "", sshlayer.ConfigPath, config, "/etc/ssh/sabotage", filepath.Join(dir, "other"), "systemctl restart ssh.service", ":").Replace(c.Sabotage)
		if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", command, err, out)
		}
		_, err = ask(*c.SSHOffer)
		holds(t, err, "is offered")
		if s := c.SSHOffer; s.Kex != nil { // its sabotage spoils every list
			for _, text := range []string{"kex: ", "host keys: ecdsa-sha2-nistp256 is offered", "ciphers: ", "MACs: "} {
				holds(t, err, text)
			}
		}
		if err := os.WriteFile(config, healthy, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestJudgeOffer(t *testing.T) {
	t.Parallel()
	lists := map[string][][]string{
		"kex":     {{"a", "b", "ext-info-s", "kex-strict-s-v00@openssh.com"}},
		"ciphers": {{"x", "y"}, {"x", "z"}},
	}
	for name, c := range map[string]struct {
		check layers.SSHOfferCheck
		want  string
	}{
		"exactly":          {layers.SSHOfferCheck{Kex: &layers.Names{Exactly: []string{"b", "a"}}}, ""},
		"one more":         {layers.SSHOfferCheck{Kex: &layers.Names{Exactly: []string{"b"}}}, "kex: a is offered"},
		"one fewer":        {layers.SSHOfferCheck{Kex: &layers.Names{Exactly: []string{"a", "b", "c"}}}, "kex: c is not offered"},
		"a signal":         {layers.SSHOfferCheck{Kex: &layers.Names{Offers: []string{"kex-strict-s-v00@openssh.com"}}}, ""},
		"not a signal":     {layers.SSHOfferCheck{Kex: &layers.Names{Refuses: []string{"kex-strict-s-v00@openssh.com"}}}, "kex-strict-s-v00@openssh.com is offered"},
		"refused":          {layers.SSHOfferCheck{Kex: &layers.Names{Refuses: []string{"c"}}}, ""},
		"one way only":     {layers.SSHOfferCheck{Ciphers: &layers.Names{Offers: []string{"y"}}}, "ciphers: y is not offered"},
		"the other way":    {layers.SSHOfferCheck{Ciphers: &layers.Names{Refuses: []string{"z"}}}, "ciphers: z is offered"},
		"both are in fact": {layers.SSHOfferCheck{Kex: &layers.Names{Refuses: []string{"a"}}, Ciphers: &layers.Names{Refuses: []string{"x"}}}, "kex: a is offered; ciphers: x is offered"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := judgeOffer(lists, c.check)
			holds(t, err, c.want)
		})
	}
	if _, err := judgeOffer(lists, layers.SSHOfferCheck{MACs: &layers.Names{Refuses: []string{"m"}}}); err == nil {
		t.Error("a list that was not asked for refuses everything")
	}
}

// stream is a server that says something and does not listen.
type stream struct{ io.Reader }

func (stream) Write(b []byte) (int, error) { return len(b), nil }

// firstPacket is what a server sends first, RFC 4253 §6.
func firstPacket(payload []byte, padding int) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(1+len(payload)+padding))
	return slices.Concat(b, []byte{byte(padding)}, payload, make([]byte, padding))
}

func TestReadKexInit(t *testing.T) {
	t.Parallel()
	const version = "SSH-2.0-OpenSSH_10.0\r\n"
	good := ssh.Marshal(kexInit{Kex: []string{"a", "b"}, HostKeys: []string{"c"}})
	for name, c := range map[string]struct{ said, want string }{
		"good":               {version + string(firstPacket(good, 7)), ""},
		"greeting":           {"hello\r\nthere\n" + version + string(firstPacket(good, 4)), ""},
		"penalised":          {"Not allowed at this time\r\n", "does not say its version but \"Not allowed at this time\""},
		"nothing":            {"", "does not say its version"},
		"not SSH":            {strings.Repeat("HTTP/1.1 400 Bad Request\r\n", 1000), "does not say its version"},
		"a long line":        {strings.Repeat("x", 1<<20), "does not say its version"},
		"cut off":            {version + string(firstPacket(good, 7)[:20]), "first packet: unexpected EOF"},
		"a huge packet":      {version + "\xff\xff\xff\xff\x04", "claims 4294967295 bytes"},
		"nothing in it":      {version + string(firstPacket(nil, 7)), "claims 8 bytes, 7 of them padding"},
		"all padding":        {version + "\x00\x00\x00\x05\xff12345678", "claims 5 bytes, 255 of them padding"},
		"another message":    {version + string(firstPacket([]byte{1, 0, 0, 0}, 4)), "does not say what it offers"},
		"a list too long":    {version + string(firstPacket(append([]byte{20}, bytes.Repeat([]byte{0xff}, 40)...), 4)), "does not say what it offers"},
		"a message too long": {version + string(firstPacket(append(slices.Clone(good), 1), 4)), "does not say what it offers"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k, err := readKexInit(stream{strings.NewReader(c.said)})
			switch {
			case c.want == "" && (err != nil || !slices.Equal(k.Kex, []string{"a", "b"}) || !slices.Equal(k.HostKeys, []string{"c"})):
				t.Errorf("read %+v, %v", k, err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// A server that never ends its line is not listened to for ever.
func TestReadKexInitIsBounded(t *testing.T) {
	t.Parallel()
	endless := strings.NewReader(strings.Repeat("x", 1<<20))
	if _, err := readKexInit(stream{endless}); err == nil || endless.Len() == 0 {
		t.Errorf("%v, with %d bytes unread", err, endless.Len())
	}
}

// FuzzReadKexInit: whatever a server says, the reader ends.
func FuzzReadKexInit(f *testing.F) {
	good := ssh.Marshal(kexInit{Kex: []string{"a"}})
	f.Add([]byte("SSH-2.0-x\r\n" + string(firstPacket(good, 4))))
	f.Add([]byte("hello\nSSH-2.0-x\n\x00\x00\x00\x02\x00\x14"))
	f.Add(bytes.Repeat([]byte("\n"), maxGreeting+1))
	f.Fuzz(func(t *testing.T, said []byte) {
		k, err := readKexInit(stream{bytes.NewReader(said)})
		if err == nil && !bytes.Contains(said, []byte("SSH-")) {
			t.Errorf("read %+v from what is not SSH", k)
		}
	})
}

// A server that asks nothing of anybody offers the method none.
func TestAskMethodsOfAnOpenServer(t *testing.T) {
	t.Parallel()
	key, err := newKey(false)
	if err != nil {
		t.Fatal(err)
	}
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(key)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		if s, err := listener.Accept(); err == nil {
			_, _, _, _ = ssh.NewServerConn(s, config) // the client says how it went
		}
	}()
	c, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	methods, err := askMethods(c, "x", "nobody", ssh.FixedHostKey(key.PublicKey()))
	if err != nil || !slices.Equal(methods, []string{"none"}) {
		t.Errorf("methods %v, %v", methods, err)
	}
}
