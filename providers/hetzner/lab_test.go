package hetzner

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"gopkg.in/yaml.v3"
)

// lab is where the machines of a cloud are: each is an sshd of Debian's on an address
// of its own on loopback, and a file for a disk.
type lab struct {
	t    *testing.T
	dir  string
	port int
	// mock has machines answer from this process, for tests that start many.
	mock bool
	// otherHost gives them another host key than their user-data says.
	otherHost bool

	mu       sync.Mutex
	machines map[int64]func() // end them
	last     int
}

func newLab(t *testing.T) *lab {
	// Whoever has the port at this address keeps others from choosing it.
	l, err := net.Listen("tcp", "127.77.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &lab{t: t, dir: t.TempDir(), port: l.Addr().(*net.TCPAddr).Port, machines: map[int64]func(){}, last: 1}
	t.Cleanup(func() {
		l.Close()
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, end := range b.machines {
			end()
		}
	})
	return b
}

// address is a new one.
func (b *lab) address() string {
	b.last++
	return fmt.Sprintf("127.77.0.%d", b.last)
}

// boot starts a machine as cloud-init would: it has the host key that its user-data
// gives it, and lets in those whose keys the project gives it.
func (b *lab) boot(id int64, address, userData string, keys []string) {
	var config struct {
		Keys struct {
			Private string `yaml:"ed25519_private"`
		} `yaml:"ssh_keys"`
	}
	if err := yaml.Unmarshal([]byte(userData), &config); err != nil || !strings.HasPrefix(userData, "#cloud-config\n") {
		b.t.Errorf("the user-data of a temporary server is no cloud-config: %v", err)
		return
	}
	private := config.Keys.Private
	if b.otherHost {
		private = strangersKey(b.t)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mock {
		b.machines[id] = b.bootMock(id, address, private, keys)
	} else {
		b.machines[id] = b.bootReal(id, address, private, keys)
	}
}

func strangersKey(t *testing.T) string {
	k, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(k.private, "")
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block))
}

// bootReal starts sshd.
func (b *lab) bootReal(id int64, address, private string, keys []string) (end func()) {
	write := func(name, text string) string {
		file := b.file(id, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			b.t.Error(err)
		}
		return file
	}
	host := write("hostkey", private)
	allowed := write("authorized_keys", strings.Join(keys, "\n")+"\n")
	settings := write("sshd_config", fmt.Sprintf(`ListenAddress %s:%d
HostKey %s
AuthorizedKeysFile %s
PermitRootLogin prohibit-password
PasswordAuthentication no
StrictModes no
UsePAM no
PidFile none
SetEnv DISK=%s OFF=%s
`, address, b.port, host, allowed, b.file(id, "disk"), b.file(id, "off")))
	// sshd wants this folder.
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		b.t.Error(err)
	}
	m := exec.Command("/usr/sbin/sshd", "-D", "-e", "-f", settings)
	log, err := os.Create(b.file(id, "log"))
	if err != nil {
		b.t.Error(err)
		return func() {}
	}
	defer log.Close()
	m.Stdout, m.Stderr = log, log
	if err := m.Start(); err != nil {
		b.t.Errorf("sshd: %v", err)
		return func() {}
	}
	return func() {
		_ = m.Process.Kill()
		_ = m.Wait()
	}
}

func (b *lab) file(id int64, name string) string {
	return filepath.Join(b.dir, fmt.Sprintf("%d-%s", id, name))
}

// isOff reports whether a machine has switched itself off.
func (b *lab) isOff(id int64) bool {
	_, err := os.Stat(b.file(id, "off"))
	if err != nil {
		return false
	}
	b.kill(id)
	return true
}

func (b *lab) kill(id int64) {
	b.mu.Lock()
	end := b.machines[id]
	delete(b.machines, id)
	b.mu.Unlock()
	if end != nil {
		end()
	}
}

// disk is the digest of what is on a machine's disk.
func (b *lab) disk(id int64) string {
	data, err := os.ReadFile(b.file(id, "disk"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		b.t.Error(err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
