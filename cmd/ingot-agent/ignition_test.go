package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ingot/ignition/ignitiontest"

	"golang.org/x/sys/unix"
)

// enterWithIgnition is enterInitrd with the real Ignition in place of the fake.
func enterWithIgnition(t *testing.T) {
	t.Helper()
	program, err := os.ReadFile(ignitiontest.Program(t))
	must(t, err)
	enterInitrd(t)
	must(t, os.WriteFile("/fakes/ignition", program, 0o755))
	write(t, sysroot+"/etc/passwd", "root:x:0:0:root:/root:/bin/bash\n")
	write(t, sysroot+"/etc/group", "root:x:0:\nsystemd-network:x:998:\n")
	must(t, unix.Mount("", "/usr", "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")) // whatever happens
}

// ign is an Ignition config of files, each given as its JSON without contents
// and its content.
func ign(files ...[2]string) string {
	var entries []string
	for _, f := range files {
		entries = append(entries, fmt.Sprintf(`{%s,"overwrite":true,"contents":{"source":"data:,%s"}}`, f[0], url.PathEscape(f[1])))
	}
	return `{"ignition":{"version":"3.6.0"},"storage":{"files":[` + strings.Join(entries, ",") + `]}}`
}

const secretFile = `"path":"/etc/ingot/secrets/preshared-key-a","mode":416,"group":{"id":998}`

func TestRealIgnition(t *testing.T) {
	enterWithIgnition(t)
	deliver(t, ign([2]string{`"path":"/etc/hostname","mode":420`, "claw1\n"}, [2]string{secretFile, secret}))
	var r report
	out := captured(t, func() { r = boot(t) })
	if !r.Applied {
		t.Fatalf("got %+v\n%s", r, out)
	}
	for p, want := range map[string]string{"hostname": "claw1\n", "ingot/secrets/preshared-key-a": secret, "os-release": "the image's\n"} {
		if got := read(t, filepath.Join(sysroot, "etc", p)); got != want {
			t.Errorf("/etc/%s is %q, want %q", p, got, want)
		}
	}
	var st unix.Stat_t
	must(t, unix.Stat(sysroot+"/etc/ingot/secrets/preshared-key-a", &st))
	if st.Uid != 0 || st.Gid != 998 || st.Mode&0o7777 != 0o640 {
		t.Errorf("the secret belongs to %d:%d with mode %#o", st.Uid, st.Gid, st.Mode&0o7777)
	}
	expectNoSecret(t, out, r)
	reboot(t)
	if again := boot(t); again.Applied || !again.Configured || ignitionRan() {
		t.Errorf("second boot: %+v", again)
	}
}

func expectNoSecret(t *testing.T, printed string, r report) {
	t.Helper()
	if text := printed + r.text(""); strings.Contains(text, secret) {
		t.Errorf("the secret was printed:\n%s", text)
	}
	for _, p := range holding(t, runDir, secret) {
		if !strings.HasPrefix(p, "identity/etc/") {
			t.Errorf("the secret is in %s/%s", runDir, p)
		}
	}
}

// However the real Ignition refuses a config, the reason is told and the
// secret is not.
func TestRealIgnitionRefuses(t *testing.T) {
	good := [2]string{secretFile, secret}
	whole := ign(good)
	for _, tc := range []struct{ name, config, reason string }{
		{"unknown owner", ign(good, [2]string{`"path":"/etc/hostname","user":{"name":"nobody-here"}`, "x"}), "nobody-here"},
		{"foreign file", ign(good, [2]string{`"path":"/etc/cron.d/evil"`, "x"}), "/etc/cron.d" + notAllowed},
		{"unit", `{"ignition":{"version":"3.6.0"},"systemd":{"units":[{"name":"evil.service","contents":"` + secret + `"}]}}`, "/etc/systemd" + notAllowed},
		{"link", `{"ignition":{"version":"3.6.0"},"storage":{"links":[{"path":"/etc/hostname","target":"/var/x","overwrite":true}]}}`, "/etc/hostname" + notAllowed},
		{"folder", `{"ignition":{"version":"3.6.0"},"storage":{"directories":[{"path":"/etc/cron.d"}]}}`, "/etc/cron.d" + notAllowed},
		{"state volume", ign(good, [2]string{`"path":"/var/evil"`, secret}), "/var/evil"},
		{"cut short", whole[:len(whole)-2], "not JSON"},
		{"not JSON", "{" + secret, "not JSON"},
		{"bad data URL", strings.Replace(whole, "data:,", "data:;base64,%%%", 1), "data"},
		{"bad scheme", strings.Replace(whole, "data:,", "sftp:", 1), "scheme"},
		{"secret as a number", strings.Replace(whole, "416", `"`+secret+`"`, 1), "cannot unmarshal string"},
		{"wrong hash", strings.Replace(whole, `"contents":{`, `"contents":{"verification":{"hash":"sha512-`+strings.Repeat("0", 128)+`"},`, 1), "hash verification failed"},
		{"bad compression", strings.Replace(whole, `"contents":{`, `"contents":{"compression":"gzip",`, 1), "gzip"},
		{"remote file", strings.Replace(whole, "data:,", "https://192.0.2.1/", 1), "something on the network"},
		{"remote config", `{"ignition":{"version":"3.6.0","config":{"replace":{"source":"https://192.0.2.1/` + secret + `"}}}}`, "something on the network"},
		{"older version", strings.Replace(whole, "3.6.0", "2.0.0", 1), "version"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			enterWithIgnition(t)
			deliver(t, tc.config)
			var r report
			out := captured(t, func() {
				r = settle(context.Background(), testAllowlist(t), hashA)
				if err := r.write(runDir); err != nil {
					t.Error(err)
				}
			})
			if r.Configured || !slices.Equal(r.Tried[1:], append(slices.Clone(elsewhere), noKept)) || !strings.Contains(r.Tried[0], tc.reason) {
				t.Errorf("got %+v, want the reason %q", r, tc.reason)
			}
			expectNoSecret(t, out, r)
			expectUntouchedVar(t)
		})
	}
}
