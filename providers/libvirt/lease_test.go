package libvirt

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"

	api "github.com/digitalocean/go-libvirt"

	"ingot/providers/libvirt/lab"
)

// TestAddressFollowsCard asks the network's DHCP server as machines of ours do, after
// their state has moved: a machine calls itself what its state says, and gets the
// address of its card all the same.
func TestAddressFollowsCard(t *testing.T) {
	p, _ := connect(t, nil)
	network, _, err := p.network(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hosts := map[string]*lab.Host{}
	addresses := map[string]netip.Addr{"old": netip.MustParseAddr("192.168.122.41"), "new": netip.MustParseAddr("192.168.122.42")}
	for name, address := range addresses {
		h, err := home.lab.NewHost(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := home.lab.Remove(h); err != nil {
				t.Error(err)
			}
		})
		hosts[name] = h
		r := reservation{h.MAC, "a-" + name, address}
		if err := p.changeReservation(t.Context(), network, api.NetworkUpdateCommandAddLast, r); err != nil {
			t.Fatal(err)
		}
	}
	defer func() {
		for name, address := range addresses {
			r := reservation{hosts[name].MAC, "a-" + name, address}
			if err := p.changeReservation(t.Context(), network, api.NetworkUpdateCommandDelete, r); err != nil {
				t.Error(err)
			}
		}
	}()
	for _, step := range []struct{ host, state string }{
		{"old", "first"}, {"new", "second"}, // as deployed
		{"new", "first"}, {"old", "second"}, // the states have moved
	} {
		got := lease(t, hosts[step.host], step.state)
		if got != addresses[step.host] {
			t.Errorf("%s with the state of the %s machine gets %s, want %s", step.host, step.state, got, addresses[step.host])
		}
	}
}

// lease gets an address on a host, under a client identifier, and does not give it
// back.
func lease(t *testing.T, h *lab.Host, id string) netip.Addr {
	t.Helper()
	mac, err := net.ParseMAC(h.MAC)
	if err != nil {
		t.Fatal(err)
	}
	var c *nclient4.Client
	err = h.Do(func() (err error) {
		c, err = nclient4.New(lab.Card, nclient4.WithHWAddr(mac), nclient4.WithTimeout(2*time.Second), nclient4.WithRetry(5))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l, err := c.Request(t.Context(), dhcpv4.WithOption(dhcpv4.OptClientIdentifier(append([]byte{0xff}, id...))))
	if err != nil {
		t.Fatalf("%s: %v", id, err)
	}
	a, _ := netip.AddrFromSlice(l.ACK.YourIPAddr.To4())
	return a
}
