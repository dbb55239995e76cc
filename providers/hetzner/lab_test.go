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
// of its own on loopback, a file for a disk, and a loop device for each volume.
type lab struct {
	t    *testing.T
	dir  string
	port int
	// mock has machines answer from this process, for tests that start many.
	mock bool
	// otherHost gives them another host key than their user-data says.
	otherHost bool
	// broken has the mock make no file system.
	broken bool

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
func (b *lab) boot(id int64, address, userData string, keys []string, volumes []int64) {
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
		b.machines[id] = b.bootReal(id, address, private, keys, volumes)
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

// bootReal starts sshd, in a mount namespace whose /dev has the volumes.
func (b *lab) bootReal(id int64, address, private string, keys []string, volumes []int64) (end func()) {
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
	args := []string{"--mount", "--propagation", "private", "sh", "-euc", devices + "exec /usr/sbin/sshd -D -e -f \"$0\"", settings}
	loops := []string{}
	for _, v := range volumes {
		loop, err := b.loop(v)
		if err != nil {
			b.t.Errorf("a loop device for a volume: %v", err)
			return func() {}
		}
		loops = append(loops, loop)
		args = append(args, loop, filepath.Base(deviceName(v)))
	}
	m := exec.Command("unshare", args...)
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
		for _, loop := range loops {
			if out, err := exec.Command("losetup", "--detach", loop).CombinedOutput(); err != nil {
				b.t.Errorf("losetup --detach %s: %v: %s", loop, err, out)
			}
		}
	}
}

// devices makes a /dev in which loop devices have the names of volumes; each comes with
// its name.
const devices = `
dev=$(mktemp -d)
mount -t tmpfs tmpfs "$dev"
cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty "$dev"
mkdir -p "$dev/disk/by-id"
while [ $# -gt 0 ]; do
	cp -a "$1" "$dev"
	ln -s "../../$(basename "$1")" "$dev/disk/by-id/$2"
	shift 2
done
mount --bind "$dev" /dev
umount "$dev"
rmdir "$dev"
`

// deviceName is where a volume is on a server.
func deviceName(volume int64) string { return fmt.Sprint("/dev/disk/by-id/scsi-0HC_Volume_", volume) }

// loop is a device for a volume, of the smallest size that they have.
func (b *lab) loop(volume int64) (string, error) {
	f, err := os.Create(b.file(volume, "volume"))
	if err == nil {
		err = errors.Join(f.Truncate(10<<30), f.Close())
	}
	if err != nil {
		return "", err
	}
	out, err := exec.Command("losetup", "--find", "--show", f.Name()).Output()
	return strings.TrimSpace(string(out)), err
}

// fileSystem is the label of what is on a volume, empty for nothing.
func (b *lab) fileSystem(volume int64) string {
	if b.mock {
		label, err := os.ReadFile(b.file(volume, "label"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			b.t.Error(err)
		}
		return string(label)
	}
	out, err := exec.Command("blkid", "--probe", "--match-tag", "LABEL", "--output", "value", b.file(volume, "volume")).Output()
	if err != nil && len(out) > 0 {
		b.t.Error(err)
	}
	return strings.TrimSpace(string(out))
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
