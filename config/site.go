package config

import (
	"fmt"
	"regexp"
)

const (
	defaultSuite = "trixie"

	// labelShape is a DNS label in lower case, RFC 1123 §2.1; 63 is RFC 1035's.
	labelShape = `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`
	// maxHostname is HOST_NAME_MAX of Linux.
	maxHostname = 64
)

// siteProblems checks what belongs to no layer.
func (d *decoder) siteProblems(f ingotFile) []Finding {
	var list []Finding
	report := func(message, advice string, path ...any) {
		list = append(list, d.doc.Finding(path, false, message, advice))
	}
	if !regexp.MustCompile(`^` + labelShape + `$`).MatchString(f.Name) {
		report(fmt.Sprintf("%q is not a name for an image", clip(f.Name)),
			"use up to 63 lower-case letters, digits and dashes, such as openclaw", "name")
	}
	hostname := regexp.MustCompile(`^` + labelShape + `(\.` + labelShape + `)*$`)
	if f.Hostname != "" && (len(f.Hostname) > maxHostname || !hostname.MatchString(f.Hostname)) {
		report(fmt.Sprintf("%q is not a host name", clip(f.Hostname)),
			"use up to 64 lower-case letters, digits, dashes and dots, such as claw1.example.com", "hostname")
	}
	if f.Base.Suite != "" && f.Base.Suite != defaultSuite {
		report(fmt.Sprintf("the Debian suite %q is not supported", clip(f.Base.Suite)), "use trixie", "base", "suite")
	}
	return list
}

// lockouts refuses choices of layers that leave the owner outside, or everybody
// else inside.
func (d *decoder) lockouts(o layerOptions) []Finding {
	var list []Finding
	report := func(layer, message, advice string) {
		list = append(list, d.doc.Finding([]any{"layers", layer}, true, message, advice))
	}
	if o.SSH == nil {
		report("ssh", "nobody would be able to log in: the layer ssh is off", "add ssh to layers")
	}
	if o.WireGuard == nil {
		report("wireguard", "nobody would be able to connect: the layer wireguard is off, and ssh answers in its tunnel only", "add wireguard to layers")
	}
	if o.Nftables == nil {
		report("nftables", "everything would be open: the layer nftables is off", "add nftables to layers")
	}
	return list
}
