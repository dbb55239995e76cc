// Package sudo is the layer of service accounts: each may run a short list of
// commands as root without a password and nothing else (field notes §2.5). A
// command that would let an account become root in a roundabout way is refused
// with the reason.
package sudo

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"ingot/layers"
	"ingot/layers/admin"
)

// Options of the layer.
type Options struct {
	// Accounts are made by the layer. They have no password, no login shell
	// and no home.
	Accounts []Account `yaml:"accounts"`
}

// Account is one service account.
type Account struct {
	// Name is the account's, and that of its group.
	Name string `yaml:"name" ingot:"required"`
	// UID is the number of user and group, 500 to 599; 500 by default. With
	// several accounts each needs one: files on /var keep their owner's
	// number, so it must not move when another account goes.
	UID int `yaml:"uid"`
	// Commands are what the account may run as root, each an absolute path
	// with its arguments: /usr/bin/systemctl or /usr/bin/journalctl, or a program
	// that a custom layer puts below /usr/local or /opt. "*" is for part of a
	// unit's name in systemctl.
	Commands []string `yaml:"commands" ingot:"required"`
	// Why says what the account is for.
	Why string `yaml:"why" ingot:"required"`
}

// Numbers of the accounts: inside Debian's range for system accounts (100 to
// 999, adduser.conf), away from both ends, where packages take theirs.
const (
	MinUID = 500
	MaxUID = 599
)

// maxWhy is the longest reason, in bytes: a line of text.
const maxWhy = 127

// Layer is the sudo layer with its options.
type Layer struct{ Options Options }

// Name implements [layers.Layer].
func (Layer) Name() string { return "sudo" }

// Validate implements [layers.Layer].
func (l Layer) Validate(site layers.Site) []layers.Finding {
	var v validator
	for i, a := range l.Options.Accounts {
		v.account(i, a, l.Options.Accounts[:i], site)
		if a.UID == 0 && len(l.Options.Accounts) > 1 {
			v.findings = append(v.findings, layers.Finding{
				Path: []any{"accounts", i, "uid"}, Missing: true, Message: "one of several accounts has no number of its own",
				Advice: fmt.Sprintf("add uid: with a number from %d to %d; files on /var keep it, so it must not move when another account goes", MinUID, MaxUID),
			})
		}
	}
	return v.findings
}

type validator struct{ findings []layers.Finding }

func (v *validator) report(message, advice string, path ...any) {
	v.findings = append(v.findings, layers.Finding{Path: append([]any{"accounts"}, path...), Message: message, Advice: advice})
}

func (v *validator) account(i int, a Account, before []Account, site layers.Site) {
	if message, advice := admin.NameProblem(a.Name); message != "" {
		v.report(message, advice, i, "name")
	} else if a.Name == site.Admin.User {
		v.report(fmt.Sprintf("%s is the administrator, who may do everything already", a.Name), "give the service an account of its own", i, "name")
	}
	if a.UID != 0 && (a.UID < MinUID || a.UID > MaxUID) {
		v.report(fmt.Sprintf("%d is not a number for a service account", a.UID), fmt.Sprintf("use one from %d to %d", MinUID, MaxUID), i, "uid")
	}
	if message := whyProblem(a.Why); message != "" {
		v.report(message, "say in a few words what the account is for, such as restarts the agent", i, "why")
	}
	if len(a.Commands) == 0 {
		v.report("the account may run nothing", "name a command, such as /usr/bin/systemctl restart openclaw*, or remove the account", i, "commands")
	}
	for j, text := range a.Commands {
		if _, err := parse(text); err != nil {
			v.report(err.message, err.advice, i, "commands", j)
		} else if slices.Contains(a.Commands[:j], text) {
			v.report("the command is there twice", "keep one of the two", i, "commands", j)
		}
	}
	v.duplicates(i, a, before)
}

func (v *validator) duplicates(i int, a Account, before []Account) {
	for j, other := range before {
		if a.Name == other.Name {
			v.report(fmt.Sprintf("accounts[%d] has the same name", j), "put all commands of an account into one list", i, "name")
		}
		if a.UID != 0 && a.UID == other.UID {
			v.report(fmt.Sprintf("accounts[%d] has the same number", j), "give every account one of its own", i, "uid")
		}
	}
}

// whyProblem says why a text cannot be a comment in sudoers. A backslash at
// the end of a comment continues it on the next line.
func whyProblem(why string) string {
	switch {
	case strings.TrimSpace(why) == "":
		return "an account needs a reason"
	case strings.ContainsFunc(why, func(r rune) bool { return r == '\\' || !unicode.IsPrint(r) }):
		return "the reason holds a line break, a backslash or an unprintable character"
	case len(why) > maxWhy:
		return fmt.Sprintf("the reason is longer than %d bytes", maxWhy)
	}
	return ""
}

func (a Account) uid() int {
	if a.UID == 0 {
		return MinUID
	}
	return a.UID
}

// Contribute implements [layers.Layer].
func (l Layer) Contribute(layers.Site) layers.Contribution {
	c := layers.Contribution{Packages: []string{"sudo"}}
	if len(l.Options.Accounts) == 0 {
		return c
	}
	for i, a := range l.Options.Accounts {
		c.Image.Groups = append(c.Image.Groups, layers.Group{Name: a.Name, GID: a.uid(), System: true})
		c.Image.Users = append(c.Image.Users, layers.User{
			Name: a.Name, UID: a.uid(), Group: a.Name, Home: "/nonexistent", Shell: noShell, Gecos: "service account", System: true,
		})
		c.Image.Files = append(c.Image.Files, layers.File{
			Path: sudoersPath(a.Name), Mode: 0o440, Contents: sudoers(a),
			Why: "what " + a.Name + " may do as root: " + a.Why, Option: []any{"accounts", i},
		})
		c.Validators = append(c.Validators, layers.Validator{Argv: []string{"/usr/sbin/visudo", "-c", "-s", "-f", sudoersPath(a.Name)}})
		c.Checks = append(c.Checks, checks(a)...)
	}
	// The rules as sudo reads them, all files together.
	c.Validators = append(c.Validators, layers.Validator{Argv: []string{"/usr/sbin/visudo", "-c"}})
	return c
}

// noShell is Debian's shell of accounts that do not log in.
const noShell = "/usr/sbin/nologin"
