package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"ingot/layers/vpn"
)

// namespace is the VPN's, held open.
type namespace struct {
	path   string
	handle netns.NsHandle
	inode  uint64
}

func openNamespace(path string) (*namespace, error) {
	handle, err := netns.GetFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("the VPN namespace %s: %w", path, err)
	}
	n := &namespace{path: path, handle: handle}
	var s unix.Stat_t
	if err := unix.Fstat(int(handle), &s); err != nil {
		return nil, errors.Join(err, handle.Close())
	}
	n.inode = s.Ino
	return n, nil
}

func (n *namespace) close() { _ = n.handle.Close() }

// still fails when the name stands for another namespace, or none: somebody has
// deleted it, and what lives in the old one is cut off.
func (n *namespace) still() error {
	var s unix.Stat_t
	if err := unix.Stat(n.path, &s); err != nil {
		return fmt.Errorf("the VPN namespace %s is gone: %w", n.path, err)
	}
	if s.Ino != n.inode {
		return fmt.Errorf("the VPN namespace %s is another one now", n.path)
	}
	return nil
}

// renewNamespace has systemd make the namespace anew, and start what lives in it.
func renewNamespace(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "systemctl", "--no-block", "restart", vpn.NamespaceUnit).CombinedOutput()
	if err != nil {
		return fmt.Errorf("restart %s: %w: %s", vpn.NamespaceUnit, err, bytes.TrimSpace(out))
	}
	return nil
}

// inside runs f on a thread that is in the namespace, and so do the programs that
// f starts. The thread ends with f.
func (n *namespace) inside(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := netns.Set(n.handle)
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// vpnLink is the tunnel's interface in the namespace.
type vpnLink struct {
	ns      *namespace
	handle  *netlink.Handle // of the namespace
	link    netlink.Link
	current []netlink.Addr
}

// addLink makes the interface outside, where its encrypted packets leave from,
// and moves it in while it is down and has no address.
func (n *namespace) addLink() (*vpnLink, error) {
	handle, err := netlink.NewHandleAt(n.handle, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("reach into the VPN namespace: %w", err)
	}
	// What a service left that was killed.
	if old, err := netlink.LinkByName(vpn.Interface); err == nil {
		if err := netlink.LinkDel(old); err != nil {
			return nil, fmt.Errorf("remove the old interface %s: %w", vpn.Interface, err)
		}
	}
	if old, err := handle.LinkByName(vpn.Interface); err == nil {
		if err := handle.LinkDel(old); err != nil {
			return nil, fmt.Errorf("remove the old interface %s: %w", vpn.Interface, err)
		}
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = vpn.Interface
	link := &netlink.Wireguard{LinkAttrs: attrs}
	if err := netlink.LinkAdd(link); err != nil {
		return nil, fmt.Errorf("make the interface %s: %w", vpn.Interface, err)
	}
	if err := netlink.LinkSetNsFd(link, int(n.handle)); err != nil {
		return nil, errors.Join(fmt.Errorf("move %s into the VPN namespace: %w", vpn.Interface, err), netlink.LinkDel(link))
	}
	moved, err := handle.LinkByName(vpn.Interface)
	if err != nil {
		return nil, fmt.Errorf("find %s in the VPN namespace: %w", vpn.Interface, err)
	}
	return &vpnLink{ns: n, handle: handle, link: moved}, nil
}

// configure gives the interface a tunnel's keys, addresses and routes. It is never
// without its namespace, so what is missing in between goes nowhere.
func (l *vpnLink) configure(ctx context.Context, t vpn.Tunnel, address string) error {
	if err := l.wg(ctx, wgConfig(t, address), nil, "setconf", vpn.Interface, "/dev/stdin"); err != nil {
		return err
	}
	mtu := cmp.Or(t.MTU, vpn.DefaultMTU)
	if err := l.handle.LinkSetMTU(l.link, mtu); err != nil {
		return fmt.Errorf("set the MTU %d: %w", mtu, err)
	}
	err := l.ns.inside(func() error { return withIPv6(vpn.Interface, t.HasIPv6()) })
	if err != nil {
		return err
	}
	if err := l.addresses(t.Addresses); err != nil {
		return err
	}
	if err := l.handle.LinkSetUp(l.link); err != nil {
		return fmt.Errorf("switch %s on: %w", vpn.Interface, err)
	}
	for _, p := range t.AllowedIPs {
		if p.Addr().Is6() && !t.HasIPv6() {
			continue
		}
		route := netlink.Route{LinkIndex: l.link.Attrs().Index, Dst: ipNet(p), Scope: netlink.SCOPE_LINK}
		if p.Addr().Is6() {
			route.Scope = netlink.SCOPE_UNIVERSE
		}
		if err := l.handle.RouteReplace(&route); err != nil {
			return fmt.Errorf("set the route to %s: %w", p, err)
		}
	}
	return nil
}

// addresses replaces those of another provider's file. Routes of theirs go along.
func (l *vpnLink) addresses(list []netip.Prefix) error {
	wanted := map[string]bool{}
	for _, p := range list {
		wanted[p.String()] = true
	}
	for _, a := range l.current {
		if !wanted[a.IPNet.String()] {
			if err := l.handle.AddrDel(l.link, &a); err != nil {
				return fmt.Errorf("remove the address %s: %w", a.IPNet, err)
			}
		}
	}
	l.current = nil
	for _, p := range list {
		a := netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD // there are no neighbours
		}
		if err := l.handle.AddrReplace(l.link, &a); err != nil {
			return fmt.Errorf("set the address %s: %w", p, err)
		}
		l.current = append(l.current, a)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// withIPv6 is called in the namespace.
func withIPv6(link string, on bool) error {
	value := "1\n"
	if on {
		value = "0\n"
	}
	err := os.WriteFile("/proc/sys/net/ipv6/conf/"+link+"/disable_ipv6", []byte(value), 0)
	if errors.Is(err, fs.ErrNotExist) && !on { // a kernel without IPv6
		return nil
	}
	if err != nil {
		return fmt.Errorf("IPv6 in the VPN namespace: %w", err)
	}
	return nil
}

// wg runs wg(8) in the namespace. Keys go through its input: arguments are for
// everybody to see.
func (l *vpnLink) wg(ctx context.Context, input string, output *bytes.Buffer, args ...string) error {
	return l.ns.inside(func() error {
		var problem bytes.Buffer
		cmd := exec.CommandContext(ctx, "wg", args...)
		cmd.Stdin, cmd.Stderr = strings.NewReader(input), &problem
		if output != nil {
			cmd.Stdout = output
		}
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("wg %s: %w: %s", args[0], err, bytes.TrimSpace(problem.Bytes()))
		}
		return nil
	})
}

// lastHandshake is in seconds since 1970, 0 when there was none. It fails when the
// interface is gone.
func (l *vpnLink) lastHandshake(ctx context.Context) (int64, error) {
	var out bytes.Buffer
	if err := l.wg(ctx, "", &out, "show", vpn.Interface, "latest-handshakes"); err != nil {
		return 0, err
	}
	fields := strings.Fields(out.String())
	if len(fields) < 2 {
		return 0, nil // no peer: its name has no address
	}
	return strconv.ParseInt(fields[1], 10, 64)
}

// resolve gives an endpoint as an address with a port; round chooses among several
// addresses, so that each has its turn.
func resolve(ctx context.Context, endpoint string, round int) (string, error) {
	if a, err := netip.ParseAddrPort(endpoint); err == nil {
		return a.String(), nil
	}
	host, port, err := net.SplitHostPort(endpoint)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(addresses[round%len(addresses)], port), nil
}

// writeResolver writes in place: containers have the file itself mounted.
func writeResolver(file string, dns []netip.Addr) error {
	var b strings.Builder
	b.WriteString("# The VPN's resolvers; there is no other way to one from here.\n")
	for _, a := range dns {
		fmt.Fprintf(&b, "nameserver %s\n", a)
	}
	return os.WriteFile(file, []byte(b.String()), 0o644)
}

// useOptions puts what ingot.yaml says into the provider's tunnels.
func useOptions(tunnels []vpn.Tunnel, data []byte) error {
	var o vpn.AgentOptions
	if err := json.Unmarshal(data, &o); err != nil {
		return fmt.Errorf("read %s: %w", vpn.OptionsPath, err)
	}
	var dns []netip.Addr
	for _, text := range o.DNS {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("%s: %w", vpn.OptionsPath, err)
		}
		dns = append(dns, a)
	}
	for i := range tunnels {
		if len(dns) > 0 {
			tunnels[i].DNS = dns
		}
	}
	return nil
}
