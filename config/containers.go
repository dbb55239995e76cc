package config

import (
	"fmt"
	"net/netip"
	"path"
	"path/filepath"

	"ingot/config/document"
	"ingot/layers/containers"
	"ingot/layers/containers/compose"
	"ingot/layers/vpn"
	"ingot/layers/wireguard"
)

// containers reads the compose file of layers.containers.
func (d *decoder) containers(o layerOptions) containers.Layer {
	at := []any{"layers", "containers"}
	l := containers.Layer{Options: *o.Containers}
	refuse := func(message string) containers.Layer {
		path := at
		if o.Containers.Compose != "" {
			path = append(path, "compose")
		}
		d.findings = append(d.findings, d.doc.Finding(path, false, message,
			fmt.Sprintf("name a compose file beside %s or below, such as %s", FileName, containers.DefaultCompose)))
		return l
	}
	name := l.Compose()
	if !filepath.IsLocal(filepath.FromSlash(name)) || name == "." {
		return refuse(fmt.Sprintf("%q is not a file below the folder of %s", clip(name), FileName))
	}
	l, inputs, findings, err := containers.Load(*o.Containers, d.root, filepath.ToSlash(filepath.Dir(d.file)), containers.Surroundings{
		Tunnel: tunnelAddresses(o.WireGuard), Public: publicPorts(o), VPN: inVPN(o.VPN),
	})
	if err != nil {
		return refuse(fmt.Sprintf("the compose file %q cannot be read: %v", clip(name), document.Cause(err)))
	}
	for _, input := range inputs {
		d.digest.add(path.Join(path.Dir(name), input.Name), input.Data)
	}
	for _, f := range findings {
		f.Path = nil // it means nothing in this file
		d.findings = append(d.findings, f)
	}
	return l
}

func inVPN(o *vpn.Options) *compose.VPNOptions {
	if o == nil {
		return nil
	}
	return &compose.VPNOptions{Services: o.Services}
}

// vpnLayer is the layer with what the compose file says about its namespace.
func vpnLayer(o vpn.Options, stack containers.Layer, composed bool) vpn.Layer {
	l := vpn.Layer{Options: o}
	if composed {
		l.Known = []string{}
	}
	for _, s := range stack.Translation.Services {
		l.Known = append(l.Known, s.Name)
	}
	for _, p := range stack.Translation.Published {
		if p.InVPN {
			l.Published = append(l.Published, vpn.Page{Port: p.Port.Port, Target: p.Target, From: p.From, Why: p.Why})
		}
	}
	return l
}

// tunnelAddresses are the server's own, without what the wireguard layer
// refuses.
func tunnelAddresses(o *wireguard.Options) []netip.Addr {
	if o == nil {
		return nil
	}
	address := o.Address
	if address == "" {
		address = wireguard.DefaultAddress
	}
	var list []netip.Addr
	for _, a := range []string{address, o.Address6} {
		if prefix, err := netip.ParsePrefix(a); err == nil {
			list = append(list, prefix.Addr())
		}
	}
	return list
}

// publicPorts are those that the firewall opens to the internet for whoever
// listens there.
func publicPorts(o layerOptions) []string {
	if o.Nftables == nil {
		return nil
	}
	var list []string
	for _, a := range o.Nftables.Allow {
		proto := a.Proto
		if proto == "" {
			proto = "tcp"
		}
		list = append(list, fmt.Sprintf("%s/%d", proto, a.Port))
	}
	return list
}
