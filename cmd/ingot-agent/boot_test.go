package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// boot is one boot's "ingot-agent identity", with its report.
func boot(t *testing.T) report {
	t.Helper()
	must(t, giveIdentity(context.Background()))
	var r report
	must(t, json.Unmarshal([]byte(read(t, filepath.Join(runDir, reportFile))), &r))
	return r
}

func TestFirstBoot(t *testing.T) {
	enterInitrd(t)
	deliver(t, claw1)
	if r := boot(t); !r.Configured || !r.Applied {
		t.Errorf("got %+v", r)
	}
	etc := contents(t, sysroot+"/etc")
	id := strings.TrimSpace(etc["machine-id"])
	if !version4.MatchString(id) {
		t.Errorf("machine-id %q", id)
	}
	for p, want := range map[string]string{
		"hostname":                    "claw1\n",
		"ssh/authorized_keys.d/admin": "key1\n",
		"os-release":                  "the image's\n",
	} {
		if etc[p] != want {
			t.Errorf("/etc/%s is %q, want %q", p, etc[p], want)
		}
	}
	if !exists(filepath.Join(runDir, configuredFlag)) {
		t.Error("the network stays closed")
	}
}

func TestEtcIsReadOnly(t *testing.T) {
	enterInitrd(t)
	deliver(t, claw1)
	boot(t)
	for _, p := range []string{sysroot + "/etc/hostname", sysroot + "/etc/new", runDir + "/identity/etc/hostname"} {
		if err := os.WriteFile(p, nil, 0o644); !errors.Is(err, unix.EROFS) {
			t.Errorf("writing %s: %v, want a read-only file system", p, err)
		}
	}
}

// Nothing of the state volume is in use afterwards, so that it can be
// unmounted at shutdown, and what is written there does not show in /etc.
func TestIdentityIsACopy(t *testing.T) {
	enterInitrd(t)
	deliver(t, claw1)
	boot(t)
	write(t, identityDir+"/etc/hostname", "planted\n")
	if got := read(t, sysroot+"/etc/hostname"); got != "claw1\n" {
		t.Errorf("/etc/hostname became %q", got)
	}
	if err := unix.Unmount(sysrootVar, 0); err != nil {
		t.Errorf("unmount /var: %v", err)
	}
}

func TestUnconfiguredBoot(t *testing.T) {
	enterInitrd(t)
	if r := boot(t); r.Configured {
		t.Errorf("got %+v", r)
	}
	if exists(filepath.Join(runDir, configuredFlag)) {
		t.Error("the network is open")
	}
	if got := read(t, sysroot+"/etc/hostname"); got != "the image's\n" {
		t.Errorf("hostname %q", got)
	}
	if id := strings.TrimSpace(read(t, sysroot+"/etc/machine-id")); !version4.MatchString(id) {
		t.Errorf("machine-id %q", id)
	}
}

// An unconfigured machine does not show what a refused config or root left.
func TestUnconfiguredBootShowsNoIdentity(t *testing.T) {
	enterInitrd(t)
	write(t, identityDir+"/etc/hostname", "planted\n")
	boot(t)
	if got := read(t, sysroot+"/etc/hostname"); got != "the image's\n" {
		t.Errorf("hostname %q", got)
	}
}

func TestMachineIDSurvives(t *testing.T) {
	enterInitrd(t)
	boot(t)
	first := read(t, sysroot+"/etc/machine-id")
	for name, next := range map[string]func(){
		"reboot":       func() {},
		"first config": func() { deliver(t, claw1) },
		"new config":   func() { deliver(t, claw2) },
		"new image":    func() { newImage(t, hashB) },
	} {
		reboot(t)
		next()
		boot(t)
		if got := read(t, sysroot+"/etc/machine-id"); got != first {
			t.Errorf("after %s: %q, was %q", name, got, first)
		}
	}
}

// The image's list decides, not what the state volume says.
func TestMachineIDOfTheIdentityIsNotUsed(t *testing.T) {
	enterInitrd(t)
	deliver(t, claw1+"echo "+strings.Repeat("e", 32)+" >$root/etc/machine-id\n")
	boot(t)
	if got := read(t, sysroot+"/etc/machine-id"); strings.HasPrefix(got, "eeee") {
		t.Error("the machine has the id that a config wrote")
	}
}

// Whatever root leaves on the state volume, the next boot comes up with the
// image's /etc and the declared identity, and says what it removed.
func TestPlantedThingsAreGoneAfterReboot(t *testing.T) {
	for _, p := range plants {
		if p.foreign == "" {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			enterInitrd(t)
			deliver(t, claw1)
			boot(t)
			reboot(t)
			must(t, os.RemoveAll(filepath.Join(identityDir, "etc/hostname")))
			must(t, os.RemoveAll(filepath.Join(identityDir, "etc/ssh")))
			p.make(t, identityDir+"/etc")
			r := boot(t)
			if want := []string{strings.ToValidUTF8(p.foreign, "\ufffd")}; !slices.Equal(r.Removed, want) {
				t.Errorf("removed %q, want %q", r.Removed, want)
			}
			if r.Applied || !r.Configured {
				t.Errorf("got %+v", r)
			}
			expectImageEtc(t, p.foreign)
		})
	}
}

// expectImageEtc checks that p is the image's or not there at all.
func expectImageEtc(t *testing.T, p string) {
	t.Helper()
	if p == "/etc/hostname" {
		if got := read(t, sysroot+p); got != "the image's\n" {
			t.Errorf("%s holds %q", p, got)
		}
		return
	}
	if exists(sysroot + p) {
		t.Errorf("%s is still there", p)
	}
}

func TestDevicesAndSetuidDoNothing(t *testing.T) {
	enterInitrd(t)
	deliver(t, claw1+"chmod 4755 $root/etc/hostname\n")
	boot(t)
	info, err := os.Stat(sysroot + "/etc/hostname")
	must(t, err)
	if info.Mode() != 0o755 {
		t.Errorf("mode %v, want no setuid", info.Mode())
	}
	for _, p := range []string{sysroot + "/etc", runDir + "/identity"} {
		var st unix.Statfs_t
		must(t, unix.Statfs(p, &st))
		if want := int64(unix.ST_RDONLY | unix.ST_NOSUID | unix.ST_NODEV); st.Flags&want != want {
			t.Errorf("%s is mounted with flags %#x", p, st.Flags)
		}
	}
}

func TestBootNeedsTheSealedRoot(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T){
		"no list":      func(t *testing.T) { must(t, os.Remove(allowedFile)) },
		"no root hash": func(t *testing.T) { write(t, cmdline, "quiet\n") },
	} {
		t.Run(name, func(t *testing.T) {
			enterInitrd(t)
			deliver(t, claw1)
			damage(t)
			if err := giveIdentity(context.Background()); err == nil {
				t.Error("no error")
			}
			if exists(filepath.Join(runDir, configuredFlag)) {
				t.Error("the network is open")
			}
		})
	}
}

// The next boot reads what this one wrote.
func TestStatusAfterBoot(t *testing.T) {
	enterInitrd(t)
	deliver(t, claw1)
	boot(t)
	var out strings.Builder
	must(t, printStatus(&out, realRoot))
	const want = "ingot: instance config applied from QEMU fw_cfg opt/com.coreos/config\ningot: host key unknown\n"
	if out.String() != want {
		t.Errorf("got:\n%s", out.String())
	}
}
