package lab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Host is another machine on the lab's network: a network namespace with one card, on
// a port of the bridge.
type Host struct {
	// Port is the name of the bridge's port, MAC the address of the card.
	Port, MAC string

	net  netns.NsHandle
	link *netlink.Handle
}

// Card is the name of a host's network card.
const Card = "eth0"

// NewHost makes a host with addresses such as "192.168.122.9/24". Its name is at most
// 12 letters.
func (l *Lab) NewHost(name string, addresses ...string) (*Host, error) {
	h := &Host{Port: "p-" + name}
	var err error
	if h.net, err = emptyNamespace(); err != nil {
		return nil, err
	}
	l.hosts = append(l.hosts, h)
	// The lab's router announces itself, and hosts would give themselves addresses.
	err = h.Do(func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_ra", []byte("0"), 0) })
	if err != nil {
		return nil, err
	}
	outside, err := netlink.NewHandleAt(l.net)
	if err != nil {
		return nil, err
	}
	defer outside.Close()
	bridge, err := outside.LinkByName(Bridge)
	if err != nil {
		return nil, err
	}
	err = outside.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: h.Port, MasterIndex: bridge.Attrs().Index, Flags: net.FlagUp},
		PeerName:  Card, PeerNamespace: netlink.NsFd(h.net),
	})
	if err != nil {
		return nil, fmt.Errorf("connect the host %s: %w", name, err)
	}
	port, err := outside.LinkByName(h.Port)
	if err == nil {
		err = outside.LinkSetUp(port)
	}
	if err != nil {
		return nil, err
	}
	if h.link, err = netlink.NewHandleAt(h.net); err != nil {
		return nil, err
	}
	return h, h.configure(addresses)
}

func (h *Host) configure(addresses []string) error {
	link, err := h.link.LinkByName(Card)
	if err != nil {
		return err
	}
	h.MAC = link.Attrs().HardwareAddr.String()
	for _, a := range addresses {
		address, err := netlink.ParseAddr(a)
		if err != nil {
			return err
		}
		// No waiting for whether somebody else has it.
		address.Flags = ifaNoDAD
		if err := h.link.AddrAdd(link, address); err != nil {
			return fmt.Errorf("give %s to a host: %w", a, err)
		}
	}
	lo, err := h.link.LinkByName("lo")
	if err != nil {
		return err
	}
	return errors.Join(h.link.LinkSetUp(lo), h.link.LinkSetUp(link))
}

// ifaNoDAD is IFA_F_NODAD of Linux' if_addr.h.
const ifaNoDAD = 0x02

// Do runs f on the host: sockets that it opens are the host's. f starts no goroutine
// that opens one.
func (h *Host) Do(f func() error) error { return within(h.net, f) }

// Do runs f in the lab's network.
func (l *Lab) Do(f func() error) error { return within(l.net, f) }

// within runs f on a thread of its own, which does not come back when its namespace
// cannot be restored.
func within(ns netns.NsHandle, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		before, err := netns.Get()
		if err == nil {
			if err = netns.Set(ns); err == nil {
				err = f()
			}
			if back := netns.Set(before); back == nil {
				runtime.UnlockOSThread()
			}
			before.Close()
		}
		done <- err
	}()
	return <-done
}

// emptyNamespace makes a network namespace that is gone when its handle is closed.
func emptyNamespace() (netns.NsHandle, error) {
	ns := netns.None()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		before, err := netns.Get()
		if err == nil {
			if ns, err = netns.New(); err == nil {
				if netns.Set(before) == nil {
					runtime.UnlockOSThread()
				}
			}
			before.Close()
		}
		done <- err
	}()
	err := <-done
	return ns, err
}

// Send puts a whole Ethernet frame on the wire.
func (h *Host) Send(frame []byte) error {
	link, err := h.link.LinkByName(Card)
	if err != nil {
		return err
	}
	return h.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index})
	})
}

// Remove takes a host off the network.
func (l *Lab) Remove(h *Host) error {
	link, err := h.link.LinkByName(Card)
	if err == nil {
		err = h.link.LinkDel(link)
	}
	h.link.Close()
	l.hosts = slices.DeleteFunc(l.hosts, func(other *Host) bool { return other == h })
	return errors.Join(err, h.net.Close())
}
