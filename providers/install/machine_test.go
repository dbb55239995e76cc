package install

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/disk"
	"github.com/diskfs/go-diskfs/filesystem"
	"github.com/diskfs/go-diskfs/partition/gpt"
	"golang.org/x/crypto/ssh"
)

const mib = 1 << 20

// machine is a real sshd on this host, in namespaces of its own: what is mounted for
// it goes with it, and a restart ends it and not the host. Its disk is a loop device.
type machine struct {
	Target
	login  ssh.Signer
	log    string        // file
	exited chan struct{} // closed when sshd has ended
}

// newMachine starts one with host keys of these types.
func newMachine(t *testing.T, keyTypes ...string) machine {
	t.Helper()
	needs(t, "/usr/sbin/sshd", "ssh-keygen", "unshare", "losetup", "lsblk")
	dir := t.TempDir()
	if len(keyTypes) == 0 {
		keyTypes = []string{"ed25519"}
	}
	port := freePort(t)
	m := machine{login: newSigner(t), log: filepath.Join(dir, "log"), exited: make(chan struct{})}
	var config strings.Builder
	fmt.Fprintf(&config, "ListenAddress 127.0.0.1\nPort %d\nPidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin prohibit-password\nLogLevel DEBUG2\nAuthorizedKeysFile %s/authorized\n", port, dir)
	for _, kind := range keyTypes {
		file := filepath.Join(dir, "host-"+kind)
		output(t, "ssh-keygen", "-q", "-t", kind, "-N", "", "-f", file)
		fmt.Fprintf(&config, "HostKey %s\n", file)
		if m.HostKey == "" {
			m.HostKey = fingerprint(t, file+".pub")
		}
	}
	write(t, filepath.Join(dir, "authorized"), ssh.MarshalAuthorizedKey(m.login.PublicKey()))
	// Since OpenSSH 9.8 who fails to log in is shut out for a while; before, the word
	// is an error.
	file := filepath.Join(dir, "config")
	write(t, file, []byte(config.String()+"PerSourcePenalties no\n"))
	if exec.Command("/usr/sbin/sshd", "-t", "-f", file).Run() != nil {
		write(t, file, []byte(config.String()))
	}
	m.Target = Target{Host: "127.0.0.1", Port: port, HostKey: m.HostKey, Auth: []ssh.AuthMethod{ssh.PublicKeys(m.login)}}
	m.start(t, file)
	return m
}

// inNamespaces makes the machine's own /run, and takes from it what could harm the
// host if all checks failed.
const inNamespaces = `set -eu
mount -t tmpfs tmpfs /run
mkdir /run/sshd
if [ -e /proc/sysrq-trigger ]; then mount --bind /dev/null /proc/sysrq-trigger; fi
mount -t tmpfs tmpfs /sys/fs/cgroup
exec /usr/sbin/sshd -D -e -f "$1"`

func (m machine) start(t *testing.T, config string) {
	t.Helper()
	log, err := os.Create(m.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command("unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "sh", "-c", inNamespaces, "sh", config)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { defer close(m.exited); _ = cmd.Wait() }() // it is killed
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-m.exited })
	for {
		conn, err := net.Dial("tcp", m.address())
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-m.exited:
			t.Fatalf("sshd does not start:\n%s", read(t, m.log))
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// needs skips a test that this host cannot run.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("starts sshd and makes loop devices: run as root")
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%v: run ./setup.sh", err)
		}
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func newSigner(t *testing.T) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func fingerprint(t *testing.T, public string) string {
	t.Helper()
	key, _, _, _, err := ssh.ParseAuthorizedKey(read(t, public))
	if err != nil {
		t.Fatal(err)
	}
	return ssh.FingerprintSHA256(key)
}

// privateKey is the file of a new private key, and its signer.
func privateKey(t *testing.T, passphrase string) (string, ssh.Signer) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(key, "test")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "test", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "id")
	write(t, file, pem.EncodeToMemory(block))
	return file, s
}

// builtAgent is the program, built once.
var builtAgent = sync.OnceValues(func() (string, error) {
	dir, err := workDir()
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "ingot-agent")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", file, "ingot/cmd/ingot-agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = errors.Join(err, errors.New(string(out)))
	}
	return file, err
})

func agentFile(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds the agent and overwrites loop devices; run without -short")
	}
	file, err := builtAgent()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := workDir(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// Places in the test's image. The ESP is as large as that of real ones: mtools does
// not read go-diskfs' FAT32 of 64 MiB.
const (
	espStart, espEnd = 2 * mib, 130 * mib
	imageBytes       = 144 * mib
	diskBytes        = 180 * mib
)

// testImage is a disk as Ingot makes them, but without a system.
func testImage(t *testing.T) (file, sum string) {
	t.Helper()
	dir, err := workDir()
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, "image.raw")
	if sum, err = builtImage(); err != nil {
		t.Fatal(err)
	}
	return file, sum
}

// workDir is for what is made once for all tests.
var workDir = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "ingot-install-test-") })

// builtImage is the image's SHA-256.
var builtImage = sync.OnceValues(func() (string, error) {
	dir, err := workDir()
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "image.raw")
	if err := makeImage(file); err != nil {
		return "", err
	}
	return fileSum(file, imageBytes)
})

func makeImage(file string) error {
	d, err := diskfs.Create(file, imageBytes, diskfs.SectorSize512)
	if err != nil {
		return err
	}
	defer d.Close()
	at := func(index int, kind gpt.Type, from, to int64) *gpt.Partition {
		return &gpt.Partition{Index: index, Name: fmt.Sprint(index), Type: kind, Start: uint64(from / 512), End: uint64(to/512 - 1), Size: uint64(to - from)}
	}
	err = d.Partition(&gpt.Table{LogicalSectorSize: 512, PhysicalSectorSize: 512, ProtectiveMBR: true, Partitions: []*gpt.Partition{
		at(1, gpt.BIOSBoot, mib, espStart), at(espIndex, gpt.EFISystemPartition, espStart, espEnd), at(3, gpt.LinuxFilesystem, espEnd, imageBytes-mib),
	}})
	if err != nil {
		return err
	}
	fs, err := d.CreateFilesystem(disk.FilesystemSpec{Partition: espIndex, FSType: filesystem.TypeFat32, VolumeLabel: espLabel})
	if err != nil {
		return err
	}
	kernel, err := fs.OpenFile("/vmlinuz", os.O_CREATE|os.O_RDWR)
	if err != nil {
		return err
	}
	if _, err := kernel.Write(noise(3 * mib)); err != nil {
		return err
	}
	if err := kernel.Close(); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt(noise(5*mib), espEnd+4*mib+4096)
	return err
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// sumOf is the SHA-256 of the first bytes of a file.
func sumOf(t *testing.T, file string, n int64) string {
	t.Helper()
	sum, err := fileSum(file, n)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func fileSum(file string, n int64) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	_, err = io.CopyN(sum, f, n)
	return hex.EncodeToString(sum.Sum(nil)), err
}

// loopDisk is a loop device with garbage all over it, and the file below it.
func loopDisk(t *testing.T, size int64) (device, file string) {
	t.Helper()
	file = garbage(t, size)
	return attach(t, file), file
}

// garbage has some in every chunk of what is written and of what is cleared; more of
// it only takes time.
func garbage(t *testing.T, size int64) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	words := bytes.Repeat([]byte("garbage "), 4096/8)
	for at := int64(0); at < size; at += mib / 16 {
		if _, err := f.WriteAt(words, at); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

func attach(t *testing.T, file string) string {
	t.Helper()
	device := strings.TrimSpace(output(t, "losetup", "--find", "--show", file))
	t.Cleanup(func() {
		_ = exec.Command("partx", "--delete", device).Run() // when it has any
		output(t, "losetup", "--detach", device)
	})
	return device
}

// cutAfter is the machine behind a network that breaks when so many bytes have gone
// to it.
func (m machine) cutAfter(n int64) Target {
	t := m.Target
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		return &cutConn{Conn: conn, left: n}, err
	}
	return t
}

type cutConn struct {
	net.Conn
	left int64
}

func (c *cutConn) Write(p []byte) (int, error) {
	if c.left -= int64(len(p)); c.left < 0 {
		c.Conn.Close()
		return 0, errors.New("the network broke")
	}
	return c.Conn.Write(p)
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, file string, content []byte) {
	t.Helper()
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
