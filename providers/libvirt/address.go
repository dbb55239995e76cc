package libvirt

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	api "github.com/digitalocean/go-libvirt"

	"ingot/fault"
	"ingot/providers"
)

// reservation is an address that a network's DHCP server keeps for a network card.
type reservation struct {
	mac, name string
	ip        netip.Addr
}

// dhcp is what a network's DHCP server gives out.
type dhcp struct {
	ranges   [][2]netip.Addr
	reserved []reservation
}

func readDHCP(network node) dhcp {
	var d dhcp
	for _, ip := range network.children("ip") {
		if ip.attr("family") == "ipv6" {
			continue
		}
		for _, r := range ip.child("dhcp").children("range") {
			from, err1 := netip.ParseAddr(r.attr("start"))
			to, err2 := netip.ParseAddr(r.attr("end"))
			if err1 == nil && err2 == nil {
				d.ranges = append(d.ranges, [2]netip.Addr{from, to})
			}
		}
		for _, h := range ip.child("dhcp").children("host") {
			address, _ := netip.ParseAddr(h.attr("ip"))
			d.reserved = append(d.reserved, reservation{h.attr("mac"), h.attr("name"), address})
		}
	}
	return d
}

// of is the reservation of a card.
func (d dhcp) of(mac string) (reservation, bool) {
	i := slices.IndexFunc(d.reserved, func(r reservation) bool { return r.mac == mac })
	if i < 0 {
		return reservation{}, false
	}
	return d.reserved[i], true
}

// free are the addresses that nobody has, beginning at a place that depends on the
// card.
func (d dhcp) free(mac string, taken map[netip.Addr]bool) []netip.Addr {
	var all, list []netip.Addr
	for _, r := range d.ranges {
		for a := r[0]; a.IsValid() && a.Compare(r[1]) <= 0 && len(all) < 1<<16; a = a.Next() {
			all = append(all, a)
		}
	}
	if len(all) == 0 {
		return nil
	}
	var hash uint32
	for _, c := range []byte(mac) {
		hash = hash*31 + uint32(c)
	}
	for _, r := range d.reserved {
		taken[r.ip] = true
	}
	for i := range all {
		if a := all[(int(hash%uint32(len(all)))+i)%len(all)]; !taken[a] {
			list = append(list, a)
		}
	}
	return list
}

// reserve keeps an address for a server, so that it is known before the server asks
// and can be given to another. A network without a DHCP server of libvirt's has none.
func (p *Provider) reserve(ctx context.Context, id, name, mac string, journal *providers.Entry) error {
	network, n, err := p.network(ctx)
	if err != nil {
		return err
	}
	d := readDHCP(n)
	if _, there := d.of(mac); there || len(d.ranges) == 0 {
		return nil
	}
	leases, err := p.leases(ctx, network, nil)
	if err != nil {
		return err
	}
	taken := map[netip.Addr]bool{}
	for _, l := range leases {
		taken[l] = true
	}
	label := reservationName(id, name)
	if err := journal.Creates(kindAddress, label); err != nil {
		return err
	}
	for _, address := range d.free(mac, taken) {
		err = p.changeReservation(ctx, network, api.NetworkUpdateCommandAddLast, reservation{mac, label, address})
		if err == nil || !isCode(err, api.ErrOperationInvalid) {
			return err
		}
		// Somebody else was faster: the next one.
	}
	if err == nil {
		err = fmt.Errorf("the DHCP server of the network %s has no free address", p.o.Network)
	}
	return fault.Provider(err)
}

func (p *Provider) changeReservation(ctx context.Context, network api.Network, command api.NetworkUpdateCommand, r reservation) error {
	text, err := marshal(element("host", "mac", r.mac, "name", r.name, "ip", r.ip.String()))
	if err != nil {
		return err
	}
	return tell(ctx, p, fmt.Sprintf("change who has %s in the network %s", r.ip, p.o.Network), func(l *api.Libvirt) error {
		return l.NetworkUpdateCompat(network, command, api.NetworkSectionIPDhcpHost, -1, text, api.NetworkUpdateAffectLive|api.NetworkUpdateAffectConfig)
	})
}

// release gives up the reservation of a card, if it is one of ours.
func (p *Provider) release(ctx context.Context, mac string) error {
	network, n, err := p.network(ctx)
	if err != nil {
		return err
	}
	r, there := readDHCP(n).of(mac)
	if !there || !reserved.MatchString(r.name) {
		return nil
	}
	return p.changeReservation(ctx, network, api.NetworkUpdateCommandDelete, r)
}

// leases are the addresses that the DHCP server has given to a card, or to all.
func (p *Provider) leases(ctx context.Context, network api.Network, mac api.OptString) ([]netip.Addr, error) {
	list, err := ask(ctx, p, "list the leases of the network "+p.o.Network, func(l *api.Libvirt) ([]api.NetworkDhcpLease, error) {
		leases, _, err := l.NetworkGetDhcpLeases(network, mac, 1, 0)
		return leases, err
	})
	if isCode(err, api.ErrNoSupport, api.ErrOperationInvalid, api.ErrOperationUnsupported) {
		return nil, nil // no DHCP server
	}
	if err != nil {
		return nil, err
	}
	var addresses []netip.Addr
	for _, l := range list {
		if a, err := netip.ParseAddr(l.Ipaddr); err == nil {
			addresses = append(addresses, a)
		}
	}
	return addresses, nil
}

// addresses of a server: the reserved one, what else it has by DHCP, and in a network
// without, what the host has seen it use.
func (p *Provider) addresses(ctx context.Context, s server) ([]netip.Addr, error) {
	network, n, err := p.network(ctx)
	if err != nil {
		return nil, err
	}
	d := readDHCP(n)
	if r, there := d.of(s.mac()); there {
		return []netip.Addr{r.ip}, nil
	}
	if len(d.ranges) > 0 {
		return p.leases(ctx, network, api.OptString{s.mac()})
	}
	seen, err := ask(ctx, p, "ask for the addresses of "+s.domain.Name, func(l *api.Libvirt) ([]api.DomainInterface, error) {
		return l.DomainInterfaceAddresses(s.domain, uint32(api.DomainInterfaceAddressesSrcArp), 0)
	})
	if isCode(err, api.ErrOperationInvalid, api.ErrNoSupport, api.ErrArgumentUnsupported) {
		return nil, nil // not running
	}
	if err != nil {
		return nil, err
	}
	var addresses []netip.Addr
	for _, i := range seen {
		for _, a := range i.Addrs {
			if address, err := netip.ParseAddr(a.Addr); err == nil {
				addresses = append(addresses, address)
			}
		}
	}
	return addresses, nil
}
