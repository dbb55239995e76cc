package assay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"ingot/qemu-tests/internet"
)

// Shell runs commands as root on the machine, over SSH through the tunnel.
type Shell struct {
	client *ssh.Client

	mu   sync.Mutex
	idle []*pipe // shells that wait for a command
}

// sshTime is how long a connection and its login may take under KVM, and longer
// than sshd shuts an address out for after a few refusals.
const sshTime = 30 * time.Second

// login tries one way to authenticate through the tunnel. The host key must
// be the one whose fingerprint the console showed.
func (b *Booted) login(ctx context.Context, t *internet.Tunnel, user, fingerprint string, method ssh.AuthMethod) (*ssh.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, b.lab.Timeout(sshTime))
	defer cancel()
	addr := net.JoinHostPort(b.id.serverTunnel, b.id.sshPort)
	conn, err := t.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect to SSH in the tunnel: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	c, channels, requests, err := ssh.NewClientConn(conn, addr, &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{method}, HostKeyCallback: ofFingerprint(fingerprint),
	})
	if err != nil {
		conn.Close()
		return nil, err
	}
	return ssh.NewClient(c, channels, requests), nil
}

// ofFingerprint wants the host key that the console showed.
func ofFingerprint(fingerprint string) ssh.HostKeyCallback {
	return func(_ string, _ net.Addr, key ssh.PublicKey) error {
		if got := ssh.FingerprintSHA256(key); got != fingerprint {
			return fmt.Errorf("the host key is %s and the console said %s", got, fingerprint)
		}
		return nil
	}
}

// Shell logs in as the administrator.
func (b *Booted) Shell(ctx context.Context, t *internet.Tunnel, fingerprint string) (*Shell, error) {
	c, err := b.patientLogin(ctx, t, b.id.Plan.Site.Admin.User, fingerprint, ssh.PublicKeys(b.id.admin))
	if err != nil {
		return nil, b.Failure(fmt.Errorf("log in with the administrator's key: %w", err))
	}
	return &Shell{client: c}, nil
}

// patientLogin tries to log in until the server has judged it.
func (b *Booted) patientLogin(ctx context.Context, t *internet.Tunnel, user, fingerprint string, method ssh.AuthMethod) (*ssh.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, b.lab.Timeout(sshTime))
	defer cancel()
	return patiently(ctx, func() (*ssh.Client, error) { return b.login(ctx, t, user, fingerprint, method) })
}

// patiently tries again what the server did not judge, as a person would:
// connections are refused or reset while sshd's socket comes up with the
// tunnel's interface, and for a while after a few refusals (PerSourcePenalties).
func patiently[T any](ctx context.Context, try func() (T, error)) (T, error) {
	v, err := try()
	for err != nil && ctx.Err() == nil && !isAuthFailure(err) {
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
			v, err = try()
		}
	}
	return v, err
}

// Close ends the connection.
func (s *Shell) Close() error { return s.client.Close() }

// Output is what a command on the machine printed and how it ended.
type Output struct {
	Stdout, Stderr string
	Exit           int
}

// Run runs argv as root. The error is about the connection; a command that
// fails is an Output with its exit code. The end of ctx ends the connection:
// a machine that does not answer in time is lost. It may be called from several
// goroutines; each gets a shell of its own.
func (s *Shell) Run(ctx context.Context, argv ...string) (Output, error) {
	stop := context.AfterFunc(ctx, func() { s.client.Close() })
	defer stop()
	p, err := s.pipe()
	if err != nil {
		return Output{}, errors.Join(ctx.Err(), err)
	}
	out, err := p.run(quote(argv))
	if err != nil {
		return Output{}, errors.Join(ctx.Err(), fmt.Errorf("run %s: %w", argv[0], err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle = append(s.idle, p)
	return out, nil
}

// Feed is Run with something to read for the command, and a session of its own.
func (s *Shell) Feed(ctx context.Context, stdin io.Reader, argv ...string) (Output, error) {
	stop := context.AfterFunc(ctx, func() { s.client.Close() })
	defer stop()
	session, err := s.client.NewSession()
	if err != nil {
		return Output{}, errors.Join(ctx.Err(), fmt.Errorf("open a session: %w", err))
	}
	defer session.Close()
	var stdout, stderr bytes.Buffer
	session.Stdin, session.Stdout, session.Stderr = stdin, &stdout, &stderr
	err = session.Run("sudo -n -- " + quote(argv))
	out := Output{Stdout: stdout.String(), Stderr: stderr.String()}
	var exit *ssh.ExitError
	switch {
	case err == nil:
		return out, nil
	case ctx.Err() != nil:
		return out, ctx.Err()
	case errors.As(err, &exit):
		out.Exit = exit.ExitStatus()
		return out, nil
	}
	return out, fmt.Errorf("run %s: %w", argv[0], err)
}

// Leave asks systemd to "reboot" or "poweroff". The machine may be gone before it
// has said how the command ended.
func (s *Shell) Leave(ctx context.Context, verb string) error {
	out, err := s.Feed(ctx, nil, "systemctl", verb, "--no-block")
	var gone *ssh.ExitMissingError
	switch {
	case errors.As(err, &gone):
		return nil
	case err != nil:
		return fmt.Errorf("ask for %s: %w", verb, err)
	case out.Exit != 0:
		return fmt.Errorf("ask for %s: %s", verb, clip(out.Stderr))
	}
	return nil
}

// quote makes one line of words for a POSIX shell.
func quote(argv []string) string {
	quoted := make([]string, len(argv))
	for i, a := range argv {
		quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
	}
	return strings.Join(quoted, " ")
}

// isAuthFailure tells a server's refusal from every other failure. The client
// library has no error type for it.
func isAuthFailure(err error) bool {
	return strings.Contains(err.Error(), "unable to authenticate")
}
