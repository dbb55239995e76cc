// Package nftables is the firewall layer: what is not in the port table is
// dropped. The ruleset is generated from the merged plan, so that it, the
// provider's firewall and the assay cannot disagree; and without a loaded
// ruleset there is no network (field notes §2.3, with nftables in place of UFW).
package nftables

import (
	"fmt"
	"slices"

	"ingot/layers"
)

// Options of the layer. The zero value denies everything that no layer asks for.
type Options struct {
	// Allow are ports that the internet may reach.
	Allow []Allow `yaml:"allow"`
	// Ping answers echo requests from the internet. Peers in the tunnel are
	// always answered.
	Ping bool `yaml:"ping"`
}

// Allow opens one port to the internet.
type Allow struct {
	// Port is 1 to 65535.
	Port int `yaml:"port" ingot:"required"`
	// Proto is tcp, the default, or udp.
	Proto string `yaml:"proto"`
	// Why says what the port is for; it becomes the rule's comment. "If you
	// can't explain why a port is open, it shouldn't be" (field notes §2.3).
	Why string `yaml:"why" ingot:"required"`
}

// KeyAdvice implements the decoder's interface of that name.
func (Allow) KeyAdvice(key string) (message, advice string) {
	if key == "comment" || key == "reason" {
		return fmt.Sprintf("unknown key %q", key), "the reason of an open port is called why"
	}
	return "", ""
}

// Layer is the nftables layer with its options.
type Layer struct{ Options Options }

// rulesetPath is where Debian's nftables.service looks.
const rulesetPath = "/etc/nftables.conf"

// Name implements [layers.Layer].
func (Layer) Name() string { return "nftables" }

// Validate implements [layers.Layer].
func (l Layer) Validate(layers.Site) []layers.Finding {
	var findings []layers.Finding
	var seen []layers.Port
	for i, a := range l.Options.Allow {
		findings = append(findings, a.validate(i)...)
		same := func(p layers.Port) bool { return p.Port == a.Port && p.Proto == a.proto() }
		if slices.ContainsFunc(seen, same) {
			findings = append(findings, layers.Finding{
				Path: []any{"allow", i, "port"}, Message: fmt.Sprintf("%s port %d is allowed twice", a.proto(), a.Port), Advice: "keep one of the two",
			})
		}
		seen = append(seen, layers.Port{Port: a.Port, Proto: a.proto()})
	}
	return findings
}

func (a Allow) validate(i int) []layers.Finding {
	var findings []layers.Finding
	if a.Port < 1 || a.Port > 65535 {
		findings = append(findings, layers.Finding{
			Path: []any{"allow", i, "port"}, Message: fmt.Sprintf("%d is not a port", a.Port), Advice: "use a number from 1 to 65535",
		})
	}
	if a.proto() != "tcp" && a.proto() != "udp" {
		findings = append(findings, layers.Finding{
			Path: []any{"allow", i, "proto"}, Message: fmt.Sprintf("%q is not a protocol with ports", a.Proto), Advice: "use tcp or udp",
		})
	}
	if message := whyProblem(a.Why); message != "" {
		findings = append(findings, layers.Finding{
			Path: []any{"allow", i, "why"}, Message: message, Advice: "say in a few words what the port is for, such as HTTPS reverse proxy",
		})
	}
	return findings
}

func (a Allow) proto() string {
	if a.Proto == "" {
		return "tcp"
	}
	return a.Proto
}

// Contribute implements [layers.Layer].
func (l Layer) Contribute(layers.Site) layers.Contribution {
	on := true
	return layers.Contribution{
		Packages: []string{"nftables"},
		Image: layers.Fragment{Units: []layers.Unit{
			{Name: "nftables.service", Enabled: &on, Dropins: []layers.Dropin{{Name: "10-ingot.conf", Contents: serviceDropin}}},
			{Name: "systemd-networkd.service", Dropins: []layers.Dropin{{Name: "10-ingot-firewall.conf", Contents: networkdDropin}}},
		}},
		Ports: l.ports(),
		Validators: []layers.Validator{
			{Argv: []string{"/usr/sbin/nft", "-c", "-f", rulesetPath}},
			{Argv: []string{"/usr/bin/systemd-analyze", "verify", "--man=no", "nftables.service", "systemd-networkd.service"}, PrintsErrors: true},
		},
		Checks: checks(l.Options.Ping),
	}
}

func (l Layer) ports() []layers.Port {
	var ports []layers.Port
	for i, a := range l.Options.Allow {
		ports = append(ports, layers.Port{Proto: a.proto(), Port: a.Port, From: layers.FromInternet, Why: a.Why, Option: []any{"allow", i}})
	}
	return ports
}

// Finish implements [layers.Finisher]: the ruleset is the merged port table.
func (l Layer) Finish(plan layers.Plan) layers.Contribution {
	return layers.Contribution{
		Image: layers.Fragment{Files: []layers.File{
			{Path: rulesetPath, Mode: 0o644, Contents: ruleset(plan.Ports, l.Options.Ping)},
		}},
		Firewalls: []layers.Firewall{{Admits: plan.Ports, Units: []string{"nftables.service", "systemd-networkd.service"}}},
	}
}

// serviceDropin takes Debian's ExecStop back, which flushes the whole ruleset
// when the unit stops: at every shutdown, and while the network is still up.
const serviceDropin = `[Service]
ExecStop=
# The file replaces the table in one transaction: a broken file changes nothing.
ExecReload=
ExecReload=/usr/sbin/nft -f ` + rulesetPath + `
`

// networkdDropin makes the firewall fail closed: no ruleset, no network.
const networkdDropin = `[Unit]
Requires=nftables.service
After=nftables.service
`

func checks(ping bool) []layers.Check {
	return []layers.Check{
		{
			ID: "nftables.ping", Title: "a stranger's ping is answered only when asked for",
			Ping:     &layers.PingCheck{Answered: ping},
			Sabotage: pingSabotage(ping),
		},
		{
			ID: "nftables.service", Title: "the firewall is loaded",
			Unit: &layers.UnitCheck{Name: "nftables.service", State: "active"},
		},
		{
			ID: "nftables.inbound", Title: "what is not allowed is dropped",
			Command: &layers.CommandCheck{
				Argv: []string{"/usr/sbin/nft", "list", "chain", "inet", table, "inbound"}, Contains: "policy drop;",
			},
			Sabotage: "nft chain inet " + table + " inbound '{ policy accept; }'",
		},
		{
			ID: "nftables.forwarded", Title: "nothing is forwarded",
			Command: &layers.CommandCheck{
				Argv: []string{"/usr/sbin/nft", "list", "chain", "inet", table, "forwarded"}, Contains: "policy drop;",
			},
			Sabotage: "nft chain inet " + table + " forwarded '{ policy accept; }'",
		},
		{
			ID: "nftables.fails-closed", Title: "networking requires the firewall",
			Command: &layers.CommandCheck{
				Argv: []string{"systemctl", "show", "--property=Requires", "systemd-networkd.service"}, Contains: "nftables.service",
			},
		},
		{
			ID: "nftables.ruleset", Title: "the ruleset is sealed",
			File:     &layers.FileCheck{Path: rulesetPath, Owner: "root:root", Mode: 0o644, ReadOnly: true},
			Sabotage: layers.SabotageEtc,
		},
		{
			ID: "nftables.metadata", Title: "only root reaches the metadata service",
			Command: &layers.CommandCheck{
				Argv: []string{"/usr/sbin/nft", "list", "chain", "inet", table, "outbound"}, Contains: "skuid != 0",
			},
			Sabotage: "nft flush chain inet " + table + " outbound",
		},
	}
}

func pingSabotage(answered bool) string {
	verdict := "accept"
	if answered {
		verdict = "drop"
	}
	return "nft insert rule inet " + table + " inbound icmp type echo-request " + verdict
}
