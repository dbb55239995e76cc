package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"
)

// A provider that neither advertises an IPv6 router nor answers DHCPv6 says in its
// metadata which address a card has.

// Where networkd finds what a card is given besides, at this boot only. The name
// comes before the image's, and networkd takes the first that matches a card.
const (
	uplinkFile = "/sysroot/etc/systemd/network/10-uplink.network"
	givenFile  = "/run/systemd/network/05-provider.network"
)

// maxGiven is how many addresses a card is given: providers have one or two.
const maxGiven = 16

// given is an IPv6 address of a card and the way from it, as metadata has them.
type given struct {
	address netip.Prefix
	gateway netip.Addr
}

// parseNetworkConfig reads the network-config of a metadata service, version 1 of
// cloud-init's format, of which providers use little: what is static for the card
// with this address, and IPv6. DHCP does the rest. There may be nothing.
func parseNetworkConfig(text []byte, card net.HardwareAddr) ([]given, error) {
	var n struct {
		Version int `yaml:"version"`
		Config  []struct {
			MAC     string `yaml:"mac_address"`
			Subnets []struct {
				Type    string `yaml:"type"`
				Address string `yaml:"address"`
				Gateway string `yaml:"gateway"`
			} `yaml:"subnets"`
		} `yaml:"config"`
	}
	if err := yaml.Unmarshal(text, &n); err != nil {
		return nil, errors.New("it is not YAML of the expected form")
	}
	if n.Version != 1 {
		return nil, fmt.Errorf("its version is %d and not 1", n.Version)
	}
	var list []given
	for _, c := range n.Config {
		mac, err := net.ParseMAC(c.MAC)
		if err != nil || !bytes.Equal(mac, card) {
			continue
		}
		for _, s := range c.Subnets {
			if !strings.HasPrefix(s.Type, "static") || !strings.Contains(s.Address, ":") {
				continue
			}
			g, err := parseGiven(s.Address, s.Gateway)
			if err != nil {
				return nil, err
			}
			if list = append(list, g); len(list) > maxGiven {
				return nil, fmt.Errorf("it has more than %d addresses for this card", maxGiven)
			}
		}
	}
	return list, nil
}

func parseGiven(address, gateway string) (g given, err error) {
	if g.address, err = netip.ParsePrefix(address); err != nil || !g.address.Addr().IsGlobalUnicast() {
		return g, fmt.Errorf("%q is no IPv6 address with its prefix length", address)
	}
	if gateway == "" {
		return g, nil
	}
	if g.gateway, err = netip.ParseAddr(gateway); err != nil || !g.gateway.Is6() || g.gateway.Zone() != "" {
		return g, fmt.Errorf("%q is no IPv6 address of a gateway", gateway)
	}
	return g, nil
}

// giveCard has networkd give a card these addresses, besides what the image's own
// file says of every uplink, and returns them for the console.
func giveCard(card net.HardwareAddr, list []given) (string, error) {
	text, err := os.ReadFile(uplinkFile)
	if err != nil {
		return "", err
	}
	text = fmt.Appendf(text, "\n[Match]\nMACAddress=%s\n", card)
	var names []string
	for _, g := range list {
		text = fmt.Appendf(text, "\n[Network]\nAddress=%s\n", g.address)
		if g.gateway.IsValid() {
			text = fmt.Appendf(text, "\n[Route]\nGateway=%s\nGatewayOnLink=yes\n", g.gateway)
		}
		names = append(names, g.address.String())
	}
	if err := os.MkdirAll(filepath.Dir(givenFile), 0o755); err != nil {
		return "", err
	}
	return strings.Join(names, ", "), os.WriteFile(givenFile, text, 0o644)
}

// uplink does what the metadata service has said of the card that it was asked
// over, and says what came of it. Nothing of it is worth a boot.
func (a answer) uplink() (note string) {
	names, err := a.give()
	switch {
	case err != nil:
		return "no IPv6 address from the metadata service: network-config: " + err.Error()
	case names != "":
		return "IPv6 address " + names + " from the metadata service"
	}
	return ""
}

func (a answer) give() (names string, err error) {
	if a.NetworkProblem != "" {
		return "", errors.New(a.NetworkProblem)
	}
	if a.Network == nil {
		return "", nil
	}
	list, err := parseNetworkConfig(a.Network, a.Card)
	if err != nil || len(list) == 0 {
		return "", err
	}
	return giveCard(a.Card, list)
}
