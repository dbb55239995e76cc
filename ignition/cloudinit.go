package ignition

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"ingot/layers"
)

// CloudInit returns the whole plan as cloud-init user-data for a stock Debian
// system: image and instance in one, since such a system has no image of ours.
// What the plan has for the sealed root only is left out and listed in the
// leading comment. Without secrets the places of the secret slots are left out
// too, and the machine refuses to come up until they are filled. The error is
// [Findings] when layers are to blame.
//
// Order on the machine: nothing may start while packages are installed; all
// files are written after that, when the accounts of packages exist; then the
// result is validated, and only a machine that passed enables its units and
// restarts into them, with the firewall before the network.
func CloudInit(plan layers.Plan, secrets Secrets) ([]byte, error) {
	plan = layers.Stock(plan)
	c := cloudConfig{plan: plan, secrets: secrets != nil}
	f, err := whole(plan, secrets)
	if err != nil {
		return nil, err
	}
	if found := c.check(f); len(found) > 0 {
		return nil, found
	}
	// Butane's translator knows what a path, a mode or a unit may be.
	if _, err := render(f, plan.Owner); err != nil {
		return nil, err
	}
	return c.write(sorted(f))
}

// cloudConfig is one rendering under way.
type cloudConfig struct {
	plan    layers.Plan
	secrets bool
}

// Where the result is on the machine, so that one step knows of another.
const (
	// filesWritten is the last file that cloud-init writes: it stops at the
	// first that it cannot write.
	filesWritten = "/run/ingot-files-written"
	// configured exists when every step has succeeded.
	configured = "/run/ingot-configured"

	unitDir   = "/etc/systemd/system"
	grubFile  = "/etc/default/grub.d/90-ingot.cfg"
	policyRCD = "/usr/sbin/policy-rc.d"
	// quietResolved is gone after the restart; what the plan says stays.
	quietResolved = "/run/systemd/resolved.conf.d/90-ingot-closed.conf"
)

// section is one top-level part of the document with a comment before it.
type section struct {
	comment string
	value   any
}

func (c cloudConfig) write(f layers.Fragment) ([]byte, error) {
	sections := []section{
		{"Before anything else: no door is open and nothing that is installed starts\nuntil the machine is what it should be.", struct {
			Bootcmd []any `yaml:"bootcmd"`
		}{c.bootcmd(f)}},
		{"", struct {
			Hostname string `yaml:"hostname"`
			Preserve bool   `yaml:"preserve_hostname"`
		}{cmp.Or(c.plan.Site.Hostname, c.plan.Site.Name), false}},
		{"The provider's default user is not made and its keys go nowhere; accounts\nhave no password. Their keys are root's files, below.", struct {
			Users       []cloudUser `yaml:"users"`
			DisableRoot bool        `yaml:"disable_root"`
			PublicKeys  bool        `yaml:"allow_public_ssh_keys"`
		}{convert(f.Users, cloudUserOf), true, false}},
		{"The system's own package sources are left alone.", struct {
			Apt      cloudApt `yaml:"apt"`
			Update   bool     `yaml:"package_update"`
			Upgrade  bool     `yaml:"package_upgrade"`
			Packages []string `yaml:"packages,omitempty"`
		}{cloudApt{true, "APT::Install-Recommends \"false\";\n"}, true, true, c.plan.Packages}},
		{"Written after the packages, whose accounts own some of them.", struct {
			Files []cloudFile `yaml:"write_files"`
		}{c.files(f)}},
		{"The first step that fails ends it all: the machine stays closed.", struct {
			Runcmd []any `yaml:"runcmd"`
		}{c.runcmd(f)}},
		{"The machine starts anew, with its firewall before its network.", struct {
			PowerState cloudPower `yaml:"power_state"`
		}{cloudPower{"reboot", "now", []string{"test", "-e", configured}}}},
	}
	doc := []byte("#cloud-config\n" + c.header())
	for _, s := range sections {
		body, err := marshal(s.value)
		if err != nil {
			return nil, err
		}
		doc = append(doc, ("\n" + commented(s.comment))...)
		doc = append(doc, body...)
	}
	return doc, nil
}

// header says what the document is and what it leaves out.
func (c cloudConfig) header() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, for a stock Debian %s system with systemd-networkd.\nMade by \"ingot render cloud-init\" from ingot.yaml: change that, not this.\n", c.plan.Site.Name, c.plan.Site.Suite)
	if c.secrets {
		b.WriteString("\nTHIS HOLDS SECRETS: keep it as safe as the folder secrets.\n")
	} else if len(c.plan.Secrets) > 0 {
		b.WriteString("\nSECRETS ARE LEFT OUT, and the machine stays closed without them. With\n--instance they are in it:\n")
		for _, s := range c.plan.Secrets {
			fmt.Fprintf(&b, "  %s at %s: %s\n", s.Name, s.Path, s.Why)
		}
	}
	if len(c.plan.SealOnly) > 0 {
		b.WriteString("\nWithout the sealed image there is not:\n")
		for _, s := range c.plan.SealOnly {
			fmt.Fprintf(&b, "  %s, layer %s: %s\n", s.What, s.Layer, s.Why)
		}
	}
	b.WriteString("\nUnits that the stock system enabled and no layer names stay enabled.\n")
	return commented(b.String())
}

// commented puts text behind number signs. A line break of YAML's is all that
// could end a comment.
func commented(text string) string {
	if text == "" {
		return ""
	}
	var b strings.Builder
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		b.WriteString(strings.TrimRight("# "+strings.Map(plain, line), " ") + "\n")
	}
	return b.String()
}

// plain replaces what YAML takes for a line break or does not take at all.
func plain(r rune) rune {
	if r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r == 0xfeff || r == utf8.RuneError {
		return '?'
	}
	return r
}

type cloudUser struct {
	Name         string `yaml:"name"`
	UID          int    `yaml:"uid,omitempty"`
	Gecos        string `yaml:"gecos,omitempty"`
	PrimaryGroup string `yaml:"primary_group,omitempty"`
	HomeDir      string `yaml:"homedir,omitempty"`
	NoCreateHome bool   `yaml:"no_create_home"`
	Shell        string `yaml:"shell,omitempty"`
	System       bool   `yaml:"system,omitempty"`
	LockPasswd   bool   `yaml:"lock_passwd"`
}

// cloudUserOf leaves further groups to a later step: packages may bring them.
// Homes are state, made from the plan's list.
func cloudUserOf(u layers.User) cloudUser {
	return cloudUser{
		Name: u.Name, UID: u.UID, Gecos: u.Gecos, PrimaryGroup: u.Group, HomeDir: u.Home,
		NoCreateHome: true, Shell: u.Shell, System: u.System, LockPasswd: true,
	}
}

type cloudApt struct {
	PreserveSources bool `yaml:"preserve_sources_list"`
	Conf            text `yaml:"conf"`
}

type cloudPower struct {
	Mode      string   `yaml:"mode"`
	Delay     string   `yaml:"delay"`
	Condition []string `yaml:"condition,flow"`
}

type cloudFile struct {
	Path        string `yaml:"path"`
	Owner       string `yaml:"owner"`
	Permissions string `yaml:"permissions"`
	Defer       bool   `yaml:"defer"`
	Encoding    string `yaml:"encoding,omitempty"`
	Content     text   `yaml:"content"`
}

// files are the plan's files, its units among them, and last the sentinel.
func (c cloudConfig) files(f layers.Fragment) []cloudFile {
	list := slices.Concat(f.Files, unitFiles(f.Units))
	if len(f.KernelArguments) > 0 {
		list = append(list, layers.File{Path: grubFile, Mode: 0o644, Contents: grubDefaults(f.KernelArguments)})
	}
	list = sortedBy(list, func(v layers.File) string { return v.Path })
	list = append(list, layers.File{Path: filesWritten, Mode: 0o644, Contents: "all of write_files is written\n"})
	return convert(list, cloudFileOf)
}

func cloudFileOf(f layers.File) cloudFile {
	out := cloudFile{
		Path: f.Path, Owner: cmp.Or(f.User, "root") + ":" + cmp.Or(f.Group, "root"),
		Permissions: fmt.Sprintf("%04o", f.Mode), Defer: true, Content: text(f.Contents),
	}
	if f.Contents != "" && !readable(f.Contents) {
		out.Encoding, out.Content = "b64", text(base64.StdEncoding.EncodeToString([]byte(f.Contents)))
	}
	return out
}

// unitFiles are the files that Ignition would write for units.
func unitFiles(units []layers.Unit) []layers.File {
	var list []layers.File
	for _, u := range units {
		if u.Contents != "" {
			list = append(list, layers.File{Path: path.Join(unitDir, u.Name), Mode: 0o644, Contents: u.Contents})
		}
		for _, d := range u.Dropins {
			list = append(list, layers.File{Path: path.Join(unitDir, u.Name+".d", d.Name), Mode: 0o644, Contents: d.Contents})
		}
	}
	return list
}

// grubDefaults is read by update-grub's shell after /etc/default/grub.
func grubDefaults(arguments []string) string {
	return fmt.Sprintf("# Kernel arguments of Ingot's layers.\nGRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX %s\"\n", strings.Join(arguments, " "))
}
