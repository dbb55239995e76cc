package sysctl

import (
	"strings"
	"testing"

	"ingot/layers"
)

func TestSet(t *testing.T) {
	t.Parallel()
	l := Layer{Options{Set: map[string]Value{
		"net.ipv4.conf.default.rp_filter": "2",
		"vm.swappiness":                   "10",
		"net.ipv4.tcp_rmem":               "4096\t87380  6291456",
	}}}
	text := render(l.settings())
	for line, count := range map[string]int{
		"net.ipv4.conf.default.rp_filter = 2":       1,
		"net.ipv4.conf.*.rp_filter = 2":             1, // follows default
		"net.ipv4.conf.all.rp_filter = 1":           1,
		"net.ipv4.conf.default.rp_filter = 1":       0,
		"vm.swappiness = 10":                        1,
		"net.ipv4.tcp_rmem = 4096 87380 6291456":    1,
		"net.ipv4.conf.all.log_martians = 1":        1, // field notes §2.4
		"net.ipv4.conf.default.log_martians = 1":    1,
		"fs.suid_dumpable = 0":                      1,
		"net.ipv4.conf.all.accept_source_route = 0": 1,
	} {
		if got := strings.Count(text, "\n"+line+"\n"); got != count {
			t.Errorf("%q is there %d times, want %d", line, got, count)
		}
	}
}

// Every setting is promised once, and every promise is checked.
func TestEverySettingIsChecked(t *testing.T) {
	t.Parallel()
	seen, checked := map[string]bool{}, map[string]string{}
	for _, c := range (Layer{}).Contribute(layers.Site{}).Checks {
		if c.Sysctl != nil {
			checked[c.Sysctl.Key] = c.Sysctl.Value
		}
	}
	for _, s := range defaults() {
		if seen[s.key] {
			t.Errorf("%s is set twice", s.key)
		}
		seen[s.key] = true
		if message, _ := keyProblem(s.key); message != "" {
			t.Error(message)
		}
		if checked[s.key] != s.value || s.value == "" || s.why == "" {
			t.Errorf("%s: checked %q, set %q, why %q", s.key, checked[s.key], s.value, s.why)
		}
	}
	if len(checked) != len(seen) {
		t.Errorf("%d checks for %d settings", len(checked), len(seen))
	}
}

// A sabotage must change what is read: the same value would go unnoticed.
func TestEverySettingHasASabotage(t *testing.T) {
	t.Parallel()
	l := Layer{Options{Set: map[string]Value{"kernel.sysrq": "176", "vm.swappiness": "10"}}}
	for _, s := range l.settings() {
		got := sabotage(s)
		if !strings.Contains(got, s.key) && !strings.HasSuffix(got, "/proc/sys/"+strings.ReplaceAll(s.key, ".", "/")) {
			t.Errorf("%s: %s is about something else", s.key, got)
		}
		if strings.HasSuffix(got, s.key+"="+s.value) {
			t.Errorf("%s: %s sets the right value", s.key, got)
		}
	}
	for _, c := range l.Contribute(layers.Site{}).Checks {
		if c.Sabotage == "" {
			t.Errorf("%s has no sabotage", c.ID)
		}
	}
}
