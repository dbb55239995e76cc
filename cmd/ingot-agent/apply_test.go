package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What a config may not do, whoever wrote it: it is refused, the report says
// what for, and the last good identity stays.
func TestRefusedConfigs(t *testing.T) {
	for _, tc := range []struct{ name, config, reason string }{
		{"unit", "mkdir -p $root/etc/systemd/system && echo evil >$root/etc/systemd/system/evil.service", "/etc/systemd" + notAllowed},
		{"two things", "echo a >$root/etc/a; echo b >$root/etc/b", "/etc/a, /etc/b" + notAllowed},
		{"link with an allowed name", "rm $root/etc/hostname; ln -s /var/x $root/etc/hostname", "/etc/hostname" + notAllowed},
		{"removes the image's file", "rm $root/etc/os-release", "/etc/os-release" + notAllowed},
		{"folder for a file", "rm $root/etc/hostname; mkdir $root/etc/hostname", "/etc/hostname" + notAllowed},
		{"state volume", "echo evil >$root/var/evil || { echo CRITICAL : $root/var; exit 1; }", "CRITICAL : /sysroot/var"},
		{"another identity", "echo evil >$root/var/lib/ingot/identity/etc/hostname || { echo CRITICAL : identity; exit 1; }", "CRITICAL : identity"},
		{"network", "# needs-network", "refers to something on the network"},
		{"silent failure", "exit 1", "files stage refused the config"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			enterInitrd(t)
			afterClaw1(t)
			deliver(t, tc.config)
			r := settle(context.Background(), testAllowlist(t), hashA)
			if !r.Kept || !r.Configured || r.Applied {
				t.Errorf("got %+v", r)
			}
			if !slices.Equal(r.Tried[1:], elsewhere) || !strings.Contains(r.Tried[0], tc.reason) {
				t.Errorf("tried %q, want %q", r.Tried, tc.reason)
			}
			expectIdentity(t, claw1Identity)
			expectUntouchedVar(t)
		})
	}
}

// The state volume is as writable as before, and holds nothing new.
func expectUntouchedVar(t *testing.T) {
	t.Helper()
	if exists(sysrootVar + "/evil") {
		t.Error("the config wrote to the state volume")
	}
	var st unix.Statfs_t
	must(t, unix.Statfs(sysrootVar, &st))
	if st.Flags&(unix.ST_RDONLY|unix.ST_NOSUID|unix.ST_NODEV) != unix.ST_NOSUID|unix.ST_NODEV {
		t.Errorf("the state volume is mounted with flags %#x", st.Flags)
	}
	if got := read(t, sysroot+"/etc/hostname"); got != "the image's\n" {
		t.Errorf("an overlay is still over /etc: hostname is %q", got)
	}
}

func TestApplyWithoutIgnition(t *testing.T) {
	enterInitrd(t)
	must(t, os.Remove("/fakes/ignition"))
	err := apply(context.Background(), testAllowlist(t), hashA, []byte(scripted(claw1)))
	if err == nil || exists(identityDir) {
		t.Errorf("error %v, identity %v", err, exists(identityDir))
	}
	expectUntouchedVar(t)
}

func TestApplyInterrupted(t *testing.T) {
	enterInitrd(t)
	afterClaw1(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := apply(ctx, testAllowlist(t), hashA, []byte(scripted(claw2))); err == nil {
		t.Error("no error")
	}
	expectIdentity(t, claw1Identity)
	expectUntouchedVar(t)
}

func TestUnderOverlayReturnsBothErrors(t *testing.T) {
	enterInitrd(t)
	upper, work := stateDir+"/upper", stateDir+"/work"
	must(t, os.MkdirAll(upper, 0o755))
	must(t, os.MkdirAll(work, 0o755))
	failed := errors.New("failed")
	var held *os.File
	err := underOverlay(upper, work, func() (err error) {
		held, err = os.Create(sysroot + "/etc/hostname")
		return errors.Join(failed, err)
	})
	defer held.Close()
	if !errors.Is(err, failed) || !errors.Is(err, unix.EBUSY) {
		t.Errorf("got %v, want the function's error and that /etc is busy", err)
	}
}

const secret = "c2VjcmV0LXByaXZhdGUta2V5LW9mLXdnMA=="

// The real Ignition prints the whole config to stderr when a stage fails, and
// keeps it in its cache: neither may reach a console, the journal, the report
// or the running system's /run.
func TestSecretsStayInTheIdentity(t *testing.T) {
	spill := "mkdir -p $root/etc/ingot/secrets; echo " + secret + " >$root/etc/ingot/secrets/preshared-key-a\n" +
		"echo 'INFO : writing file'\ncat \"$cache\" >&2\n"
	for name, config := range map[string]string{
		"applied":                 spill,
		"refused by ignition":     spill + "echo 'CRITICAL : no such user'; exit 1\n",
		"refused for a name":      spill + "echo x >$root/etc/x\n",
		"refused for the network": spill + "# needs-network\n",
	} {
		t.Run(name, func(t *testing.T) {
			enterInitrd(t)
			deliver(t, config)
			var err error
			var r report
			out := captured(t, func() {
				r = settle(context.Background(), testAllowlist(t), hashA)
				err = r.write(runDir)
			})
			must(t, err)
			if strings.Contains(out, secret) {
				t.Errorf("printed:\n%s", out)
			}
			if text := r.text(""); strings.Contains(text, secret) {
				t.Errorf("on the console:\n%s", text)
			}
			if files := holding(t, runDir, secret); len(files) > 0 {
				t.Errorf("below %s the secret is in %q", runDir, files)
			}
			if r.Applied != (name == "applied") {
				t.Errorf("got %+v", r)
			}
		})
	}
}

// What the log says goes to the journal, so that a refusal can be understood.
func TestIgnitionLogReachesTheJournal(t *testing.T) {
	enterInitrd(t)
	config := stateDir + "/config"
	write(t, config, scripted("echo 'INFO : op(1) writing file'; echo 'CRITICAL : bad thing'; echo 'INFO : error at $.storage, line 3'; exit 1\n"))
	var err error
	out := captured(t, func() { err = ignite(context.Background(), config) })
	if !strings.Contains(out, "INFO : op(1) writing file") {
		t.Errorf("printed %q", out)
	}
	const want = "ignition's files stage refused the config: CRITICAL : bad thing; INFO : error at $.storage, line 3"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestIgnitionSeesOnlyItsConfig(t *testing.T) {
	enterInitrd(t)
	t.Setenv("IGNITION_CONFIG_FILE", "/elsewhere")
	t.Setenv("IGNITION_SYSTEM_CONFIG_DIR", "/elsewhere")
	t.Setenv("IGNITION_KERNEL_CMDLINE_PATH", "/elsewhere")
	config := stateDir + "/config"
	write(t, config, scripted("env | grep ^IGNITION_ | sort >/env\necho \"$@\" >/args\n"))
	must(t, ignite(context.Background(), config))
	want := strings.Join([]string{
		"IGNITION_CONFIG_FILE=" + config,
		"IGNITION_KERNEL_CMDLINE_PATH=/dev/null",
		"IGNITION_SYSTEM_CONFIG_DIR=/run/ingot/none",
		"IGNITION_SYSTEM_LOCAL_CONFIG_DIR=/run/ingot/none",
		"IGNITION_SYSTEM_RUNTIME_CONFIG_DIR=/run/ingot/none",
	}, "\n") + "\n"
	if got := read(t, "/env"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if exists(filepath.Join(runDir, "none")) {
		t.Error("the folder that must hold no base config exists")
	}
	if args := read(t, "/args"); !strings.Contains(args, "--platform=file --stage=files --root=/sysroot") {
		t.Errorf("arguments %q", args)
	}
}

func TestCritical(t *testing.T) {
	for log, want := range map[string]string{
		"":                                     "",
		"INFO : fine\n":                        "",
		"INFO : a\nCRITICAL : b\nINFO : c\n":   "CRITICAL : b",
		" CRITICAL : a \r\n\nCRITICAL : b":     "CRITICAL : a; CRITICAL : b",
		"DEBUG : error at $.x, line 1 col 2\n": "DEBUG : error at $.x, line 1 col 2",
	} {
		if got := critical(log); got != want {
			t.Errorf("%q gives %q, want %q", log, got, want)
		}
	}
}
