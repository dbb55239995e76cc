package assay

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
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ingot/layers"
	"ingot/qemu-tests/vm"
)

// The time server of the simulated internet: a real chronyd, reached under this
// name and address.
const timeServer = "time.ingot-assay.example"

var timeAddress = netip.MustParseAddr("45.77.123.123")

// A machine takes its time from a server that proves who it is (NTS, RFC 8915),
// and from no other: the same server with a certificate that nobody trusts sets
// no clock.
func TestClock(t *testing.T) {
	turn(t, image(t), 3)
	ca, trusted := authority(t)
	b := withTimeServer(t, ca)
	server := newTimeServer(t, auditTree(t, b))
	lab, id := newLab(t, b)
	if err := lab.Internet.SetDNS(fmt.Sprintf("%s. IN A %s\n", timeServer, timeAddress)); err != nil {
		t.Fatal(err)
	}
	_, stranger := authority(t)
	stop := server.start(t, lab, stranger)
	m := boot(t, lab, id, BootOptions{Image: b.Image, Firmware: vm.BIOS, Instance: id.Instance})
	s := up(t, m)
	// It has asked, and was not convinced.
	s.awaits(t, `journalctl -b -u chrony -o cat | grep -q "TLS handshake with .* failed"`)
	if tracking := s.must(t, "chronyc", "-c", "tracking"); !strings.HasPrefix(tracking, "00000000,") {
		t.Errorf("the clock follows a stranger: %s", tracking)
	}
	stop()

	server.start(t, lab, trusted)
	s.must(t, "systemctl", "restart", "chrony.service")
	s.awaits(t, `chronyc -c tracking | grep -q "^[0-9A-F]*,`+timeAddress.String()+`,"`)
	data := strings.Split(s.must(t, "chronyc", "-c", "-N", "authdata"), ",")
	if len(data) < 2 || data[0] != timeServer || data[1] != "NTS" {
		t.Errorf("the server is not authenticated: %v", data)
	}
	s.powerOff(t)
	noAlarms(t, m)
}

// awaits waits until a condition holds on the machine.
func (s session) awaits(t *testing.T, condition string) {
	t.Helper()
	seconds := fmt.Sprint(s.lab.Timeout(30 * time.Second).Seconds())
	out, err := s.shell.Run(t.Context(), "timeout", seconds, "sh", "-c", "until "+condition+"; do sleep 0.2; done")
	if err != nil || out.Exit != 0 {
		said, _ := s.shell.Run(t.Context(), "sh", "-c", "journalctl -b -u chrony -o cat; chronyc -n sources; chronyc -N authdata")
		t.Fatalf("%s: %v, exit %d, %s\n%s", condition, err, out.Exit, out.Stderr, said.Stdout)
	}
}

// withTimeServer is the example with one time server of our own, whose authority
// the image trusts: it must be in the sealed file.
func withTimeServer(t *testing.T, ca []byte) built {
	t.Helper()
	image(t)
	dir := changedExample(t, "\n  time: {}\n", "\n  time: {servers: [{host: "+timeServer+", nts: true}]}\n")
	b, err := buildFolder(t.Context(), dir, t.TempDir(), func(p *layers.Plan) {
		const path = "/etc/chrony/assay-ca.pem"
		for i, f := range p.Image.Files {
			if f.Path == "/etc/chrony/chrony.conf" {
				p.Image.Files[i].Contents += "ntstrustedcerts " + path + "\n"
			}
		}
		p.Image.Files = append(p.Image.Files, layers.File{Path: path, Mode: 0o644, Contents: string(ca)})
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// certified is a server's certificate with its key, in PEM.
type certified struct{ cert, key []byte }

// authority makes a certificate authority, and with it a certificate for the
// time server.
func authority(t *testing.T) ([]byte, certified) {
	t.Helper()
	template := func(serial int64) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "ingot assay"},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		}
	}
	root, leaf := template(1), template(2)
	root.IsCA, root.BasicConstraintsValid, root.KeyUsage = true, true, x509.KeyUsageCertSign
	leaf.DNSNames, leaf.ExtKeyUsage = []string{timeServer}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey)
	if err != nil {
		t.Fatal(err)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, leafKey.Public(), rootKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	return encode("CERTIFICATE", rootDER), certified{encode("CERTIFICATE", leafDER), encode("PRIVATE KEY", keyDER)}
}

// clockServer is chronyd of the audit tree, on this machine's loopback. It sets
// no clock here.
type clockServer struct {
	tree     string
	ntp, nts int // ports on loopback
}

func newTimeServer(t *testing.T, tree string) clockServer {
	t.Helper()
	return clockServer{tree: tree, ntp: freePort(t, "udp"), nts: freePort(t, "tcp")}
}

func freePort(t *testing.T, network string) int {
	t.Helper()
	if network == "udp" {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.LocalAddr().(*net.UDPAddr).Port
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// start runs the server with a certificate, on the simulated internet, until the
// test ends or the returned function is called.
func (c clockServer) start(t *testing.T, lab *Lab, with certified) (stop func()) {
	t.Helper()
	dir := t.TempDir()
	config := fmt.Sprintf("port %d\nbindaddress 127.0.0.1\ncmdport 0\nbindcmdaddress /\nallow 127.0.0.1\nlocal stratum 3\npidfile %s/pid\n"+
		"ntsport %d\nntsprocesses 0\nntsservercert %s/cert.pem\nntsserverkey %s/key.pem\n", c.ntp, dir, c.nts, dir, dir)
	for name, content := range map[string][]byte{"cert.pem": with.cert, "key.pem": with.key, "chrony.conf": []byte(config)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	lib := filepath.Join(c.tree, "usr/lib/x86_64-linux-gnu")
	cmd := exec.CommandContext(t.Context(), filepath.Join(lib, "ld-linux-x86-64.so.2"), "--library-path", lib,
		filepath.Join(c.tree, "usr/sbin/chronyd"), "-x", "-d", "-U", "-u", currentUser(t), "-f", filepath.Join(dir, "chrony.conf"))
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	proxies := c.expose(t, lab)
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		proxies()
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
		if t.Failed() {
			t.Logf("chronyd: %s", said.String())
		}
	}
	t.Cleanup(stop)
	return stop
}

// expose lets the simulated internet reach the server. The port of NTP is its
// own: the key exchange tells it to the client.
func (c clockServer) expose(t *testing.T, lab *Lab) (stop func()) {
	t.Helper()
	keys, err := lab.Internet.Listen(netip.AddrPortFrom(timeAddress, 4460)) // RFC 8915 §4
	if err != nil {
		t.Fatal(err)
	}
	packets, err := lab.Internet.ListenPacket(netip.AddrPortFrom(timeAddress, uint16(c.ntp)))
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := keys.Accept()
			if err != nil {
				return // closed
			}
			go relay(conn, fmt.Sprintf("127.0.0.1:%d", c.nts))
		}
	}()
	go relayPackets(packets, fmt.Sprintf("127.0.0.1:%d", c.ntp))
	return func() { keys.Close(); packets.Close() }
}

func relay(conn net.Conn, to string) {
	defer conn.Close()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return // the client sees a closed connection and asks again
	}
	defer server.Close()
	go func() { _, _ = io.Copy(server, conn); server.Close() }()
	_, _ = io.Copy(conn, server)
}

// relayPackets asks the server once for each packet.
func relayPackets(packets net.PacketConn, to string) {
	buffer := make([]byte, 2048)
	for {
		n, from, err := packets.ReadFrom(buffer)
		if err != nil {
			return // closed
		}
		answer, err := exchange(to, buffer[:n])
		if err == nil {
			_, _ = packets.WriteTo(answer, from)
		}
	}
}

func exchange(to string, packet []byte) ([]byte, error) {
	server, err := net.Dial("udp", to)
	if err != nil {
		return nil, err
	}
	defer server.Close()
	if err := server.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return nil, err
	}
	if _, err := server.Write(packet); err != nil {
		return nil, err
	}
	answer := make([]byte, 2048)
	n, err := server.Read(answer)
	return answer[:n], err
}

func currentUser(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(context.Background(), "id", "-un").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
