package custom

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"

	"ingot/config/document"
	"ingot/layers"
)

// ChecksName is the file in a layer's folder with what must be true of the
// booted machine. It may be missing.
const ChecksName = "checks.yaml"

// checksFile is checks.yaml.
type checksFile struct {
	// Checks are what must be true of the booted machine.
	Checks []check `yaml:"checks" ingot:"required"`
}

// check has one verb. The verbs are those of [layers.Check].
type check struct {
	// ID is unique in the folder; the folder's name goes before it.
	ID string `yaml:"id" ingot:"required"`
	// Title is one line for people.
	Title string `yaml:"title" ingot:"required"`
	// Sabotage is a shell command that root runs on the booted machine, after
	// which the check must fail.
	Sabotage string `yaml:"sabotage" ingot:"required"`
	// SurvivesReboot makes the check a second time, after a reboot.
	SurvivesReboot bool `yaml:"survivesReboot"`

	// File looks at a path's owner, mode and content.
	File *fileCheck `yaml:"file"`
	// Unit looks at the state of a unit, and at whether it is enabled.
	Unit *unitCheck `yaml:"unit"`
	// Command runs a program as root, without a shell.
	Command *commandCheck `yaml:"command"`
	// Sysctl looks at a setting of the kernel.
	Sysctl *sysctlCheck `yaml:"sysctl"`
	// HTTP asks a web service through the tunnel, as a peer does.
	HTTP *httpCheck `yaml:"http"`
	// Reach looks at a port from one place.
	Reach *reachCheck `yaml:"reach"`
	// SSH looks at what sshd offers, or tries to log in, through the tunnel.
	SSH *sshCheck `yaml:"ssh"`
	// Packet looks for a packet on the uplink after a command.
	Packet *packetCheck `yaml:"packet"`
	// Listeners looks at the sockets that listen.
	Listeners *listenersCheck `yaml:"listeners"`
}

// KeyAdvice implements the decoder's interface of that name.
func (check) KeyAdvice(key string) (message, advice string) {
	for verb, wrong := range map[string][]string{
		"listeners": {"listener", "listen", "sockets", "ports"}, "reach": {"port", "tcp", "udp"}, "http": {"url", "get"},
		"command": {"run", "exec", "shell"}, "packet": {"packets", "uplink"}, "unit": {"service", "systemd"},
	} {
		if slices.Contains(wrong, key) {
			return fmt.Sprintf("unknown key %q", key), "the verb is called " + verb
		}
	}
	return "", ""
}

type fileCheck struct {
	// Path is absolute.
	Path string `yaml:"path" ingot:"required"`
	// Owner is "user:group".
	Owner string `yaml:"owner"`
	// Mode is octal, such as 0644.
	Mode mode `yaml:"mode"`
	// Contains is text that must be in it.
	Contains string `yaml:"contains"`
	// ReadOnly wants that root cannot write it.
	ReadOnly bool `yaml:"readOnly"`
}

type unitCheck struct {
	// Name is the unit's, with its suffix.
	Name string `yaml:"name" ingot:"required"`
	// State is what "systemctl is-active" prints, active by default; with enabled
	// it is not looked at by default.
	State string `yaml:"state"`
	// Enabled is true, false (disabled), or what else "systemctl is-enabled" prints,
	// such as masked or static.
	Enabled enabled `yaml:"enabled"`
}

type commandCheck struct {
	// Argv is the program and its arguments.
	Argv []string `yaml:"argv" ingot:"required"`
	// Exit is the code that it must end with, 0 by default.
	Exit int `yaml:"exit"`
	// Contains is text that it must print.
	Contains string `yaml:"contains"`
	// Lacks is text that it must not print.
	Lacks string `yaml:"lacks"`
	// Silent wants that it prints nothing.
	Silent bool `yaml:"silent"`
}

type sysctlCheck struct {
	// Key is dotted, such as kernel.sysrq.
	Key string `yaml:"key" ingot:"required"`
	// Value is what the kernel must have, as text.
	Value string `yaml:"value" ingot:"required"`
}

type httpCheck struct {
	// Port is 1 to 65535.
	Port int `yaml:"port" ingot:"required"`
	// Path begins with a slash, / by default.
	Path string `yaml:"path"`
	// Status is the answer's, 200 by default.
	Status int `yaml:"status"`
	// Contains is text that must be in the answer.
	Contains string `yaml:"contains"`
}

type reachCheck struct {
	// Proto is tcp, the default, or udp.
	Proto string `yaml:"proto"`
	// Port is 1 to 65535.
	Port int `yaml:"port" ingot:"required"`
	// From is internet or wireguard.
	From string `yaml:"from" ingot:"required"`
	// State is open, closed (refused) or filtered (no answer).
	State string `yaml:"state" ingot:"required"`
}

const (
	checkShape = `^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$`
	// /proc/sys below its dots; an interface may stand in it.
	sysctlShape = `^[a-z0-9_]+([./][A-Za-z0-9_*-]+)+$`
	ownerShape  = `^[a-z_][a-z0-9_-]{0,31}:[a-z_][a-z0-9_-]{0,31}$`
	verbs       = "file, unit, command, sysctl, http, reach, ssh, packet or listeners"
)

func (l *loader) checks(f checksFile) []layers.Check {
	var list []layers.Check
	for i, x := range f.Checks {
		list = append(list, l.check(x, "checks", i))
	}
	return list
}

func (l *loader) check(x check, at ...any) layers.Check {
	id := path.Base(l.name) + "." + x.ID
	if !matches(checkShape, x.ID) {
		l.report(fmt.Sprintf("%q is not the name of a check", x.ID), "use up to 64 lower-case letters, digits and dashes, such as answers", join(at, "id")...)
	}
	l.once("check", id, join(at, "id"))
	if strings.TrimSpace(x.Title) == "" || strings.ContainsFunc(x.Title, func(r rune) bool { return !unicode.IsPrint(r) }) {
		l.report("the title is not a line of text", "say in one line what is true, such as the page is served", join(at, "title")...)
	}
	if strings.TrimSpace(x.Sabotage) == "" {
		l.report("a check that cannot fail is none", "give a shell command after which it must fail, such as systemctl stop my-app", join(at, "sabotage")...)
	}
	c := layers.Check{ID: id, Title: x.Title, Sabotage: x.Sabotage, SurvivesReboot: x.SurvivesReboot}
	switch n := l.verb(x, &c, at); {
	case n == 0:
		l.report("the check has no verb", "add one of "+verbs, at...)
	case n > 1:
		l.report("the check has more than one verb", "make a check of each", at...)
	}
	return c
}

// verb fills the verb of a check in and returns how many there are.
func (l *loader) verb(x check, c *layers.Check, at []any) int {
	n := 0
	if x.File != nil {
		n++
		c.File = l.fileCheck(*x.File, join(at, "file"))
	}
	if x.Unit != nil {
		n++
		c.Unit = l.unitCheck(*x.Unit, join(at, "unit"))
	}
	if x.Command != nil {
		n++
		c.Command = l.commandCheck(*x.Command, join(at, "command"))
	}
	if x.Sysctl != nil {
		n++
		if !matches(sysctlShape, x.Sysctl.Key) {
			l.report(fmt.Sprintf("%q is not the name of a sysctl", x.Sysctl.Key), "write one such as net.ipv4.ip_forward", join(at, "sysctl", "key")...)
		}
		c.Sysctl = &layers.SysctlCheck{Key: x.Sysctl.Key, Value: x.Sysctl.Value}
	}
	if x.HTTP != nil {
		n++
		c.HTTP = l.httpCheck(*x.HTTP, join(at, "http"))
	}
	if x.Reach != nil {
		n++
		c.Reach = l.reachCheck(*x.Reach, join(at, "reach"))
	}
	if x.SSH != nil {
		n++
		l.sshCheck(*x.SSH, c, join(at, "ssh"))
	}
	if x.Packet != nil {
		n++
		c.Packet = l.packetCheck(*x.Packet, join(at, "packet"))
	}
	if x.Listeners != nil {
		n++
		c.Listener = l.listenersCheck(*x.Listeners, join(at, "listeners"))
	}
	return n
}

func (l *loader) fileCheck(x fileCheck, at []any) *layers.FileCheck {
	if !path.IsAbs(x.Path) || path.Clean(x.Path) != x.Path || strings.ContainsFunc(x.Path, unicode.IsControl) {
		l.report(fmt.Sprintf("%q is not a plain absolute path", x.Path), "write the path from / without . and .. in it", join(at, "path")...)
	}
	if x.Owner != "" && !matches(ownerShape, x.Owner) {
		l.report(fmt.Sprintf("%q is not an owner", x.Owner), "write user:group, such as root:root", join(at, "owner")...)
	}
	return &layers.FileCheck{Path: x.Path, Owner: x.Owner, Mode: int(x.Mode), Contains: x.Contains, ReadOnly: x.ReadOnly}
}

func (l *loader) unitCheck(x unitCheck, at []any) *layers.UnitCheck {
	if !matches(unitShape, x.Name) {
		l.report(fmt.Sprintf("%q is not the name of a unit", x.Name), "use a name such as my-app.service", join(at, "name")...)
	}
	if x.State == "" && x.Enabled == "" {
		x.State = "active"
	}
	if states := []string{"active", "inactive", "failed", "activating", "deactivating", "reloading"}; x.State != "" && !slices.Contains(states, x.State) {
		l.report(fmt.Sprintf("%q is not the state of a unit", x.State), "use active, inactive or failed", join(at, "state")...)
	}
	if strings.HasPrefix(string(x.Enabled), "masked") && x.State == "active" {
		l.report("a masked unit is never active", "leave state out, or use inactive", join(at, "state")...)
	}
	return &layers.UnitCheck{Name: x.Name, State: x.State, Enabled: string(x.Enabled)}
}

// enabled is a word of "systemctl is-enabled", systemctl(1).
type enabled string

// UnmarshalText implements [encoding.TextUnmarshaler].
func (e *enabled) UnmarshalText(text []byte) error {
	word := string(text)
	switch word {
	case "true":
		word = "enabled"
	case "false":
		word = "disabled"
	}
	if !slices.Contains([]string{
		"enabled", "enabled-runtime", "linked", "linked-runtime", "alias", "masked", "masked-runtime",
		"static", "indirect", "disabled", "generated", "transient", "not-found",
	}, word) {
		return document.ValueError{
			Message: fmt.Sprintf("%q does not say whether a unit is enabled", word),
			Advice:  "use true, false, masked, static, or another word that systemctl is-enabled prints",
		}
	}
	*e = enabled(word)
	return nil
}

func (l *loader) commandCheck(x commandCheck, at []any) *layers.CommandCheck {
	l.argv(x.Argv, join(at, "argv")...)
	if x.Exit < 0 || x.Exit > 255 {
		l.report(fmt.Sprintf("%d is not the code that a program ends with", x.Exit), "use 0 to 255", join(at, "exit")...)
	}
	switch {
	case x.Silent && x.Contains != "":
		l.report("the program is to print nothing, and a text", "remove silent or contains", join(at, "silent")...)
	case x.Silent && x.Lacks != "":
		l.report("a program that prints nothing lacks every text", "remove silent or lacks", join(at, "silent")...)
	case x.Lacks != "" && strings.Contains(x.Contains, x.Lacks):
		l.report(fmt.Sprintf("the program is to print %q and not to print %q", x.Contains, x.Lacks), "remove one of the two", join(at, "lacks")...)
	}
	return &layers.CommandCheck{Argv: x.Argv, Exit: x.Exit, Contains: x.Contains, Lacks: x.Lacks, Silent: x.Silent}
}

func (l *loader) httpCheck(x httpCheck, at []any) *layers.HTTPCheck {
	l.portNumber(x.Port, join(at, "port"))
	if x.Path == "" {
		x.Path = "/"
	}
	if !strings.HasPrefix(x.Path, "/") || strings.ContainsFunc(x.Path, func(r rune) bool { return r <= ' ' || r > '~' }) {
		l.report(fmt.Sprintf("%q is not a path of a web service", x.Path), "write it from /, with special characters as %XX", join(at, "path")...)
	}
	if x.Status != 0 && (x.Status < 100 || x.Status > 599) {
		l.report(fmt.Sprintf("%d is not a status of HTTP", x.Status), "use 100 to 599, or leave it out for 200", join(at, "status")...)
	}
	return &layers.HTTPCheck{Port: x.Port, Path: x.Path, Status: x.Status, Contains: x.Contains}
}

func (l *loader) reachCheck(x reachCheck, at []any) *layers.ReachCheck {
	l.portNumber(x.Port, join(at, "port"))
	proto := l.proto(x.Proto, join(at, "proto"))
	from := layers.From(x.From)
	if from != layers.FromInternet && from != layers.FromWireGuard {
		l.report(fmt.Sprintf("%q is not a place to look from", x.From), "use internet or wireguard", join(at, "from")...)
	}
	if from == layers.FromWireGuard && proto == "udp" {
		l.report("UDP ports cannot be looked at from the tunnel", "look from the internet, or ask the service with a command", join(at, "proto")...)
	}
	if !slices.Contains([]string{"open", "closed", "filtered"}, x.State) {
		l.report(fmt.Sprintf("%q is not the state of a port", x.State), "use open, closed (refused) or filtered (no answer)", join(at, "state")...)
	}
	return &layers.ReachCheck{Proto: proto, Port: x.Port, From: from, State: x.State}
}
