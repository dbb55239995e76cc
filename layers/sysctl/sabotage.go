package sysctl

import (
	"fmt"
	"strings"
)

// wrong are values for settings that take neither 0 nor 1.
var wrong = map[string]string{
	"kernel.core_pattern":       "core",
	"vm.mmap_rnd_bits":          "28", // the least of x86-64
	"vm.mmap_rnd_compat_bits":   "8",  // the same
	"vm.mmap_min_addr":          "4096",
	"kernel.randomize_va_space": "1",
}

// locked are settings that stay as they are until the next boot, root or not.
var locked = map[string]bool{
	"kernel.kexec_load_disabled":       true,
	"kernel.unprivileged_bpf_disabled": true,
}

// sabotage is a command after which the setting is read as another value. The
// values of ingot.yaml may be of any kind, so that the file is covered.
func sabotage(s setting) string {
	if locked[s.key] || s.why == optionWhy {
		return fmt.Sprintf("echo sabotage >/run/setting && mount --bind /run/setting /proc/sys/%s", strings.ReplaceAll(s.key, ".", "/"))
	}
	value := wrong[s.key]
	switch {
	case value != "":
	case s.value == "0":
		value = "1"
	default:
		value = "0"
	}
	return fmt.Sprintf("sysctl -w %s=%s", s.key, value)
}
