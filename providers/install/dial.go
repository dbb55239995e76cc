// Package install turns a machine that can be reached by SSH into an Ingot: it writes
// an image over the machine's disk, from a rescue system or from the very system that
// is on that disk.
//
// Nothing is believed: the machine shows a host key that is known, the disk is named
// and agreed to, and what was written is read back. The half that runs on the machine
// is package writer.
package install

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"ingot/fault"
)

// Target is a machine, and how to get into it.
type Target struct {
	User string // root when empty; another one needs sudo without a password
	Host string // a name or an address
	Port int    // 22 when 0
	// HostKey is the fingerprint of the machine's host key, "SHA256:…". When empty
	// the key must be in KnownHosts.
	HostKey string
	// KnownHosts are files as of ssh; nil is ~/.ssh/known_hosts and
	// /etc/ssh/ssh_known_hosts.
	KnownHosts []string
	// Identity is the file of a private key. When empty those of ~/.ssh with the
	// usual names are tried. The keys of the ssh-agent are tried in any case.
	Identity string
	// Auth is used in place of Identity and the agent when it is not nil.
	Auth []ssh.AuthMethod
	// DialContext makes the connection; nil is the network's.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
}

// ParseTarget reads "[USER@]HOST[:PORT]".
func ParseTarget(s string) (Target, error) {
	t := Target{User: "root"}
	rest := s
	if name, host, ok := strings.Cut(s, "@"); ok {
		t.User, rest = name, host
	}
	t.Host = strings.Trim(rest, "[]")
	// An IPv6 address without brackets has more than one colon.
	if host, port, err := net.SplitHostPort(rest); err == nil {
		number, err := strconv.ParseUint(port, 10, 16)
		if err != nil || number == 0 {
			return t, fault.Input(fmt.Errorf("%q is no port", port))
		}
		t.Host, t.Port = host, int(number)
	}
	if t.User == "" || t.Host == "" || strings.HasPrefix(t.Host, "-") || strings.ContainsAny(t.Host, " /@") {
		return t, fault.Input(fmt.Errorf("%q is no machine: write root@HOST, or root@HOST:PORT", s))
	}
	return t, nil
}

// String is the target as a person writes it.
func (t Target) String() string {
	s := cmp.Or(t.User, "root") + "@" + t.Host
	if t.Port != 0 && t.Port != 22 {
		s = cmp.Or(t.User, "root") + "@" + t.address()
	}
	return s
}

func (t Target) address() string { return net.JoinHostPort(t.Host, strconv.Itoa(cmp.Or(t.Port, 22))) }

// dialTime is how long a connection and its login may take.
const dialTime = 30 * time.Second

// Dial connects to a machine and logs in. An unknown host key is an error that shows
// its fingerprint, as is one that has changed.
func Dial(ctx context.Context, t Target) (*ssh.Client, error) {
	keys, err := t.hostKeys()
	if err != nil {
		return nil, err
	}
	auth, done, err := t.auth()
	if err != nil {
		return nil, err
	}
	defer done()
	for n := 0; ; n++ {
		client, err := t.connect(ctx, auth, keys, n)
		switch {
		case err == nil:
			return client, nil
		case n < len(keys.algorithms)-1 && keys.again(err):
			continue
		}
		return nil, t.explain(err, keys)
	}
}

// connect tries one of the lists of host key algorithms.
func (t Target) connect(ctx context.Context, auth []ssh.AuthMethod, keys *hostKeys, n int) (*ssh.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	dial := t.DialContext
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	conn, err := dial(ctx, "tcp", t.address())
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	c, channels, requests, err := ssh.NewClientConn(conn, t.address(), &ssh.ClientConfig{
		User: cmp.Or(t.User, "root"), Auth: auth, HostKeyCallback: keys.check, HostKeyAlgorithms: keys.algorithms[n],
		ClientVersion: "SSH-2.0-Ingot",
	})
	if err != nil {
		conn.Close()
		return nil, errors.Join(ctx.Err(), err)
	}
	return ssh.NewClient(c, channels, requests), nil
}

// explain says what to do.
func (t Target) explain(err error, keys *hostKeys) error {
	if refused := keys.refused(t); refused != nil {
		return refused
	}
	if strings.Contains(err.Error(), "unable to authenticate") { // the library has no type for it
		return fault.Input(fmt.Errorf("%s does not let us in: give the private key whose public half is there, or put it into ssh-agent: %w", t, err))
	}
	return fault.Provider(fmt.Errorf("connect to %s: %w", t, err))
}
