package ionos

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ingot/fault"
	"ingot/providers"
)

const testPassword = "Pa55-w0rd-that-nobody-may-see"

// quick is a pace for tests.
var quick = pace{
	poll: time.Millisecond, slow: time.Millisecond, looks: 10,
	request: 20 * time.Second, image: 20 * time.Second, idle: 10 * time.Second,
}

// uploader is a provider that only uploads.
func uploader(f *ftpd) *Provider {
	return &Provider{
		opts: &Options{User: ftpUser, Password: providers.NewSecret(testPassword), FTP: f.address, Roots: f.roots, Location: "de/fra"},
		pace: quick, reach: new(net.Dialer).DialContext,
	}
}

// randomImage are bytes that look like no others, and their SHA-256.
func randomImage(n int) ([]byte, string) {
	data := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n)})
	_, _ = r.Read(data)
	sum := sha256.Sum256(data)
	return data, hex.EncodeToString(sum[:])
}

func testName(n int) string { return fmt.Sprintf("disk-%d.raw", n) }

func TestSend(t *testing.T) {
	t.Parallel()
	const size = 3 << 20
	image, sum := randomImage(size)
	for _, c := range []struct {
		name  string
		fixed bool // the server lets no file be changed
		cuts  int32
		want  string
	}{
		{"at once", false, 0, "disk-1.raw"},
		{"cut once and gone on with", false, 1, "disk-1.raw"},
		{"cut three times and gone on with", false, 3, "disk-1.raw"},
		{"cut, and under another name", true, 1, "disk-2.raw"},
		// The second of these is the one that is refused.
		{"cut twice, and under a third name", true, 3, "disk-3.raw"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := serveFTP(t, testPassword, c.fixed)
			p := uploader(f)
			cut := &cutter{server: f.address, after: 1 << 20, cuts: make(chan struct{}, 8)}
			cut.left.Store(c.cuts)
			p.reach = cut.dial
			var last, sent int64
			got, err := p.send(t.Context(), diskFolder, testName, &cargo{image: bytes.NewReader(image), bytes: size, sha256: sum, progress: func(n int64) {
				if n > last {
					sent += n - last
				}
				last = n
			}})
			if err != nil {
				t.Fatalf("%v\n%s", err, f)
			}
			if got != c.want {
				t.Errorf("it is called %s, not %s", got, c.want)
			}
			if len(cut.cuts) != int(c.cuts) {
				t.Errorf("%d connections were cut, not %d", len(cut.cuts), c.cuts)
			}
			if last != size {
				t.Errorf("the progress ends with %d", last)
			}
			if stored := f.files(t, diskFolder)[got]; !bytes.Equal(stored, image) {
				t.Errorf("the server has %d other bytes", len(stored))
			}
			if err := p.readBack(t.Context(), diskFolder+"/"+got, &cargo{sha256: sum}); err != nil {
				t.Errorf("read back: %v", err)
			}
		})
	}
}

// A process that was ended leaves a part of a file: the next one goes on with it, and
// hashes all of the image nevertheless.
func TestSendGoesOnWithWhatAnotherProcessSent(t *testing.T) {
	t.Parallel()
	const size = 2 << 20
	image, sum := randomImage(size)
	f := serveFTP(t, testPassword, false)
	p := uploader(f)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first := &cargo{image: bytes.NewReader(image), bytes: size, sha256: sum, progress: func(n int64) {
		if n > size/2 {
			cancel()
		}
	}}
	if _, err := p.send(ctx, diskFolder, testName, first); err == nil || fault.Of(err) != fault.Unknown {
		t.Fatalf("an interrupted upload: %v", err)
	}
	left := f.files(t, diskFolder)["disk-1.raw"]
	// The server was not told that the file is whole.
	if log := f.String(); strings.Contains(log, "OK UPLOAD") {
		t.Errorf("a part of a file was stored as a whole one:\n%s", log)
	}
	begun := int64(-1)
	second := &cargo{image: bytes.NewReader(image), bytes: size, sha256: sum, progress: func(n int64) {
		if begun < 0 {
			begun = n
		}
	}}
	if _, err := p.send(t.Context(), diskFolder, testName, second); err != nil {
		t.Fatal(err)
	}
	if len(left) == size {
		t.Error("all was sent after the interruption")
	}
	if begun <= int64(len(left)) {
		t.Errorf("it began at %d again, the server had %d", begun, len(left))
	}
	if !bytes.Equal(f.files(t, diskFolder)["disk-1.raw"], image) {
		t.Error("the server has other bytes")
	}
	// Another image of the same name and size is found out by its hash.
	third := &cargo{image: bytes.NewReader(bytes.Repeat([]byte{1}, size)), bytes: size, sha256: sum}
	if _, err := p.send(t.Context(), diskFolder, testName, third); fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), "the image has changed") {
		t.Errorf("another image: %v", err)
	}
}

// An image that cannot be read is not stored as a shorter one, and not tried again.
func TestSendOfAnImageThatCannotBeRead(t *testing.T) {
	t.Parallel()
	f := serveFTP(t, testPassword, false)
	p := uploader(f)
	image, sum := randomImage(1 << 20)
	_, err := p.send(t.Context(), diskFolder, testName, &cargo{image: bytes.NewReader(image), bytes: 2 << 20, sha256: sum})
	if fault.Of(err) != fault.OfMachine || !strings.Contains(err.Error(), "read the image") {
		t.Errorf("kind %v: %v", fault.Of(err), err)
	}
	if log := f.String(); strings.Contains(log, "OK UPLOAD") || strings.Count(log, "STOR") != 1 {
		t.Errorf("a part of it was stored as a whole file, or it was tried again:\n%s", log)
	}
}

// Files are never sent in clear: what goes over the wire holds nothing of the image.
func TestSendIsEncrypted(t *testing.T) {
	t.Parallel()
	f := serveFTP(t, testPassword, false)
	p := uploader(f)
	var wires []*spy
	p.reach = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		s := &spy{Conn: c}
		wires = append(wires, s)
		return s, err
	}
	image := bytes.Repeat([]byte("instance config with a secret; "), 1000)
	if _, err := p.send(t.Context(), discFolder, testName, &cargo{image: bytes.NewReader(image), bytes: int64(len(image))}); err != nil {
		t.Fatalf("%v\n%s", err, f)
	}
	if len(wires) < 2 {
		t.Fatalf("there were %d connections", len(wires))
	}
	for n, w := range wires {
		for _, clear := range []string{"with a secret", testPassword} {
			if bytes.Contains(w.sent.Bytes(), []byte(clear)) {
				t.Errorf("connection %d of %d shows %q", n+1, len(wires), clear)
			}
		}
	}
}

// spy keeps what is sent.
type spy struct {
	net.Conn
	sent bytes.Buffer
}

func (s *spy) Write(b []byte) (int, error) {
	s.sent.Write(b)
	return s.Conn.Write(b)
}

func TestSendIsRefused(t *testing.T) {
	t.Parallel()
	f := serveFTP(t, testPassword, false)
	for _, c := range []struct {
		name   string
		change func(*Provider)
		kind   fault.Kind
		text   string
	}{
		{"another certificate", func(p *Provider) {
			p.opts.Roots = x509.NewCertPool()
			p.opts.Roots.AddCert(selfSigned(t, filepath.Join(t.TempDir(), "key.pem")))
		}, fault.OfProvider, "certificate does not prove"},
		{"this system's authorities", func(p *Provider) { p.opts.Roots = nil }, fault.OfProvider, "certificate does not prove"},
		{"another password", func(p *Provider) { p.opts.Password = providers.NewSecret("wrong-" + testPassword) }, fault.OfInput, "does not accept the user name and the password"},
		{"a password of two lines", func(p *Provider) { p.opts.Password = providers.NewSecret(testPassword + "\r\nDELE x") }, fault.OfProvider, "reach the server"},
		{"a token alone", func(p *Provider) { p.opts.User = "" }, fault.OfInput, "takes a user name and a password and no token"},
		{"nobody there", func(p *Provider) { p.opts.FTP = freePort(t) }, fault.OfProvider, "connection refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := uploader(f)
			c.change(p)
			_, err := p.send(t.Context(), diskFolder, testName, &cargo{image: bytes.NewReader([]byte("image")), bytes: 5})
			if err == nil || fault.Of(err) != c.kind || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("kind %v: %v", fault.Of(err), err)
			}
			if strings.Contains(err.Error(), testPassword) {
				t.Errorf("the password is in the error: %v", err)
			}
			if n := len(f.files(t, diskFolder)); n != 0 {
				t.Errorf("%d files were stored", n)
			}
		})
	}
}
