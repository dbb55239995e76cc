// Package nftables is the firewall layer: what is not in the port table is
// dropped. The ruleset is generated from the merged plan, so that it, the
// provider's firewall and the assay cannot disagree; and without a loaded
// ruleset there is no network (field notes §2.3, with nftables in place of UFW).
package nftables

import (
	"cmp"
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
	// Egress limits what the machine itself may reach. Without it everything is
	// reachable (field notes §2.3, default allow outgoing).
	Egress *Egress `yaml:"egress"`
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

// Path is where the ruleset is and Debian's nftables.service looks for it.
const Path = "/etc/nftables.conf"

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
	if l.Options.Egress != nil {
		findings = append(findings, l.Options.Egress.validate()...)
	}
	return findings
}

func (a Allow) validate(i int) []layers.Finding {
	at := []any{"allow", i}
	findings := portProblems(at, a.Port, a.proto())
	if message := whyProblem(a.Why); message != "" {
		findings = append(findings, layers.Finding{
			Path: under(at, "why"), Message: message, Advice: "say in a few words what the port is for, such as HTTPS reverse proxy",
		})
	}
	return findings
}

// portProblems checks the port and proto of the entry at a path.
func portProblems(at []any, port int, proto string) []layers.Finding {
	var findings []layers.Finding
	if port < 1 || port > 65535 {
		findings = append(findings, layers.Finding{
			Path: under(at, "port"), Message: fmt.Sprintf("%d is not a port", port), Advice: "use a number from 1 to 65535",
		})
	}
	if proto != "tcp" && proto != "udp" {
		findings = append(findings, layers.Finding{
			Path: under(at, "proto"), Message: fmt.Sprintf("%q is not a protocol with ports", proto), Advice: "use tcp or udp",
		})
	}
	return findings
}

// under is the path of a key below the entry at a path.
func under(at []any, key string) []any { return append(slices.Clone(at), key) }

func (a Allow) proto() string { return cmp.Or(a.Proto, "tcp") }

// Contribute implements [layers.Layer].
func (l Layer) Contribute(layers.Site) layers.Contribution {
	on := true
	return layers.Contribution{
		Packages: []string{"nftables"},
		Image: layers.Fragment{Units: []layers.Unit{
			{
				Name: "nftables.service", Enabled: &on, Dropins: []layers.Dropin{
					{Name: "10-ingot.conf", Contents: serviceDropin, Why: "a stop leaves the rules, a reload replaces them in one go"},
					{Name: "20-sandbox.conf", Contents: sandbox, Why: "leaves nft the firewall and the file, and nothing else"},
				},
				Why: "loads the firewall's ruleset before there is a network",
			},
			{
				Name: "systemd-networkd.service", Dropins: []layers.Dropin{{Name: requireDropin, Contents: networkdDropin}},
				Why: "no network without a loaded firewall",
			},
		}},
		Ports:  l.ports(),
		Egress: l.Options.Egress.entries(),
		Validators: []layers.Validator{
			{Argv: []string{"/usr/sbin/nft", "-c", "-f", Path}},
			{Argv: []string{"/usr/bin/systemd-analyze", "verify", "--man=no", "nftables.service", "systemd-networkd.service"}, PrintsErrors: true},
		},
		Checks: l.checks(),
	}
}

func (l Layer) ports() []layers.Port {
	var ports []layers.Port
	for i, a := range l.Options.Allow {
		ports = append(ports, layers.Port{
			Proto: a.proto(), Port: a.Port, From: layers.FromInternet, Why: a.Why, Option: []any{"allow", i},
		})
	}
	return ports
}

// Finish implements [layers.Finisher]: the ruleset is the merged plan.
func (l Layer) Finish(plan layers.Plan) layers.Contribution {
	return layers.Contribution{
		Image: layers.Fragment{Files: []layers.File{{
			Path: Path, Mode: 0o644, Contents: l.ruleset(plan), Why: "the firewall: one table, generated from the port table",
		}}},
		Firewalls: []layers.Firewall{{Admits: plan.Ports, Units: []string{"nftables.service", "systemd-networkd.service"}}},
		Checks:    append(untrackedChecks(plan.Ports), limitChecks(plan.Ports)...),
	}
}

// serviceDropin takes Debian's ExecStop back, which flushes the whole ruleset
// when the unit stops: at every shutdown, and while the network is still up.
const serviceDropin = `[Service]
ExecStop=
# The file replaces the table in one transaction: a broken file changes nothing.
ExecReload=
ExecReload=/usr/sbin/nft -f ` + Path + `
`

// sandbox: nft reads one file and talks to the kernel. It has no /tmp of its own,
// for which the firewall would have to wait.
const sandbox = layers.Sandbox + `CapabilityBoundingSet=CAP_NET_ADMIN
ProtectProc=invisible
RestrictAddressFamilies=AF_UNIX AF_NETLINK
SystemCallFilter=~@privileged @resources
`

// requireDropin is the name of networkdDropin.
const requireDropin = "10-ingot-firewall.conf"

// networkdDropin makes the firewall fail closed: no ruleset, no network.
const networkdDropin = `[Unit]
Requires=nftables.service
After=nftables.service
`
