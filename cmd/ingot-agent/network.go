package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// outsideFD is the descriptor of the network namespace that has the cards.
const outsideFD = 3

// askMetadata is the process in the network namespace of its own: it locks the
// namespace, takes the cards into it, asks over each, and gives them back.
func askMetadata(ctx context.Context, w io.Writer, platform string, patience time.Duration, cards []string) (err error) {
	if err := lockNetwork(); err != nil {
		return fmt.Errorf("lock the network: %w", err)
	}
	if err := withoutIPv6("/proc/sys/net/ipv6/conf"); err != nil {
		return err
	}
	outside := netns.NsHandle(outsideFD)
	taken, err := takeCards(outside, cards)
	defer func() { err = errors.Join(err, giveBack(taken, outside)) }()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return json.NewEncoder(w).Encode(askOver(ctx, taken, endpointsOf(platform)))
}

// withoutIPv6 keeps this namespace from having IPv6 addresses: no metadata
// service needs them here, and each would be one more way to be seen.
func withoutIPv6(conf string) error {
	for _, name := range []string{"all", "default"} {
		err := os.WriteFile(conf+"/"+name+"/disable_ipv6", []byte("1\n"), 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel without IPv6
			return fmt.Errorf("switch IPv6 off: %w", err)
		}
	}
	return nil
}

// takeCards moves cards from the namespace outside to this one.
func takeCards(outside netns.NsHandle, cards []string) ([]netlink.Link, error) {
	// Of all netlink families this one only: a kernel without IPsec lacks others.
	there, err := netlink.NewHandleAt(outside, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("reach the machine's network: %w", err)
	}
	defer there.Close()
	here, err := netns.Get()
	if err != nil {
		return nil, err
	}
	defer here.Close()
	var taken []netlink.Link
	for _, name := range cards {
		link, err := there.LinkByName(name)
		if err == nil {
			err = there.LinkSetNsFd(link, int(here))
		}
		if err == nil {
			link, err = netlink.LinkByName(name) // it may have another index here
		}
		if err != nil {
			return taken, fmt.Errorf("take the network card %s: %w", name, err)
		}
		taken = append(taken, link)
	}
	return taken, nil
}

// giveBack returns the cards. The kernel switches each off and removes its
// addresses and routes as it goes; the end of the namespace would return them,
// too, but at a time of its own.
func giveBack(cards []netlink.Link, outside netns.NsHandle) error {
	var errs []error
	for _, c := range cards {
		if err := netlink.LinkSetDown(c); err != nil {
			errs = append(errs, err)
		}
		if err := netlink.LinkSetNsFd(c, int(outside)); err != nil {
			errs = append(errs, fmt.Errorf("give the network card %s back: %w", c.Attrs().Name, err))
		}
	}
	return errors.Join(errs...)
}

// askOver asks over one card after the other; those still to come have the same
// share of the time that is left.
func askOver(ctx context.Context, cards []netlink.Link, list []endpoint) answer {
	var all answer
	for i, card := range cards {
		a := func() answer {
			ctx, cancel := shareOf(ctx, len(cards)-i)
			defer cancel()
			return askOverOne(ctx, card, list)
		}()
		if a.Config != nil {
			return a
		}
		for _, p := range a.Problems {
			all.Problems = append(all.Problems, card.Attrs().Name+": "+p)
		}
		all.Refused = all.Refused || a.Refused
	}
	return all
}

func shareOf(ctx context.Context, parts int) (context.Context, context.CancelFunc) {
	end, _ := ctx.Deadline()
	return context.WithTimeout(ctx, time.Until(end)/time.Duration(parts))
}

// Between two rounds of questions, and before DHCP is asked again.
const (
	askPause   = time.Second
	leasePause = 2 * time.Second
)

func askOverOne(ctx context.Context, card netlink.Link, list []endpoint) answer {
	problem := func(err error) answer { return answer{Problems: []string{err.Error()}} }
	if err := netlink.LinkSetUp(card); err != nil {
		return problem(fmt.Errorf("switch it on: %w", err))
	}
	defer func() { _ = netlink.LinkSetDown(card) }() // its routes must not win over the next one's
	ack, err := lease(ctx, card.Attrs().Name)
	if err != nil {
		return problem(err)
	}
	if err := configure(card, ack); err != nil {
		return problem(err)
	}
	a := ask(ctx, newClient(), list, askPause)
	a.Card = card.Attrs().HardwareAddr
	return a
}

// lease asks for an address until there is one. DHCP goes over packet sockets,
// which the lock does not see, so that nothing else needs to be let through.
func lease(ctx context.Context, name string) (*dhcpv4.DHCPv4, error) {
	client, err := nclient4.New(name, nclient4.WithTimeout(leasePause), nclient4.WithRetry(1))
	if err != nil {
		return nil, fmt.Errorf("ask for an address: %w", err)
	}
	defer client.Close()
	for {
		l, err := client.Request(ctx)
		if err == nil {
			return l.ACK, nil
		}
		if !wait(ctx, leasePause/4) {
			return nil, errors.New("no answer to DHCP")
		}
	}
}

// configure gives a card the address and the routes of a lease.
func configure(card netlink.Link, ack *dhcpv4.DHCPv4) error {
	mask := ack.SubnetMask()
	if ones, bits := mask.Size(); ack.YourIPAddr.To4() == nil || ack.YourIPAddr.IsUnspecified() || bits != 32 || ones == 0 {
		return errors.New("DHCP gave no usable address")
	}
	address := &netlink.Addr{IPNet: &net.IPNet{IP: ack.YourIPAddr, Mask: mask}}
	if err := netlink.AddrReplace(card, address); err != nil {
		return fmt.Errorf("set the address %v: %w", address, err)
	}
	for _, r := range routes(ack) {
		r.LinkIndex = card.Attrs().Index
		if err := netlink.RouteReplace(&r); err != nil {
			return fmt.Errorf("set the route to %v: %w", r.Dst, err)
		}
	}
	return nil
}

// routes are what a lease says about the way to the metadata service. Without
// any, the service is taken to be on the link, as link-local addresses are.
func routes(ack *dhcpv4.DHCPv4) []netlink.Route {
	everything := &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	var list []netlink.Route
	// RFC 3442: with classless routes the router option does not count.
	if classless := ack.ClasslessStaticRoute(); len(classless) > 0 {
		for _, r := range classless {
			list = append(list, via(r.Dest, r.Router))
		}
		return list
	}
	if routers := ack.Router(); len(routers) > 0 {
		return append(list, via(everything, routers[0]))
	}
	linkLocal := &net.IPNet{IP: net.IPv4(169, 254, 0, 0).To4(), Mask: net.CIDRMask(16, 32)} // RFC 3927
	return append(list, via(linkLocal, nil))
}

// via is a route through a gateway, which may be outside the subnet of the
// address (a /32 at many clouds), or on the link without one.
func via(to *net.IPNet, gateway net.IP) netlink.Route {
	if gateway == nil || gateway.IsUnspecified() {
		return netlink.Route{Dst: to, Scope: netlink.SCOPE_LINK}
	}
	return netlink.Route{Dst: to, Gw: gateway, Flags: unix.RTNH_F_ONLINK}
}
