package hetzner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/crypto/ssh"

	"ingot/fault"
)

const (
	// bootTime is how long a server may take until it answers by SSH.
	bootTime = 5 * time.Minute
	// dialTime is for one attempt, the handshake included.
	dialTime = 15 * time.Second
)

// errHostKey ends the attempts: somebody else answers.
var errHostKey = errors.New("what answers there has another SSH host key than the server was given: nothing was sent to it")

// connect opens a connection to a server that boots, as soon as it answers.
func (p *Provider) connect(ctx context.Context, addresses []netip.Addr, client, host key) (*ssh.Client, error) {
	signer, err := ssh.NewSignerFromKey(client.private)
	if err != nil {
		return nil, err
	}
	config := &ssh.ClientConfig{
		User:              "root",
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
		HostKeyCallback: func(_ string, _ net.Addr, got ssh.PublicKey) error {
			if !bytes.Equal(got.Marshal(), host.public.Marshal()) {
				return errHostKey
			}
			return nil
		},
	}
	ctx, cancel := context.WithTimeoutCause(ctx, bootTime, fault.Provider(fmt.Errorf("the temporary server does not answer by SSH after %s", bootTime)))
	defer cancel()
	if len(addresses) == 0 {
		return nil, fault.Provider(errors.New("the temporary server has no public address"))
	}
	// At all addresses at once: this machine may have no IPv6, or have it and lose
	// what it sends there.
	type result struct {
		c   *ssh.Client
		err error
	}
	results := make(chan result)
	for _, address := range addresses {
		go func() {
			c, err := p.knock(ctx, net.JoinHostPort(address.String(), strconv.Itoa(p.opts.SSHPort)), config)
			results <- result{c, err}
		}()
	}
	var found *ssh.Client
	var failed error
	for range addresses {
		r := <-results
		switch {
		case r.err == nil && found == nil:
			found = r.c
			cancel() // the others end soon
		case r.err == nil:
			r.c.Close()
		default:
			failed = errors.Join(failed, r.err)
			if errors.Is(r.err, errHostKey) {
				cancel() // somebody else is there, whoever answers elsewhere
			}
		}
	}
	switch {
	case errors.Is(failed, errHostKey):
		if found != nil {
			found.Close()
		}
		return nil, fault.Provider(fmt.Errorf("connect to the temporary server: %w", errHostKey))
	case found != nil:
		return found, nil
	}
	return nil, fmt.Errorf("connect to the temporary server: %w", failed)
}

// knock tries until an address answers, or somebody else does there.
func (p *Provider) knock(ctx context.Context, address string, config *ssh.ClientConfig) (*ssh.Client, error) {
	for n := 0; ; n++ {
		c, err := handshake(ctx, address, config)
		if err == nil {
			return c, nil
		}
		if errors.Is(err, errHostKey) {
			return nil, errHostKey
		}
		if paused := p.pause(ctx, n); paused != nil {
			return nil, errors.Join(cause(ctx), fmt.Errorf("%s: %w", address, err), paused)
		}
	}
}

func handshake(ctx context.Context, address string, config *ssh.ClientConfig) (*ssh.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	c, channels, requests, err := ssh.NewClientConn(conn, address, config)
	if err != nil {
		conn.Close()
		return nil, err
	}
	if !stop() {
		c.Close()
		return nil, ctx.Err()
	}
	return ssh.NewClient(c, channels, requests), nil
}
