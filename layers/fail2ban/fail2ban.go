// Package fail2ban is the layer that bans who fails to log in (field notes
// §2.2): brute force becomes a waste of time while SSH faces the internet, in
// the transition before it closes or whenever it is opened again.
//
// The notes' second tier, 2 failures in 7 days, would fire before the first
// ever could: whoever failed 3 times has failed twice. It is taken as 2 bans
// in 7 days, fail2ban's "recidive".
package fail2ban

import (
	_ "embed"

	"ingot/layers"
)

// Options of the layer. The zero value is the field notes' two tiers.
// Durations are a whole number and a unit: s, m, h, d or w.
type Options struct {
	// MaxRetry is how many failed logins are one too many, 3 by default.
	MaxRetry int `yaml:"maxRetry"`
	// FindTime is within how long they count, 24h by default.
	FindTime string `yaml:"findTime"`
	// BanTime is how long the address is banned from SSH, 24h by default.
	BanTime string `yaml:"banTime"`
	// Recidive is the second tier, for addresses that come back.
	Recidive Recidive `yaml:"recidive"`
	// Ignore are addresses and subnets that are never banned, besides the
	// machine itself and the tunnel, which never are.
	Ignore []string `yaml:"ignore"`
}

// Recidive is the tier of slow brute force.
type Recidive struct {
	// Bans is how many bans are one too many, 2 by default.
	Bans int `yaml:"bans"`
	// FindTime is within how long they count, 7d by default.
	FindTime string `yaml:"findTime"`
	// BanTime is how long the address is banned from every TCP port, 30d by
	// default.
	BanTime string `yaml:"banTime"`
}

// Defaults of [Options] and [Recidive].
const (
	DefaultMaxRetry = 3     // field notes §2.2, maxretry
	DefaultFindTime = "24h" // field notes §2.2, findtime
	DefaultBanTime  = "24h" // field notes §2.2, bantime

	DefaultBans             = 2     // field notes §2.2, maxretry of sshd-long
	DefaultRecidiveFindTime = "7d"  // field notes §2.2, findtime of sshd-long
	DefaultRecidiveBanTime  = "30d" // field notes §2.2, bantime of sshd-long
)

// Where things are on the machine.
const (
	// StateDir holds the bans: they survive reboots and new images.
	StateDir = "/var/lib/fail2ban"

	database       = StateDir + "/fail2ban.sqlite3"
	ignoreProgram  = "/usr/libexec/ingot/fail2ban-ignore"
	rereadProgram  = "/usr/libexec/ingot/fail2ban-reread"
	settingsPath   = "/etc/fail2ban/fail2ban.local"
	jailPath       = "/etc/fail2ban/jail.local"
	nftPath        = "/etc/fail2ban/action.d/nftables-common.local"
	sshdFilterPath = "/etc/fail2ban/filter.d/sshd.local"
)

// Names of the two jails; fail2ban's filter of that name knows "recidive" as
// the jail whose own bans do not count.
const (
	sshdJail     = "sshd"
	recidiveJail = "recidive"
)

//go:embed ignore.sh
var ignoreScript string

//go:embed reread.py
var rereadScript string

// Layer is the fail2ban layer with its options.
type Layer struct{ Options Options }

// Name implements [layers.Layer].
func (Layer) Name() string { return "fail2ban" }

// Contribute implements [layers.Layer].
func (l Layer) Contribute(layers.Site) layers.Contribution {
	on := true
	return layers.Contribution{
		Packages: []string{"fail2ban", "nftables", "python3-systemd"},
		Image: layers.Fragment{
			Files: l.files(),
			Units: []layers.Unit{{
				Name: "fail2ban.service", Enabled: &on, Why: "bans addresses that fail to log in",
				Dropins: []layers.Dropin{
					{Name: "10-ingot.conf", Contents: service, Why: "starts after the firewall, remembers bans from before a restart"},
					{Name: "20-sandbox.conf", Contents: sandbox, Why: "leaves fail2ban the journal, its bans and the firewall, and nothing else"},
				},
			}},
		},
		State: []layers.State{{Path: StateDir, User: "root", Group: "root", Mode: 0o700, Why: "the bans in force and those to be counted"}},
		// What python3's package remembers of compiling itself.
		Disposable: []string{"/var/lib/python/python3*_installed"},
		Validators: []layers.Validator{
			{Argv: []string{"/usr/bin/fail2ban-client", "-t"}},
			{Argv: []string{"/usr/bin/systemd-analyze", "verify", "--man=no", "fail2ban.service"}, PrintsErrors: true},
		},
		Profiles: []layers.Profile{{
			Name: profileName, Path: profilePath, Contents: profile, Unit: "fail2ban.service", Why: "holds fail2ban, which is root and reads what attackers write, to its bans",
		}},
		Checks: checks(),
	}
}

func (l Layer) files() []layers.File {
	return []layers.File{
		{Path: settingsPath, Mode: 0o644, Contents: settings, Why: "fail2ban logs to the journal and keeps its bans on /var"},
		{Path: nftPath, Mode: 0o644, Contents: nftAction, Why: "bans drop packets, except on the tunnel and on loopback"},
		{Path: sshdFilterPath, Mode: 0o644, Contents: sshdFilter, Why: "what counts as a failed login"},
		{Path: ignoreProgram, Mode: 0o755, Contents: ignoreScript, Why: "says of an address that the tunnel leads to it, so that it is never banned"},
		{Path: rereadProgram, Mode: 0o755, Contents: rereadScript, Why: "lets the second tier count bans from before a restart"},
	}
}

// Finish implements [layers.Finisher]: what is banned from is where the port
// table says that SSH is.
func (l Layer) Finish(plan layers.Plan) layers.Contribution {
	return layers.Contribution{Image: layers.Fragment{Files: []layers.File{
		{Path: jailPath, Mode: 0o644, Contents: l.jails(sshPorts(plan.Ports)), Why: "the two tiers: failed logins, and bans of those who come back"},
	}}}
}
