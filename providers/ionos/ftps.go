package ionos

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"time"

	"github.com/jlaffaye/ftp"

	"ingot/fault"
)

// ftpPort is that of FTP with explicit TLS (RFC 4217).
const ftpPort = "21"

// ftps is a session with IONOS' server for images.
type ftps struct {
	*ftp.ServerConn
	stop func() bool
	wire *wire
}

// dialFTP opens a session: TLS with a verified certificate from the first command on,
// for files as well.
func (p *Provider) dialFTP(ctx context.Context) (*ftps, error) {
	if p.opts.User == "" {
		return nil, fault.Input(errors.New("the server for images takes a user name and a password and no token: give these, too"))
	}
	address := p.opts.FTP
	if _, _, err := net.SplitHostPort(address); err != nil {
		address = net.JoinHostPort(address, ftpPort)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fault.Input(fmt.Errorf("the server for images: %w", err))
	}
	w := &wire{ctx: ctx, idle: p.pace.idle, reach: p.reach, tls: &tls.Config{
		ServerName: host,
		RootCAs:    p.opts.Roots,
		MinVersion: tls.VersionTLS12,
		// Servers tell by the session that both connections are of one client (vsftpd:
		// require_ssl_reuse). Tickets of TLS 1.3 come after the handshake and may come
		// too late for it.
		MaxVersion:         tls.VersionTLS12,
		ClientSessionCache: tls.NewLRUClientSessionCache(4),
	}}
	stop := context.AfterFunc(ctx, w.cut)
	conn, err := ftp.Dial(address, ftp.DialWithExplicitTLS(w.tls), ftp.DialWithDialFunc(w.dial))
	if err == nil {
		if err = conn.Login(p.opts.User, p.opts.Password.Reveal()); err == nil {
			return &ftps{conn, stop, w}, nil
		}
		_ = conn.Quit()
	}
	stop()
	w.cut()
	return nil, p.ftpError("reach the server for images "+address, ctx, err)
}

// Close ends the session.
func (f *ftps) Close() {
	_ = f.Quit()
	f.stop()
	f.wire.cut()
}

// hide takes the password out of what a server says: some repeat commands.
func (p *Provider) hide(text string) string {
	if secret := p.opts.Password.Reveal(); secret != "" {
		text = strings.ReplaceAll(text, secret, "[secret]")
	}
	return text
}

// ftpError makes an error of a session what it means.
func (p *Provider) ftpError(what string, ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, ctx.Err())
	}
	var said *textproto.Error
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &certificate):
		return fault.Provider(fmt.Errorf("%s: %w: %w; nothing was sent", what, errStranger, certificate))
	case errors.As(err, &said) && said.Code == ftp.StatusNotLoggedIn:
		return fault.Input(fmt.Errorf("%s: it does not accept the user name and the password", what))
	}
	return fault.Provider(fmt.Errorf("%s: %s", what, p.hide(err.Error())))
}

// errStranger is for a server that is not who it should be.
var errStranger = errors.New("its certificate does not prove that it is IONOS'")

// replied is the code of a server's answer, or 0.
func replied(err error) int {
	var said *textproto.Error
	if errors.As(err, &said) {
		return said.Code
	}
	return 0
}

// wire makes the connections of a session.
type wire struct {
	ctx   context.Context
	idle  time.Duration
	reach dialer
	tls   *tls.Config

	mu      sync.Mutex
	control bool // was made
	conns   []net.Conn
}

// dialer is that of net.Dialer.
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// dial makes a connection. The first is the session's: the library speaks TLS on it
// after "AUTH TLS". The library speaks none on the others when it did not make them,
// and would send files in clear.
func (w *wire) dial(network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(w.ctx, w.idle)
	defer cancel()
	raw, err := w.reach(ctx, network, address)
	if err != nil {
		return nil, err
	}
	conn := net.Conn(impatient{raw, w.idle})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns = append(w.conns, conn)
	if !w.control {
		w.control = true
		return conn, nil
	}
	return tls.Client(conn, w.tls), nil
}

// cut closes all connections.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		c.Close()
	}
	w.conns = nil
}

// impatient is a connection on which nothing may rest for longer than this.
type impatient struct {
	net.Conn
	idle time.Duration
}

func (c impatient) Read(b []byte) (int, error) {
	_ = c.SetReadDeadline(time.Now().Add(c.idle))
	return c.Conn.Read(b)
}

func (c impatient) Write(b []byte) (int, error) {
	_ = c.SetWriteDeadline(time.Now().Add(c.idle))
	return c.Conn.Write(b)
}

// fileNames are the names in a folder, those of files that are not complete as well.
func (f *ftps) fileNames(dir string) ([]string, error) {
	list, err := f.List(dir)
	var names []string
	for _, e := range list {
		names = append(names, e.Name)
	}
	return names, err
}

// sizeOf is a file's, or -1 when there is none.
func (f *ftps) sizeOf(file string) (int64, error) {
	n, err := f.FileSize(file)
	if replied(err) == ftp.StatusFileUnavailable {
		return -1, nil
	}
	return n, err
}

// readerAt is bytes as an image.
func readerAt(b []byte) *bytes.Reader { return bytes.NewReader(b) }
