package assay

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"ingot/layers"
)

// offer asks sshd what it offers: its algorithms by the first message of a
// connection, its methods by a login that shows nothing.
func (r *run) offer(ctx context.Context, c layers.SSHOfferCheck) (string, error) {
	if c.User == "" {
		c.User = r.id.Plan.Site.Admin.User
	}
	ctx, cancel := context.WithTimeout(ctx, r.lab.Timeout(sshTime))
	defer cancel()
	address := net.JoinHostPort(r.id.serverTunnel, r.id.sshPort)
	lists, err := patiently(ctx, func() (map[string][][]string, error) {
		return askOffer(ctx, r.tunnel.DialContext, address, ofFingerprint(r.fingerprint), c)
	})
	if err != nil {
		return "", err
	}
	return judgeOffer(lists, c)
}

// askOffer returns the lists that a check is about. Where an algorithm is chosen
// for each direction, there are two.
func askOffer(ctx context.Context, dial dialer, address string, hostKey ssh.HostKeyCallback, c layers.SSHOfferCheck) (map[string][][]string, error) {
	lists := map[string][][]string{}
	connect := func(ask func(net.Conn) error) error {
		conn, err := dial(ctx, "tcp", address)
		if err != nil {
			return fmt.Errorf("connect to SSH in the tunnel: %w", err)
		}
		defer conn.Close()
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		defer stop()
		return ask(conn)
	}
	if c.Kex != nil || c.HostKeys != nil || c.Ciphers != nil || c.MACs != nil {
		err := connect(func(conn net.Conn) error {
			k, err := readKexInit(conn)
			lists["kex"], lists["host keys"] = [][]string{k.Kex}, [][]string{k.HostKeys}
			lists["ciphers"], lists["MACs"] = [][]string{k.CiphersIn, k.CiphersOut}, [][]string{k.MACsIn, k.MACsOut}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if c.Methods != nil {
		err := connect(func(conn net.Conn) error {
			methods, err := askMethods(conn, address, c.User, hostKey)
			lists["methods"] = [][]string{methods}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return lists, nil
}

// judgeOffer compares. Signals that servers put among the key exchanges are none
// of the exact list: that of RFC 8308 and that against the Terrapin attack.
func judgeOffer(lists map[string][][]string, c layers.SSHOfferCheck) (string, error) {
	var evidence, problems []string
	for _, x := range []struct {
		name string
		want *layers.Names
	}{{"kex", c.Kex}, {"host keys", c.HostKeys}, {"ciphers", c.Ciphers}, {"MACs", c.MACs}, {"methods", c.Methods}} {
		if x.want == nil {
			continue
		}
		if len(lists[x.name]) == 0 {
			return "", fmt.Errorf("sshd was not asked for its %s", x.name)
		}
		evidence = append(evidence, x.name+" "+strings.Join(lists[x.name][0], ","))
		for _, got := range lists[x.name] {
			if p := nameProblems(got, *x.want); len(p) > 0 {
				problems = append(problems, x.name+": "+strings.Join(p, ", "))
				break // the other direction's are the same, as a rule
			}
		}
	}
	text := strings.Join(evidence, "; ")
	if len(problems) > 0 {
		return text, unmet("%s", strings.Join(problems, "; "))
	}
	return text, nil
}

// isSignal tells names in a list of key exchanges that are no algorithms.
func isSignal(name string) bool {
	return strings.HasPrefix(name, "ext-info-") || strings.HasPrefix(name, "kex-strict-")
}

func nameProblems(got []string, want layers.Names) []string {
	var list []string
	for _, name := range slices.Concat(want.Exactly, want.Offers) {
		if !slices.Contains(got, name) {
			list = append(list, name+" is not offered")
		}
	}
	for _, name := range got {
		extra := len(want.Exactly) > 0 && !slices.Contains(want.Exactly, name) && !isSignal(name)
		if extra || slices.Contains(want.Refuses, name) {
			list = append(list, name+" is offered")
		}
	}
	return list
}

// kexInit is SSH_MSG_KEXINIT, RFC 4253 §7.1. In is to the server.
type kexInit struct {
	Cookie                                                                                 [16]byte `sshtype:"20"`
	Kex, HostKeys                                                                          []string
	CiphersIn, CiphersOut, MACsIn, MACsOut, CompressionIn, CompressionOut, LangIn, LangOut []string
	FirstFollows                                                                           bool
	Reserved                                                                               uint32
}

// Limits of RFC 4253: lines before the version are not limited there (§4.2).
const (
	maxGreeting = 8 << 10
	maxPacket   = 35000 // §6.1
)

// readKexInit reads a server's first message. The library keeps it to itself.
func readKexInit(conn io.ReadWriter) (kexInit, error) {
	var k kexInit
	if _, err := io.WriteString(conn, "SSH-2.0-ingot\r\n"); err != nil {
		return k, fmt.Errorf("greet sshd: %w", err)
	}
	in := bufio.NewReader(io.LimitReader(conn, maxGreeting+maxPacket))
	if err := readVersion(in); err != nil {
		return k, err
	}
	var head struct {
		Length  uint32 // of what follows it
		Padding uint8
	}
	if err := binary.Read(in, binary.BigEndian, &head); err != nil {
		return k, fmt.Errorf("read sshd's first packet: %w", err)
	}
	if head.Length > maxPacket || head.Length < uint32(head.Padding)+2 {
		return k, fmt.Errorf("sshd's first packet claims %d bytes, %d of them padding", head.Length, head.Padding)
	}
	packet := make([]byte, head.Length-1)
	if _, err := io.ReadFull(in, packet); err != nil {
		return k, fmt.Errorf("read sshd's first packet: %w", err)
	}
	if err := ssh.Unmarshal(packet[:len(packet)-int(head.Padding)], &k); err != nil {
		return k, fmt.Errorf("sshd's first message does not say what it offers: %w", err)
	}
	return k, nil
}

// readVersion reads what a server says before the first packet.
func readVersion(in *bufio.Reader) error {
	said := ""
	for len(said) < maxGreeting {
		line, err := in.ReadString('\n')
		if err != nil {
			return fmt.Errorf("sshd does not say its version but %q: %w", clip(said+line), err)
		}
		if strings.HasPrefix(line, "SSH-") {
			return nil
		}
		said += line
	}
	return fmt.Errorf("sshd does not say its version but %q", clip(said))
}

// errAsked ends a login once it has told which methods there are.
var errAsked = errors.New("the methods are known")

// askMethods returns the methods in the refusal of a login without any.
func askMethods(conn net.Conn, address, user string, hostKey ssh.HostKeyCallback) ([]string, error) {
	var methods []string
	c, channels, requests, err := ssh.NewClientConn(conn, address, &ssh.ClientConfig{
		User: user, HostKeyCallback: hostKey,
		AuthCallback: func(a *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
			methods = a.AllowedMethods
			return nil, errAsked
		},
	})
	switch {
	case err == nil: // nothing at all is enough
		return []string{"none"}, ssh.NewClient(c, channels, requests).Close()
	case errors.Is(err, errAsked):
		return methods, nil
	}
	return nil, fmt.Errorf("ask sshd for its methods: %w", err)
}
