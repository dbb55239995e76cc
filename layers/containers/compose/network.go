package compose

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"ingot/layers"
	"ingot/layers/vpn"
)

func (s service) network() {
	s.resolver()
	s.otherNames()
	switch mode := s.NetworkMode; {
	case s.inVPN(s.Name):
		s.container("Network", "ns:"+vpn.NamespacePath)
		s.unit.add("Unit", "BindsTo", vpn.NamespaceUnit)
		s.unit.add("Unit", "After", vpn.NamespaceUnit+" "+vpn.LinkUnit)
		// The names of the machine's interfaces are readable there otherwise.
		s.container("Mask", "/sys/class/net:/sys/devices/virtual/net")
		// Podman's own would name the machine's resolver, outside of the tunnel.
		s.container("Volume", vpn.Resolver+":/etc/resolv.conf:ro")
	case mode == "none":
		s.container("Network", "none")
	case mode == "host":
		if s.allowed("network_mode=host", "the container has the machine's network, loopback and all", "remove it, and publish the ports that it needs", "network_mode") {
			s.container("Network", "host")
		}
	case strings.HasPrefix(mode, "service:"):
		s.wrong(fmt.Sprintf("%s has no tunnel to live in: it asks neither for the capability NET_ADMIN nor for /dev/net/tun", strings.TrimPrefix(mode, "service:")),
			"remove it: services of one network reach each other by their names", "network_mode")
	case mode != "":
		s.wrong(fmt.Sprintf("network_mode: %s cannot be translated", clip(mode)), "remove it: services of one network reach each other by their names", "network_mode")
	default:
		for _, name := range s.inOrder() {
			s.join(name, s.Networks[name])
		}
	}
	s.ports()
}

// inOrder are the service's networks, the highest priority first.
func (s service) inOrder() []string { return s.NetworksByPriority() }

func (s service) join(name string, n *types.ServiceNetworkConfig) {
	options := []string{"alias=" + s.Name}
	if n != nil {
		if n.UseServiceNameAlias != nil && !*n.UseServiceNameAlias {
			options = nil
		}
		for _, a := range n.Aliases {
			options = append(options, "alias="+a)
		}
		for _, o := range []struct{ key, option, value string }{
			{"ipv4_address", "ip", n.Ipv4Address}, {"ipv6_address", "ip6", n.Ipv6Address},
			{"mac_address", "mac", n.MacAddress}, {"interface_name", "interface_name", n.InterfaceName},
		} {
			if o.value != "" {
				options = append(options, o.option+"="+o.value)
			}
		}
	}
	for _, o := range options {
		if strings.ContainsAny(o, ", \t\n\\") {
			s.wrong(fmt.Sprintf("%q cannot be told to the network", clip(o)), "write it without commas and blanks", s.project.item(s.Name, "networks", name)...)
			return
		}
	}
	slices.Sort(options)
	s.container("Network", strings.TrimSuffix(networkUnit(name)+":"+strings.Join(slices.Compact(options), ","), ":"))
}

func (s service) resolver() {
	if s.inVPN(s.Name) {
		for _, key := range []string{"dns", "dns_opt", "dns_search"} {
			if s.has(key) {
				s.wrong(key+" means nothing in the VPN namespace", "remove it: the VPN's resolvers are those of the provider's file, or of layers.vpn.dns", key)
			}
		}
		return
	}
	for _, list := range []struct {
		key, name string
		values    []string
	}{{"DNS", "dns", s.DNS}, {"DNSOption", "dns_opt", s.DNSOpts}, {"DNSSearch", "dns_search", s.DNSSearch}} {
		for _, v := range list.values {
			if s.line(v, s.project.item(s.Name, list.name, v)...) {
				s.container(list.key, v)
			}
		}
	}
}

// otherNames are those that the container knows beside its network's.
func (s service) otherNames() {
	for _, host := range s.ExtraHosts.AsList(":") {
		name, _, _ := strings.Cut(host, ":")
		at := s.project.item(s.Name, "extra_hosts", name)
		switch {
		case strings.Contains(host, "host-gateway"):
			s.wrong("the machine itself has no name in a container", "run what is asked there as a service of this file", at...)
		case s.line(host, at...):
			s.container("AddHost", host)
		}
	}
	for _, link := range s.Links {
		if target, alias, ok := strings.Cut(link, ":"); ok && alias != target {
			s.wrong(fmt.Sprintf("%s is given another name here", clip(target)), fmt.Sprintf("give %s the name with networks: {default: {aliases: [%s]}}", target, alias), s.project.item(s.Name, "links", link)...)
		}
	}
}

// ports publishes on loopback, in the tunnel, or where the firewall lets the
// internet through. Which interface a packet came from is the firewall's to
// say: the server's address in the tunnel belongs to the instance.
func (s service) ports() {
	for _, p := range s.Ports {
		at := s.project.item(s.Name, "ports", p.Published, strconv.Itoa(int(p.Target)))
		host, err := strconv.Atoi(p.Published)
		if err != nil || host < 1 || host > 65535 || p.Target < 1 || p.Target > 65535 {
			s.wrong(fmt.Sprintf("port %d is published on no port that is known before", p.Target), "write one port of the machine and one of the container, such as 127.0.0.1:8080:80", at...)
			continue
		}
		if p.Protocol != "tcp" && p.Protocol != "udp" {
			s.wrong(fmt.Sprintf("%q is not a protocol with ports", clip(p.Protocol)), "use tcp or udp", at...)
			continue
		}
		from, ok := s.from(p, host, at)
		if !ok {
			continue
		}
		port := Published{Service: s.Name, Target: int(p.Target), Port: layers.Port{
			Proto: p.Protocol, Port: host, From: from, Why: "container " + s.Name,
		}}
		if s.again(port, at) {
			continue
		}
		if port.InVPN = s.inVPN(s.Name) || s.replaced(s.Name); port.InVPN && p.Protocol != "tcp" {
			s.wrong(fmt.Sprintf("udp port %d of the VPN namespace is published", host), "only pages are carried out of it, over tcp", at...)
			continue
		}
		if !port.InVPN {
			port.Networks = s.inOrder()
			address := ""
			if from == layers.FromLoopback {
				address = bracketed(p.HostIP) + ":"
			}
			s.container("PublishPort", fmt.Sprintf("%s%d:%d/%s", address, host, p.Target, p.Protocol))
		}
		s.out.Published = append(s.out.Published, port)
	}
}

func bracketed(address string) string {
	if strings.Contains(address, ":") {
		return "[" + strings.Trim(address, "[]") + "]"
	}
	return address
}

func (s service) from(p types.ServicePortConfig, host int, at []any) (layers.From, bool) {
	tunnel := "the server's address in the tunnel"
	if len(s.options.Tunnel) > 0 {
		tunnel = s.options.Tunnel[0].String()
	}
	private := fmt.Sprintf("write 127.0.0.1:%d:%d for the machine itself, or %s:%d:%d for peers", host, p.Target, tunnel, host, p.Target)
	a, err := netip.ParseAddr(strings.Trim(cmp.Or(p.HostIP, "0.0.0.0"), "[]"))
	switch {
	case err != nil:
		s.wrong(fmt.Sprintf("%q is not an address", clip(p.HostIP)), private, at...)
	case a.IsLoopback():
		return layers.FromLoopback, true
	case slices.Contains(s.options.Tunnel, a):
		return layers.FromWireGuard, true
	case !a.IsUnspecified():
		s.wrong(fmt.Sprintf("%s is not an address of the server that is known before", a), private, at...)
	case s.inVPN(s.Name) || s.replaced(s.Name):
		s.wrong(fmt.Sprintf("port %d of the VPN namespace is published to everybody", host), private, at...)
	case slices.Contains(s.options.Public, fmt.Sprintf("%s/%d", p.Protocol, host)):
		return layers.FromInternet, true
	default:
		s.wrong(fmt.Sprintf("port %d is published to everybody, and the firewall does not let it through", host),
			private+fmt.Sprintf("; for the internet add {port: %d, proto: %s, why: …} to layers.nftables.allow", host, p.Protocol), at...)
	}
	return "", false
}

// again reports a port that a service has already.
func (s service) again(p Published, at []any) bool {
	for _, other := range s.out.Published {
		if other.Proto == p.Proto && other.Port.Port == p.Port.Port {
			s.wrong(fmt.Sprintf("%s port %d is published twice, by %s too", p.Proto, p.Port.Port, other.Service), "give one of the two another port", at...)
			return true
		}
	}
	return false
}
