package compose

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// unit is a Quadlet file while it is written: sections in this order, keys in
// the order in which they are added.
type unit struct {
	sections []string
	lines    map[string][]string
}

func newUnit(sections ...string) *unit {
	return &unit{sections: sections, lines: map[string][]string{}}
}

// set adds a key with a value that is one argument, quotes and all: Image=,
// Volume=, PublishPort= and most others.
func (u *unit) set(section, key, value string) { u.add(section, key, plain(value)) }

// words adds a key with a list of words, of which each is one argument: Exec=,
// Environment=, PodmanArgs=.
func (u *unit) words(section, key string, values ...string) {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = word(v)
	}
	u.add(section, key, strings.Join(quoted, " "))
}

// add writes a value as it is, with systemd's specifiers.
func (u *unit) add(section, key, value string) {
	u.lines[section] = append(u.lines[section], key+"="+value)
}

func (u *unit) String() string {
	var b strings.Builder
	for _, s := range u.sections {
		if len(u.lines[s]) == 0 {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "[%s]\n", s)
		for _, line := range u.lines[s] {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// plain keeps systemd from reading % as a specifier and $ as a variable: what
// Quadlet makes is a command line of a unit (systemd.service(5)).
func plain(s string) string { return strings.NewReplacer("%", "%%", "$", "$$").Replace(s) }

// word is one word of a list, quoted where it has to be (systemd.syntax(7)).
func word(s string) string {
	if regexp.MustCompile(`^[A-Za-z0-9_@+=:,./%$-]+$`).MatchString(s) {
		return plain(s)
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`).Replace(plain(s)) + `"`
}

// unfit reports a value that cannot be on one line of a unit: it would end the
// line, or join the next.
func unfit(s string) bool {
	return strings.ContainsFunc(s, unicode.IsControl) || strings.HasSuffix(s, `\`) || strings.TrimSpace(s) != s
}

// seconds is a time span for systemd and Podman.
func seconds(n float64) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.3f", n), "0"), ".") + "s"
}
