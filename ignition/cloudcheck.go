package ignition

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"unicode/utf8"

	"ingot/layers"
)

var (
	// accountShape is what useradd and groupadd take (shadow's chkname.c,
	// lower case only as in Debian's adduser.conf).
	accountShape = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)
	// packageShape is a name of Debian Policy §5.6.1.
	packageShape = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
	// argumentShape is what means the same to a shell, to GRUB's script
	// language, which gets it unquoted, and to the kernel.
	argumentShape = regexp.MustCompile(`^[A-Za-z0-9_.,:=+/@%-]+$`)
)

// check reports what cloud-init, or the programs it is to run, cannot express.
func (c cloudConfig) check(f layers.Fragment) Findings {
	var found Findings
	report := func(what, format string, a ...any) {
		found = append(found, Finding{Layer: c.plan.Owner[what], What: what, Message: fmt.Sprintf(format, a...)})
	}
	account := func(what, name string) {
		if name != "" && !accountShape.MatchString(name) {
			report(what, "cloud-init cannot make or use the account %q; use lower-case letters, digits, - and _", name)
		}
	}
	for _, v := range f.Files {
		what := "file " + path.Clean(v.Path)
		account(what, v.User)
		account(what, v.Group)
		if v.Mode > 0o7777 || v.Mode < 0 {
			report(what, "%#o is no mode of a file", v.Mode)
		}
	}
	for _, v := range f.Directories {
		account("directory "+path.Clean(v.Path), v.User)
		account("directory "+path.Clean(v.Path), v.Group)
	}
	for _, v := range f.Links {
		if !isText(v.Target) {
			report("file "+path.Clean(v.Path), "its target %q is not text, which cloud-init cannot take", v.Target)
		}
	}
	for _, v := range f.Groups {
		account("group "+v.Name, v.Name)
	}
	for _, v := range f.Users {
		what := "user " + v.Name
		account(what, v.Name)
		for _, g := range append([]string{v.Group}, v.Groups...) {
			account(what, g)
		}
		if strings.ContainsAny(v.Gecos+v.Home+v.Shell, ":\n\r\x00") {
			report(what, "a colon or a line break cannot be in passwd; leave it out of gecos, home and shell")
		}
	}
	for _, v := range f.KernelArguments {
		name, _, _ := strings.Cut(v, "=")
		if !argumentShape.MatchString(v) {
			report("kernel argument "+name, "update-grub takes %q apart; a stock system cannot have it", v)
		}
	}
	for _, v := range c.plan.Removed {
		if !isText(v.Pattern) {
			found = append(found, Finding{Layer: v.Layer, Message: fmt.Sprintf("the removal of %q is not text, which cloud-init cannot take", v.Pattern)})
		}
	}
	for _, v := range c.plan.Validators {
		if !isText(strings.Join(v.Argv, " ")) {
			found = append(found, Finding{Layer: v.Layer, Message: fmt.Sprintf("the validator %q is not text, which cloud-init cannot take", v.Argv)})
		}
	}
	for _, v := range c.plan.Packages {
		if !packageShape.MatchString(v) {
			report("", "%q is no name of a Debian package", v)
		}
	}
	return found
}

// isText reports what can be an argument of a program and a string of YAML.
func isText(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }
