package sysctl

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// keyShape is a dotted key below one of the kernel's sysctl roots. Globs and
// the "-" of sysctl.d(5) are left out: every key is checked on the machine.
const keyShape = `^(abi|crypto|debug|dev|fs|kernel|net|sunrpc|user|vm)(\.[a-zA-Z0-9_-]+)+$`

// maxValue is how long a value may be; the longest real one is core_pattern's
// 128 bytes (CORENAME_MAX_SIZE).
const maxValue = 128

func keyProblem(key string) (message, advice string) {
	switch {
	case strings.Contains(key, "/"):
		return fmt.Sprintf("%q is not a dotted sysctl key", key), "write dots between the parts, such as net.ipv4.ip_forward"
	case strings.Contains(key, "*"):
		return fmt.Sprintf("%q matches many settings", key), "name each one; for network interfaces use net.ipv4.conf.all and net.ipv4.conf.default"
	case key == "kernel.modules_disabled":
		return "without modules there is neither firewall nor tunnel: both load theirs after this setting", "remove it"
	case !regexp.MustCompile(keyShape).MatchString(key):
		return fmt.Sprintf("%q is not a sysctl key", key), "use a key as sysctl -a prints it, such as kernel.sysrq"
	}
	return "", ""
}

// valueShape covers numbers, names, lists, paths and kernel.core_pattern. What
// else Unicode has could only be there to deceive a reader.
var valueShape = regexp.MustCompile(`^[A-Za-z0-9 ._:/,+|%=-]*$`)

func valueProblem(value string) (message, advice string) {
	switch {
	case strings.TrimSpace(value) == "":
		return "the value is empty", "give a value, such as 0"
	case strings.ContainsFunc(value, unicode.IsControl):
		return "the value is not one line of text", "write the value on one line, with blanks between several numbers"
	case !valueShape.MatchString(value):
		return "the value has a character that no kernel setting needs", "use letters, digits, blanks and . _ : / , + | % = -"
	case len(value) > maxValue:
		return fmt.Sprintf("the value is longer than %d bytes", maxValue), "write a shorter one"
	}
	return "", ""
}
