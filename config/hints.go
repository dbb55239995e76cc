package config

import (
	"ingot/layers"
	"ingot/layers/containers"
	"ingot/layers/fail2ban"
	"ingot/layers/ssh"
	"ingot/layers/wireguard"
)

// hint is what the types do not say about an option: for the schema and the
// pages, so that an editor can tell before Ingot does. The validators decide;
// tests compare the two.
type hint struct {
	standard  any // the default; nil is none
	enum      []string
	pattern   string // anchored, in the syntax that Go and ECMAScript share
	maxLength int
	minItems  int
	min, max  *int
}

func between(low, high int) hint { return hint{min: &low, max: &high} }

func (h hint) or(standard any) hint {
	h.standard = standard
	return h
}

const (
	whyPattern = `^[^"\\\n\r]*[^"\\\n\r ][^"\\\n\r]*$`
	// durationPattern is what fail2ban's options take: a number and a unit.
	durationPattern = `^[0-9]+[smhdw]$`
	// peerPattern is layers/wireguard's shape of a peer's name.
	peerPattern = `^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`
)

// hints are by the path of an option: "[]" is an item of a list, "*" the value
// of any key. Numbers that may be left out may also be 0.
var hints = map[string]hint{
	"name":           {pattern: "^" + labelShape + "$"},
	"hostname":       {pattern: "^" + labelShape + `(\.` + labelShape + ")*$", maxLength: maxHostname},
	"base.suite":     {standard: defaultSuite, enum: []string{defaultSuite}},
	"base.slotSize":  {standard: "2GiB", pattern: `^[0-9]+ ?(MiB|GiB)$`},
	"base.mirrors[]": {pattern: mirrorPattern},
	"admin.user":     {pattern: `^[a-z_][a-z0-9_-]*$`, maxLength: 32}, // useradd's,

	"admin.keys": {minItems: 1},

	"test.keys[]":    {pattern: signingKeyPattern},
	"test.require[]": {pattern: requirePattern},
	"test.max_age":   {pattern: `^[0-9]+[mhd]$`},

	"layers.ssh.port":         between(0, 65535).or(ssh.DefaultPort),
	"layers.ssh.maxAuthTries": between(0, 20).or(ssh.DefaultMaxAuthTries),

	"layers.ssh.expose":       {standard: ssh.ExposeTunnel, enum: []string{ssh.ExposeTunnel, ssh.ExposeInternet}},
	"layers.ssh.newPerMinute": between(0, 600),
	"layers.ssh.users[].name": {pattern: `^[a-z_][a-z0-9_-]*$`, maxLength: 32},

	"layers.kernel.lockdown": {standard: "integrity", enum: []string{"integrity", "confidentiality", "off"}},

	"layers.nftables.allow[].port":         between(1, 65535),
	"layers.nftables.allow[].proto":        {standard: "tcp", enum: []string{"tcp", "udp"}},
	"layers.nftables.allow[].why":          {pattern: whyPattern, maxLength: layers.MaxWhy},
	"layers.nftables.egress.allow[].port":  between(1, 65535),
	"layers.nftables.egress.allow[].proto": {standard: "tcp", enum: []string{"tcp", "udp"}},
	"layers.nftables.egress.allow[].why":   {pattern: whyPattern, maxLength: layers.MaxWhy},

	"layers.fail2ban.maxRetry":          between(0, 100).or(fail2ban.DefaultMaxRetry),
	"layers.fail2ban.findTime":          {standard: fail2ban.DefaultFindTime, pattern: durationPattern},
	"layers.fail2ban.banTime":           {standard: fail2ban.DefaultBanTime, pattern: durationPattern},
	"layers.fail2ban.recidive.bans":     between(0, 100).or(fail2ban.DefaultBans),
	"layers.fail2ban.recidive.findTime": {standard: fail2ban.DefaultRecidiveFindTime, pattern: durationPattern},
	"layers.fail2ban.recidive.banTime":  {standard: fail2ban.DefaultRecidiveBanTime, pattern: durationPattern},

	"layers.sudo.accounts[].name":       {pattern: `^[a-z_][a-z0-9_-]*$`, maxLength: 32},
	"layers.sudo.accounts[].commands":   {minItems: 1},
	"layers.sudo.accounts[].commands[]": {pattern: "^/"},
	"layers.sudo.accounts[].why":        {maxLength: 127},

	"layers.wireguard.peers[].keepalive": between(0, 65535).or(0),
	"layers.wireguard.listenPort":        between(0, 65535).or(wireguard.DefaultListenPort),
	"layers.wireguard.address":           {standard: wireguard.DefaultAddress},
	"layers.wireguard.peers":             {minItems: 1},
	"layers.wireguard.peers[].name":      {pattern: peerPattern},
	"layers.wireguard.peers[].publicKey": {pattern: `^[A-Za-z0-9+/]{43}=$`},

	"layers.containers.compose":     {standard: containers.DefaultCompose},
	"layers.containers.allow[].why": {pattern: whyPattern, maxLength: layers.MaxWhy},

	"layers.vpn.pages[].port":   between(1, 65535),
	"layers.vpn.pages[].target": between(0, 65535),
	"layers.vpn.pages[].why":    {pattern: whyPattern, maxLength: layers.MaxWhy},
	"layers.vpn.allow[].port":   between(1, 65535),
	"layers.vpn.allow[].proto":  {standard: "tcp", enum: []string{"tcp", "udp"}},
	"layers.vpn.allow[].why":    {pattern: whyPattern, maxLength: layers.MaxWhy},

	"layer.yaml.packages[]":             {pattern: `^[a-z0-9][a-z0-9+.-]+$`},
	"layer.yaml.ports[].port":           between(1, 65535),
	"layer.yaml.ports[].proto":          {standard: "tcp", enum: []string{"tcp", "udp"}},
	"layer.yaml.ports[].from":           {enum: []string{"wireguard", "internet", "loopback"}},
	"layer.yaml.ports[].why":            {pattern: whyPattern, maxLength: layers.MaxWhy},
	"layer.yaml.ports[].newPerMinute":   between(0, 1_000_000),
	"layer.yaml.egress[].port":          between(1, 65535),
	"layer.yaml.egress[].proto":         {standard: "tcp", enum: []string{"tcp", "udp"}},
	"layer.yaml.egress[].why":           {pattern: whyPattern, maxLength: layers.MaxWhy},
	"layer.yaml.state[].path":           {pattern: `^/var(/[A-Za-z0-9_@+][A-Za-z0-9_.@+-]*)+$`},
	"layer.yaml.state[].why":            {pattern: whyPattern, maxLength: layers.MaxWhy},
	"layer.yaml.validators[].argv":      {minItems: 1},
	"checks.yaml.checks[].id":           {pattern: `^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$`},
	"checks.yaml.checks[].file.path":    {pattern: "^/"},
	"checks.yaml.checks[].unit.state":   {standard: "active", enum: []string{"active", "inactive", "failed", "activating", "deactivating", "reloading"}},
	"checks.yaml.checks[].command.argv": {minItems: 1},
	"checks.yaml.checks[].http.port":    between(1, 65535),
	"checks.yaml.checks[].http.path":    {standard: "/", pattern: "^/"},
	"checks.yaml.checks[].reach.port":   between(1, 65535),
	"checks.yaml.checks[].reach.proto":  {standard: "tcp", enum: []string{"tcp", "udp"}},
	"checks.yaml.checks[].reach.from":   {enum: []string{"wireguard", "internet"}},
	"checks.yaml.checks[].reach.state":  {enum: []string{"open", "closed", "filtered"}},

	"checks.yaml.checks[].command.exit":        between(0, 255).or(0),
	"checks.yaml.checks[].ssh.login.method":    {enum: []string{"publickey", "password", "keyboard-interactive", layers.Certificate, layers.CertificateExpired, layers.CertificateForOther, layers.CertificateOfStranger}},
	"checks.yaml.checks[].packet.after":        {minItems: 1},
	"checks.yaml.checks[].packet.proto":        {standard: "tcp", enum: []string{"tcp", "udp", "icmp"}},
	"checks.yaml.checks[].packet.port":         between(0, 65535),
	"checks.yaml.checks[].packet.to":           {minItems: 1},
	"checks.yaml.checks[].packet.seconds":      between(0, 60),
	"checks.yaml.checks[].listeners.exactly":   {minItems: 1},
	"checks.yaml.checks[].listeners.exactly[]": {pattern: `^(tcp|udp)/[1-9][0-9]{0,4}(@loopback)?$`},
}

func (h hint) apply(s *schema) {
	if h.standard != nil {
		s.Default = h.standard
	}
	s.Enum, s.Pattern, s.MaxLength, s.MinItems = h.enum, h.pattern, h.maxLength, h.minItems
	s.Minimum, s.Maximum = h.min, h.max
}
