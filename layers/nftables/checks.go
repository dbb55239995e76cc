package nftables

import (
	"fmt"
	"strings"

	"ingot/layers"
)

func (l Layer) checks() []layers.Check {
	checks := append(l.chainChecks(), serviceChecks()...)
	ping := layers.Check{
		ID: "nftables.ping", Title: "a stranger's ping is answered only when asked for",
		Ping:     &layers.PingCheck{Answered: l.Options.Ping},
		Sabotage: "nft insert rule inet ingot inbound icmp type echo-request accept",
	}
	if l.Options.Ping {
		ping.Sabotage = "nft insert rule inet ingot inbound icmp type echo-request drop"
	}
	return append(checks, ping)
}

// chainChecks look at the rules in the kernel.
func (l Layer) chainChecks() []layers.Check {
	checks := []layers.Check{
		{
			ID: "nftables.inbound", Title: "what is not allowed is dropped", SurvivesReboot: true,
			Command:  chainHas("inbound", "policy drop;"),
			Sabotage: "nft chain inet ingot inbound '{ policy accept; }'",
		},
		{
			ID: "nftables.drop-log", Title: "what is dropped is logged, and a flood does not fill the log",
			DropLog:  &layers.DropLogCheck{Prefix: dropPrefix},
			Sabotage: deleteRules("inbound", dropPrefix),
		},
		{
			ID: "nftables.forwarded", Title: "nothing is forwarded that no layer asked for",
			Command:  chainHas("forwarded", "policy drop;"),
			Sabotage: "nft chain inet ingot forwarded '{ policy accept; }'",
		},
		{
			ID: "nftables.metadata", Title: "only root reaches the metadata service",
			Command:  chainHas("outbound", "skuid != 0"),
			Sabotage: deleteRules("outbound", "skuid != 0"),
		},
		{
			ID: "nftables.metadata-forwarded", Title: "nothing that is forwarded reaches the metadata service",
			Command:  chainHas("forwarded", "169.254.169.254"),
			Sabotage: deleteRules("forwarded", "169.254.169.254"),
		},
	}
	checks = append(checks, layers.Check{
		ID: "nftables.metadata-unseen", Title: "what others than root send to the metadata service does not leave the machine",
		Packet: &layers.PacketCheck{
			After: append([]string{"runuser", "-u", "nobody", "--"}, connects("169.254.169.254/80", "fd00:ec2::254/80")...),
			Proto: "tcp", Port: 80, To: []string{"169.254.169.254/32", "fd00:ec2::254/128"},
		},
		Sabotage: deleteRules("outbound", "skuid != 0"),
	})
	if l.Options.Egress != nil {
		checks = append(checks, layers.Check{
			ID: "nftables.egress", Title: "the machine reaches only what is allowed",
			Command:  chainHas("outbound", "policy drop;"),
			Sabotage: "nft chain inet ingot outbound '{ policy accept; }'",
		}, layers.Check{
			ID: "nftables.egress-rejected", Title: "what the machine may not reach is rejected at once and counted",
			Command:  chainHas("outbound", notAllowed),
			Sabotage: deleteRules("outbound", notAllowed),
		}, layers.Check{
			ID: "nftables.egress-unseen", Title: "what the machine sends elsewhere than allowed does not leave it",
			Packet: &layers.PacketCheck{
				After: connects(unlisted4+"/8443", unlisted6+"/8443"),
				Proto: "tcp", Port: 8443, To: []string{unlisted4 + "/32", unlisted6 + "/128"},
			},
			Sabotage: "nft insert rule inet ingot outbound tcp dport 8443 accept",
		})
	}
	return checks
}

// Hosts that no allowlist would have: of the networks for documentation, RFC 5737
// and RFC 3849.
const unlisted4, unlisted6 = "198.51.100.243", "2001:db8:f3::243"

// connects is a command that tries a TCP connection to each "address/port".
func connects(to ...string) []string {
	var tries []string
	for _, t := range to {
		tries = append(tries, "timeout 2 bash -c 'true <>/dev/tcp/"+t+"'")
	}
	return []string{"sh", "-c", strings.Join(tries, "; ")}
}

// serviceChecks look at how the rules come into the kernel.
func serviceChecks() []layers.Check {
	return []layers.Check{
		{
			ID: "nftables.service", Title: "the firewall is loaded", SurvivesReboot: true,
			Unit: &layers.UnitCheck{Name: "nftables.service", State: "active"},
			// With its dependencies the network would stop, too.
			Sabotage: "systemctl stop --job-mode=ignore-dependencies nftables.service",
		},
		{
			ID: "nftables.sandbox", Title: "nft runs in a sandbox",
			Exposure: &layers.ExposureCheck{Unit: "nftables.service", Max: layers.MaxExposure},
			Sabotage: layers.SabotageSandbox("nftables.service"),
		},
		{
			ID: "nftables.fails-closed", Title: "networking requires the firewall",
			Command: &layers.CommandCheck{
				Argv: []string{"systemctl", "show", "--property=Requires", "systemd-networkd.service"}, Contains: "nftables.service",
			},
			// A drop-in of the same name that stands before /etc's.
			Sabotage: "d=/run/systemd/system.control/systemd-networkd.service.d; mkdir -p $d && ln -s /dev/null $d/" + requireDropin + " && systemctl daemon-reload",
		},
		{
			ID: "nftables.ruleset", Title: "the ruleset is sealed",
			File:     &layers.FileCheck{Path: Path, Owner: "root:root", Mode: 0o644, ReadOnly: true},
			Sabotage: layers.SabotageEtc,
		},
		{
			ID: "nftables.foreign-table", Title: "a reload keeps the tables of others, such as bans",
			Command: &layers.CommandCheck{Argv: []string{"sh", "-c", foreignTable}, Contains: "table inet ingot_foreign"},
			Sabotage: "d=/run/systemd/system/nftables.service.d; mkdir -p $d && printf 'flush ruleset\\ninclude \"" + Path + "\"\\n' >/run/flush.nft && " +
				"printf '[Service]\\nExecReload=\\nExecReload=/usr/sbin/nft -f /run/flush.nft\\n' >$d/90-flush.conf && systemctl daemon-reload",
		},
	}
}

// foreignTable makes a table that is not ours and looks for it after a reload.
const foreignTable = `nft add table inet ingot_foreign && systemctl reload nftables.service && nft list tables inet
nft delete table inet ingot_foreign 2>/dev/null || :`

// untrackedChecks want the owner's way in to be out of the table of connections.
func untrackedChecks(ports []layers.Port) []layers.Check {
	var checks []layers.Check
	for _, p := range ports {
		if p.Untracked {
			rule := fmt.Sprintf("%s dport %d notrack", p.Proto, p.Port)
			checks = append(checks, layers.Check{
				ID: fmt.Sprintf("nftables.untracked-%s-%d", p.Proto, p.Port), Title: fmt.Sprintf("%s port %d does not need the table of connections", p.Proto, p.Port),
				Command: chainHas("untracked_in", rule), Sabotage: deleteRules("untracked_in", rule),
			})
		}
	}
	return checks
}

// limitChecks want the limit of every port that has one, for both protocols.
func limitChecks(ports []layers.Port) []layers.Check {
	var checks []layers.Check
	for _, p := range ports {
		if p.NewPerMinute <= 0 {
			continue
		}
		for _, f := range families {
			checks = append(checks, layers.Check{
				ID:       fmt.Sprintf("nftables.limit-%s-%s-%d-%s", p.From, p.Proto, p.Port, f.name),
				Title:    fmt.Sprintf("one %s sender gets %d new connections a minute to %s port %d", f.name, p.NewPerMinute, p.Proto, p.Port),
				Command:  chainHas(chainOf(p.From), "update @"+limitSet(p, f)),
				Sabotage: deleteRules(chainOf(p.From), "@"+limitSet(p, f)),
			})
		}
	}
	return checks
}

func chainOf(from layers.From) string {
	if from == layers.FromWireGuard {
		return "from_tunnel"
	}
	return "from_internet"
}

func chainHas(chain, text string) *layers.CommandCheck {
	return &layers.CommandCheck{Argv: []string{"/usr/sbin/nft", "list", "chain", "inet", table, chain}, Contains: text}
}

// deleteRules is a command that takes the rules with a text out of a chain.
func deleteRules(chain, text string) string {
	return fmt.Sprintf(`for h in $(nft -a list chain inet %[1]s %[2]s | sed -n '/%[3]s/s/.*# handle //p'); do nft delete rule inet %[1]s %[2]s handle $h; done`,
		table, chain, text)
}
