// Package libvirt runs servers on a host of one's own: images are volumes of a
// storage pool, servers are domains of QEMU, the wall before each is a network
// filter (nwfilter).
//
// libvirt gives volumes and filters no labels. A volume's name holds the label
// [providers.LabelID], a filter's is in the comment of its first rule, a DHCP
// reservation's in its name, a domain's are in its metadata. What a server uses is
// the server's, whatever its name says: disks and addresses may have been moved.
package libvirt

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	api "github.com/digitalocean/go-libvirt"

	"ingot/fault"
	"ingot/providers"
)

// Options say which libvirt, and what servers are made of there.
type Options struct {
	// URI is libvirt's name of a connection: "qemu:///system" (the default), the
	// path of a socket, "qemu+ssh://root@host/system", "qemu+tcp://host/system".
	URI string
	// Pool and Network are libvirt's names of the storage pool and of the network,
	// "default" when empty.
	Pool, Network string
	Memory        int   // in MiB, 1024 when zero
	CPUs          int   // 2 when zero
	Disk          int64 // in bytes, 10 GiB when zero
	// State is the size in bytes of a disk for the server's state, which can move to
	// another server. Zero is none: the state is on the disk that is booted.
	State int64
	// Accelerator is "kvm" or "qemu" (no acceleration). When empty it is kvm if
	// libvirt says that the host has it; that /dev/kvm can be opened is all it
	// knows, so name "qemu" when servers never get beyond the firmware.
	Accelerator string
	// Emulator is the path of QEMU on libvirt's host; empty is libvirt's choice.
	Emulator string
	// ConsoleDir is a folder on libvirt's host that the servers' consoles are
	// recorded in, NAME.log; empty is none. "virsh console NAME" shows them anyway.
	ConsoleDir string
	// Patience is how long a server may take to switch itself off before its power is
	// cut, 3 minutes when zero.
	Patience time.Duration
}

const (
	defaultURI      = "qemu:///system"
	defaultName     = "default" // libvirt's own first pool and network
	defaultMemory   = 1024      // MiB
	defaultCPUs     = 2
	defaultDisk     = 10 << 30 // bytes; docs/image.md: 5 GiB or more
	defaultPatience = 3 * time.Minute
)

// Provider is one libvirt. It implements providers.Provider and providers.Mover.
type Provider struct {
	o     Options
	uri   *url.URL
	stall time.Duration

	mu   sync.Mutex
	conn *api.Libvirt
}

var (
	_ providers.Provider = (*Provider)(nil)
	_ providers.Mover    = (*Provider)(nil)
)

// New connects to libvirt and looks whether the pool and the network can be used.
func New(ctx context.Context, o Options) (*Provider, error) {
	uri, err := parseURI(o.URI)
	if err != nil {
		return nil, fault.Input(err)
	}
	if o.Accelerator != "" && o.Accelerator != "kvm" && o.Accelerator != "qemu" {
		return nil, fault.Input(fmt.Errorf("the accelerator %q is not known: name kvm, qemu, or none to have libvirt say", o.Accelerator))
	}
	p := &Provider{o: withDefaults(o), uri: uri, stall: defaultStall}
	for _, check := range []func(context.Context) error{p.checkPool, p.checkNetwork} {
		if err := check(ctx); err != nil {
			p.Close()
			return nil, err
		}
	}
	return p, nil
}

func withDefaults(o Options) Options {
	orElse := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	orElse(&o.Pool, defaultName)
	orElse(&o.Network, defaultName)
	if o.Memory == 0 {
		o.Memory = defaultMemory
	}
	if o.CPUs == 0 {
		o.CPUs = defaultCPUs
	}
	if o.Disk == 0 {
		o.Disk = defaultDisk
	}
	if o.Patience == 0 {
		o.Patience = defaultPatience
	}
	return o
}

func parseURI(text string) (*url.URL, error) {
	if text == "" {
		text = defaultURI
	}
	if strings.HasPrefix(text, "/") {
		text = "qemu+unix:///system?socket=" + url.QueryEscape(text)
	}
	uri, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("the URI of libvirt cannot be read; use one like qemu:///system, qemu+ssh://root@host/system or the path of its socket")
	case !strings.HasPrefix(uri.Scheme, "qemu"):
		return nil, fmt.Errorf("%s is not a URI of libvirt's QEMU; use qemu:///system, or qemu+ssh://root@host/system", uri.Redacted())
	case uri.Path != "/system":
		return nil, fmt.Errorf("%s is not the system's libvirt, and only that has networks and filters; use a URI that ends in /system", uri.Redacted())
	case hasPassword(uri):
		return nil, errors.New("the URI of libvirt holds a password, which would be shown and written down; use a key")
	}
	return uri, nil
}

func hasPassword(uri *url.URL) bool { _, has := uri.User.Password(); return has }

// Name implements providers.Provider.
func (p *Provider) Name() string { return "libvirt" }

// Account implements providers.Provider: it is the URI, with the pool and the network
// that are looked through when they are not libvirt's own.
func (p *Provider) Account() string {
	account := p.uri.String()
	for _, o := range []struct{ name, value string }{{"pool", p.o.Pool}, {"network", p.o.Network}} {
		if o.value != defaultName {
			account += " " + o.name + "=" + o.value
		}
	}
	return account
}

// Close ends the connection.
func (p *Provider) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn == nil {
		return nil
	}
	err := p.conn.Disconnect()
	p.conn = nil
	return err
}

// libvirt is the connection, made anew after the last one ended.
func (p *Provider) libvirt(ctx context.Context) (*api.Libvirt, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != nil {
		select {
		case <-p.conn.Disconnected():
		default:
			return p.conn, nil
		}
	}
	conn, err := await(ctx, func() (*api.Libvirt, error) { return api.ConnectToURI(p.uri) })
	if err != nil {
		return nil, p.unreachable(err)
	}
	p.conn = conn
	return conn, nil
}

// drop ends a connection that a call hangs on. The next call makes another.
func (p *Provider) drop(conn *api.Libvirt) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn == conn {
		p.conn = nil
	}
	go func() { _ = conn.Disconnect() }() // it waits for what hangs
}

// unreachable says what to do about a connection that could not be made.
func (p *Provider) unreachable(err error) error {
	local := p.uri.Host == ""
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case local && errors.Is(err, os.ErrPermission):
		return fault.Machine(fmt.Errorf("you may not talk to libvirt: %w; join its group with 'adduser $USER libvirt' and log in again, or be root", err))
	case local:
		return fault.Machine(fmt.Errorf("libvirt does not answer at %s: %w; install libvirt-daemon-system, start it with 'systemctl start libvirtd', or name another URI", p.Account(), err))
	}
	return fault.Provider(fmt.Errorf("libvirt does not answer at %s: %w; is it running there, and may you log in?", p.Account(), err))
}
