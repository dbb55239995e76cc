package main

import (
	"encoding/json"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const (
	testKey         = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGTitBcWs03lk69e0iooUxbgie3+WGO9m71QTfAFQTUW root@claw1\n"
	testFingerprint = "SHA256:ZKiF7tBu/n6Bhl+IlCXwbG6UL04rEQtBdle7yDyR504"
)

// What each state looks like on the console, byte for byte.
func TestReportText(t *testing.T) {
	const fwcfg, kept = "QEMU fw_cfg opt/com.coreos/config", "the last good config on ingot-var"
	for _, tc := range []struct {
		name   string
		report report
		want   string
	}{
		{"applied", report{Platform: "qemu", Configured: true, Applied: true, Source: fwcfg}, `
ingot: instance config applied from QEMU fw_cfg opt/com.coreos/config
ingot: host key SHA256:key
`},
		{"applied from the kept one", report{Configured: true, Applied: true, Source: kept, Tried: []string{fwcfg + ": not present"}}, `
ingot: instance config applied from the last good config on ingot-var
ingot:   tried QEMU fw_cfg opt/com.coreos/config: not present
ingot: host key SHA256:key
`},
		{"applied from the second best", report{Configured: true, Applied: true, Source: "a volume", Tried: []string{fwcfg + ": not present", "the ESP: not JSON"}}, `
ingot: instance config applied from a volume
ingot:   tried the ESP: not JSON
ingot: host key SHA256:key
`},
		{"refused, last good made anew", report{Configured: true, Applied: true, Kept: true, Source: kept, Tried: []string{fwcfg + ": not JSON"}}, `
ingot: INSTANCE CONFIG REFUSED: the identity made from the last good one stays
ingot:   tried QEMU fw_cfg opt/com.coreos/config: not JSON
ingot: host key SHA256:key
`},
		{"unchanged", report{Platform: "qemu", Configured: true, Source: fwcfg}, `
ingot: instance config unchanged since the last boot
ingot: host key SHA256:key
`},
		{"refused, last good kept", report{Configured: true, Kept: true, Source: fwcfg, Tried: []string{fwcfg + ": ignition's files stage refused the config: CRITICAL : no such user"}}, `
ingot: INSTANCE CONFIG REFUSED: the identity made from the last good one stays
ingot:   tried QEMU fw_cfg opt/com.coreos/config: ignition's files stage refused the config: CRITICAL : no such user
ingot: host key SHA256:key
`},
		{"unconfigured", report{Platform: "hetzner", Tried: []string{fwcfg + ": empty", kept + ": not present"}}, `
ingot: NO INSTANCE CONFIG: this machine has no identity and answers no packet
ingot:   tried QEMU fw_cfg opt/com.coreos/config: empty
ingot:   tried the last good config on ingot-var: not present
ingot:   platform hetzner (from DMI)
ingot: give it the instance.ign of "ingot build" as user-data and reboot
ingot: host key SHA256:key
`},
		{"unconfigured on unknown hardware", report{}, `
ingot: NO INSTANCE CONFIG: this machine has no identity and answers no packet
ingot:   platform unknown (from DMI)
ingot: give it the instance.ign of "ingot build" as user-data and reboot
ingot: host key SHA256:key
`},
		{"removed", report{Configured: true, Removed: []string{"/etc/systemd", "/etc/a b"}}, `
ingot: instance config unchanged since the last boot
ingot: REMOVED FROM THE IDENTITY: /etc/systemd did not belong there
ingot: REMOVED FROM THE IDENTITY: /etc/a b did not belong there
ingot: host key SHA256:key
`},
		{"names that forge lines", report{Configured: true, Removed: []string{"/etc/x\ningot: all is well", "/etc/\x1b[2J", "/etc/\u202egpj"}, Tried: []string{"a\rb"}}, `
ingot: instance config unchanged since the last boot
ingot:   tried a\rb
ingot: REMOVED FROM THE IDENTITY: /etc/x\ningot: all is well did not belong there
ingot: REMOVED FROM THE IDENTITY: /etc/\x1b[2J did not belong there
ingot: REMOVED FROM THE IDENTITY: /etc/\u202egpj did not belong there
ingot: host key SHA256:key
`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.report.text("SHA256:key"); got != strings.TrimPrefix(tc.want, "\n") {
				t.Errorf("got:\n%s\nwant:%s", got, tc.want)
			}
		})
	}
}

func TestReportTextWithoutHostKey(t *testing.T) {
	if got := (report{Configured: true}).text(""); !strings.HasSuffix(got, "ingot: host key unknown\n") {
		t.Errorf("got:\n%s", got)
	}
}

// The flag is what opens the network.
func TestReportWrite(t *testing.T) {
	for name, r := range map[string]report{
		"configured":   {Platform: "qemu", Configured: true, Applied: true, Source: "here", Tried: []string{"there: empty"}},
		"kept":         {Configured: true, Kept: true},
		"unconfigured": {Tried: []string{"there: empty"}, Removed: []string{"/etc/x"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, r.write(dir))
			if got := exists(filepath.Join(dir, "configured")); got != r.Configured {
				t.Errorf("flag: %v, want %v", got, r.Configured)
			}
			var back report
			must(t, json.Unmarshal([]byte(read(t, filepath.Join(dir, "identity.json"))), &back))
			if !reflect.DeepEqual(back, r) {
				t.Errorf("wrote %+v, want %+v", back, r)
			}
		})
	}
}

// Without its report on disk the flag must not appear either.
func TestReportWriteFails(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, reportFile, "x"), "")
	if err := (report{Configured: true}).write(dir); err == nil || exists(filepath.Join(dir, configuredFlag)) {
		t.Errorf("error %v, flag %v", err, exists(filepath.Join(dir, configuredFlag)))
	}
}

func TestPrintStatus(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, runDir, reportFile), `{"configured":true,"removed":["/etc/x"]}`)
	write(t, filepath.Join(root, "var/lib/ingot/ssh/ssh_host_ed25519_key.pub"), testKey)
	var out strings.Builder
	must(t, printStatus(&out, root))
	const want = "ingot: instance config unchanged since the last boot\n" +
		"ingot: REMOVED FROM THE IDENTITY: /etc/x did not belong there\n" +
		"ingot: host key " + testFingerprint + "\n"
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
}

func TestPrintStatusWithoutReport(t *testing.T) {
	root := t.TempDir()
	var out strings.Builder
	if err := printStatus(&out, root); err == nil || out.Len() > 0 {
		t.Errorf("missing: %v, printed %q", err, out.String())
	}
	write(t, filepath.Join(root, runDir, reportFile), `{"configured":`)
	if err := printStatus(&out, root); err == nil || !strings.Contains(err.Error(), reportFile) || out.Len() > 0 {
		t.Errorf("damaged: %v, printed %q", err, out.String())
	}
}

func TestFingerprint(t *testing.T) {
	for name, tc := range map[string]struct{ content, want string }{
		"key":       {testKey, testFingerprint},
		"garbage":   {"not a key\n", ""},
		"empty":     {"", ""},
		"truncated": {testKey[:40], ""},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			write(t, filepath.Join(root, "var/lib/ingot/ssh/ssh_host_ed25519_key.pub"), tc.content)
			if got := fingerprint(root); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	if got := fingerprint(t.TempDir()); got != "" {
		t.Errorf("without a key: %q", got)
	}
}
