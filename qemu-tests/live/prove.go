package live

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"ingot/layers"
	"ingot/qemu-tests/assay"
	"ingot/qemu-tests/verdict"
)

// Options of a proof.
type Options struct {
	// Plan is what the machine promises, with its own instance part.
	Plan layers.Plan
	// RootHash is that of the image that the machine must run, in hex.
	RootHash string
	// Client is a client's WireGuard config.
	Client []byte
	// Server is where the machine is on the internet; Public are all of its
	// addresses, which are tried from here as a stranger would.
	Server netip.Addr
	Public []netip.Addr
	// Inner is the machine's address in the tunnel.
	Inner netip.Addr
	// Auth are the ways in which the administrator can log in.
	Auth []ssh.AuthMethod
	// Patience is how long the machine may take to answer in the tunnel.
	Patience time.Duration
	Progress func(verdict.Result) // nil for none
}

// Proof is what was seen.
type Proof struct {
	// HostKey is the fingerprint of the machine's SSH host key. The tunnel vouches
	// for it: who answers there has the server's WireGuard key.
	HostKey string           `json:"host_key"`
	Ready   float64          `json:"ready_seconds"` // until the tunnel answered
	Checks  []verdict.Result `json:"checks"`
	// NotMade are the checks that need a simulated internet.
	NotMade []string `json:"not_made"`
	// Unreached are the machine's addresses that this computer has no way to: nobody
	// has looked at them from outside.
	Unreached []netip.Addr `json:"unreached"`
}

// Failed are the checks that did not hold or could not be made.
func (p Proof) Failed() []verdict.Result {
	return slices.DeleteFunc(slices.Clone(p.Checks), func(r verdict.Result) bool { return r.Result == verdict.Passed })
}

// Prove connects as the owner and looks at the machine. The error is for what kept
// it from looking: no answer in the tunnel, no login.
func Prove(ctx context.Context, o Options) (Proof, error) {
	p := Proof{Unreached: []netip.Addr{}}
	err := p.visit(ctx, o, func(shell *assay.Shell) {
		p.look(ctx, shell, o)
		for _, a := range o.Public {
			if !routed(a) { // many an owner has no IPv6
				p.Unreached = append(p.Unreached, a)
				continue
			}
			p.add(o, outside(ctx, o.Plan, a))
		}
	})
	return p, err
}

// Reach connects as the owner and does no more.
func Reach(ctx context.Context, o Options) (Proof, error) {
	var p Proof
	err := p.visit(ctx, o, func(*assay.Shell) {})
	return p, err
}

// visit connects, and has something done with a shell on the machine.
func (p *Proof) visit(ctx context.Context, o Options, do func(*assay.Shell)) error {
	t, err := Connect(o.Client, netip.AddrPortFrom(o.Server, wireguardPort(o.Plan)))
	if err != nil {
		return err
	}
	defer t.Close()
	begun := time.Now()
	waiting, cancel := context.WithTimeoutCause(ctx, o.Patience, fmt.Errorf("it did not answer within %s", o.Patience))
	defer cancel()
	if err := t.Handshake(waiting); err != nil {
		return err
	}
	p.Ready = time.Since(begun).Seconds()
	shell, err := p.login(waiting, t, o)
	if err != nil {
		return err
	}
	defer shell.Close()
	do(shell)
	return ctx.Err()
}

// wireguardPort is where the machine's tunnel listens.
func wireguardPort(plan layers.Plan) uint16 {
	for _, p := range plan.Ports {
		if p.Silent && p.Proto == "udp" && p.From == layers.FromInternet {
			return uint16(p.Port)
		}
	}
	return 0
}

func (p *Proof) add(o Options, r verdict.Result) {
	p.Checks = append(p.Checks, r)
	if o.Progress != nil {
		o.Progress(r)
	}
}

// login waits for SSH, which comes up with the tunnel.
func (p *Proof) login(ctx context.Context, t *Tunnel, o Options) (*assay.Shell, error) {
	address, err := sshAddress(o)
	if err != nil {
		return nil, err
	}
	config := &ssh.ClientConfig{
		User: o.Plan.Site.Admin.User, Auth: o.Auth,
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			p.HostKey = ssh.FingerprintSHA256(key)
			return nil
		},
	}
	for {
		client, err := dial(ctx, t, address, config)
		if err == nil {
			return assay.NewShell(client), nil
		}
		// A refusal is final; that nobody listens yet is not.
		if strings.Contains(err.Error(), "unable to authenticate") {
			return nil, fmt.Errorf("the machine answers in the tunnel and does not let %s in: %w; is the private half of a key in admin.keys here?", config.User, err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("the machine answers in the tunnel, and SSH does not: %w", err)
		case <-time.After(time.Second):
		}
	}
}

// loginTime is how long one login may take: sshd itself waits for 30 s.
const loginTime = 40 * time.Second

func dial(ctx context.Context, t *Tunnel, address string, config *ssh.ClientConfig) (*ssh.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, loginTime)
	defer cancel()
	conn, err := t.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	c, channels, requests, err := ssh.NewClientConn(conn, address, config)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return ssh.NewClient(c, channels, requests), nil
}

// sshAddress is where SSH listens in the tunnel.
func sshAddress(o Options) (string, error) {
	for _, p := range o.Plan.Ports {
		if p.Layer == "ssh" {
			return netip.AddrPortFrom(o.Inner, uint16(p.Port)).String(), nil
		}
	}
	return "", errors.New("the plan has no SSH to look at the machine with; add the layer ssh")
}

// atOnce is how many checks are made at a time: sshd takes two sessions of a
// connection and refuses a third (layers/ssh, MaxSessions).
const atOnce = 2

// look makes the checks that need a shell, after the one that the machine runs the
// image.
func (p *Proof) look(ctx context.Context, shell *assay.Shell, o Options) {
	p.add(o, shell.Look(ctx, layers.Check{
		ID: "live.image", Layer: "live", Title: "the machine runs this image",
		Command: &layers.CommandCheck{Argv: []string{"cat", "/proc/cmdline"}, Contains: "roothash=" + o.RootHash},
	}, nil))
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(atOnce)
	for _, c := range o.Plan.Checks {
		if !assay.NeedsShell(c) {
			p.NotMade = append(p.NotMade, c.ID)
			continue
		}
		group.Go(func() error {
			r := shell.Look(ctx, c, o.Plan.Ports)
			mu.Lock()
			defer mu.Unlock()
			p.add(o, r)
			return nil
		})
	}
	_ = group.Wait() // results have their problems
}
