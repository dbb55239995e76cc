package ionos

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// ftpUser is the one that vsftpd knows without this system's users: it is asked for
// one of a list of passwords.
const ftpUser = "ftp"

// ftpd is Debian's vsftpd, a real server that wants TLS, with session reuse.
type ftpd struct {
	address string
	root    string // of its files
	roots   *x509.CertPool
	log     string
}

// serveFTP starts one that ends with the test. With fixed, files can be written once
// and neither be gone on with nor deleted.
func serveFTP(t *testing.T, password string, fixed bool) *ftpd {
	t.Helper()
	program, err := exec.LookPath("vsftpd")
	if err != nil {
		if program = "/usr/sbin/vsftpd"; exists(program) {
			err = nil
		}
	}
	if err != nil {
		t.Skip("there is no vsftpd, which uploads are tested with; apt-get install vsftpd")
	}
	dir := t.TempDir()
	f := &ftpd{root: filepath.Join(dir, "files"), log: filepath.Join(dir, "log"), roots: x509.NewCertPool()}
	for _, d := range []string{f.root, f.path(diskFolder), f.path(discFolder)} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	certificate := selfSigned(t, filepath.Join(dir, "key.pem"))
	f.roots.AddCert(certificate)
	f.address = freePort(t)
	_, port, _ := net.SplitHostPort(f.address)
	other := "YES"
	if fixed {
		other = "NO"
	}
	passwords := filepath.Join(dir, "passwords")
	config := filepath.Join(dir, "vsftpd.conf")
	text := strings.Join([]string{
		"listen=YES", "listen_address=127.0.0.1", "listen_port=" + port, "background=NO",
		"run_as_launching_user=YES", "seccomp_sandbox=NO", "tcp_wrappers=NO", "setproctitle_enable=NO",
		"anonymous_enable=YES", "local_enable=NO", "anon_root=" + f.root,
		"secure_email_list_enable=YES", "email_password_file=" + passwords,
		"write_enable=YES", "anon_upload_enable=YES", "anon_world_readable_only=NO", "anon_other_write_enable=" + other,
		"ssl_enable=YES", "allow_anon_ssl=YES", "force_anon_logins_ssl=YES", "force_anon_data_ssl=YES",
		"require_ssl_reuse=YES", "strict_ssl_read_eof=YES", "ssl_ciphers=HIGH", "rsa_cert_file=" + filepath.Join(dir, "key.pem"),
		"dual_log_enable=NO", "xferlog_enable=YES", "log_ftp_protocol=YES", "xferlog_std_format=NO", "vsftpd_log_file=" + f.log,
	}, "\n") + "\n"
	for name, content := range map[string]string{config: text, passwords: password + "\n"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(program, config)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // its sessions, too
		_ = cmd.Wait()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		c, err := net.Dial("tcp", f.address)
		if err == nil {
			c.Close()
			return f
		}
		if rest(ctx, 5*time.Millisecond) != nil {
			t.Fatalf("vsftpd does not start: %v\n%s", err, said.String())
		}
	}
}

func exists(file string) bool { _, err := os.Stat(file); return err == nil }

func (f *ftpd) path(name string) string { return filepath.Join(f.root, name) }

// files are all of a folder, by name.
func (f *ftpd) files(t *testing.T, folder string) map[string][]byte {
	t.Helper()
	list, err := os.ReadDir(f.path(folder))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, e := range list {
		data, err := os.ReadFile(filepath.Join(f.path(folder), e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = data
	}
	return all
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// selfSigned makes a certificate for 127.0.0.1, and writes it and its key.
func selfSigned(t *testing.T, file string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "ftp"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	data := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return certificate
}

// cutter is a TCP proxy before the server's connections for files. It cuts those that
// it was told to, after some bytes.
type cutter struct {
	server string        // the address for commands, which is not cut
	after  int64         // bytes
	left   atomic.Int32  // how many are still to be cut
	cuts   chan struct{} // one for each
}

// dial is a dialer for [Provider.reach].
func (c *cutter) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if address == c.server || c.left.Add(-1) < 0 {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		defer l.Close()
		client, err := l.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial(network, address)
		if err != nil {
			client.Close()
			return
		}
		go func() { _, _ = io.Copy(client, server) }()
		_, _ = io.CopyN(server, client, c.after)
		for _, conn := range []net.Conn{client, server} {
			_ = conn.(*net.TCPConn).SetLinger(0) // a reset, as of a lost line
			conn.Close()
		}
		c.cuts <- struct{}{}
	}()
	return new(net.Dialer).DialContext(ctx, network, l.Addr().String())
}

func (f *ftpd) String() string {
	data, _ := os.ReadFile(f.log)
	return fmt.Sprintf("%s\n%s", f.address, data)
}
