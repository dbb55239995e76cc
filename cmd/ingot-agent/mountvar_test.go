package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Programs that only note what they were asked: /label holds the device with
// var's label, /repart what systemd-repart was called with.
var diskFakes = map[string]string{
	"udevadm":        "exit 0",
	"blkid":          "[ -s /label ] && cat /label || exit 2",
	"systemd-repart": "echo \"$@\" >/repart; [ -s /label ] || echo /dev/vda5 >/label",
	"e2fsck":         "echo \"$@\" >/e2fsck; exit 0",
}

// fakeDisks is a machine that booted from vda3; label is the device that has
// var's label, "" when there is none yet.
func fakeDisks(t *testing.T, label string) {
	t.Helper()
	for name, script := range diskFakes {
		fake(t, name, script)
	}
	for _, p := range []string{"vda/vda3", "vda/vda5", "vdb/vdb1", "vdc"} {
		disk, name := filepath.Dir("/sys/devices/"+p), filepath.Base(p)
		write(t, filepath.Join("/sys/devices", p, "dev"), "")
		if strings.Contains(p, "/") {
			write(t, filepath.Join(disk, name, "partition"), "1\n")
		}
		must(t, os.MkdirAll("/sys/class/block", 0o755))
		must(t, os.Symlink("/sys/devices/"+p, "/sys/class/block/"+name))
		write(t, "/dev/"+name, "")
	}
	must(t, os.Symlink("/sys/devices/vda", "/sys/class/block/vda"))
	uuid, err := partitionUUID(hashA)
	must(t, err)
	must(t, os.MkdirAll("/dev/disk/by-partuuid", 0o755))
	must(t, os.Symlink("../../vda3", "/dev/disk/by-partuuid/"+uuid))
	write(t, "/label", label)
}

func fake(t *testing.T, name, script string) {
	t.Helper()
	write(t, "/fakes/"+name, "#!/bin/sh\n"+script+"\n")
	must(t, os.Chmod("/fakes/"+name, 0o755))
}

// The fake devices cannot be mounted, so that is where each goes wrong; what
// counts is with which disk and device they got there.
func TestMountVar(t *testing.T) {
	for _, tc := range []struct{ name, label, definitions, device string }{
		{"first boot", "", allDefinitions, "/dev/vda5"},
		{"var on this disk", "/dev/vda5\n", allDefinitions, "/dev/vda5"},
		{"var on another disk", "/dev/vdb1\n", slotDefinitions, "/dev/vdb1"},
		{"var is a whole disk", "/dev/vdc\n", slotDefinitions, "/dev/vdc"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			enterInitrd(t)
			fakeDisks(t, tc.label)
			err := mountVar(context.Background())
			if err == nil || !strings.Contains(err.Error(), "mount "+tc.device+" on /var") {
				t.Errorf("got %v, want it to try %s", err, tc.device)
			}
			if got, want := read(t, "/repart"), "--dry-run=no --definitions="+tc.definitions+" /dev/vda\n"; got != want {
				t.Errorf("systemd-repart %q, want %q", got, want)
			}
			if got := read(t, "/e2fsck"); got != "-p "+tc.device+"\n" {
				t.Errorf("e2fsck %q", got)
			}
		})
	}
}

func TestMountVarFails(t *testing.T) {
	for _, tc := range []struct {
		name   string
		damage func(t *testing.T)
		want   string
	}{
		{"no root hash", func(t *testing.T) { write(t, cmdline, "quiet\n") }, "roothash= is not on the kernel command line"},
		{"short root hash", func(t *testing.T) { newImage(t, "abc") }, "64 are needed"},
		{"no such partition", func(t *testing.T) { newImage(t, hashB) }, "no partition has the root slot's UUID bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb"},
		{"disks do not settle", func(t *testing.T) { fake(t, "udevadm", "exit 1") }, "wait for the disks"},
		{"blkid fails", func(t *testing.T) { fake(t, "blkid", "exit 4") }, "look for the label ingot-var"},
		{"disk too small", func(t *testing.T) { fake(t, "systemd-repart", "exit 1") }, "it must hold two root slots"},
		{"damaged", func(t *testing.T) { fake(t, "e2fsck", "exit 4") }, "/dev/vda5 is damaged beyond automatic repair"},
		{"repaired", func(t *testing.T) { fake(t, "e2fsck", "exit 1") }, "mount /dev/vda5 on /var"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			enterInitrd(t)
			fakeDisks(t, "/dev/vda5")
			tc.damage(t)
			if err := mountVar(context.Background()); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// Of two file systems with the label none is taken by chance.
func TestTwoStates(t *testing.T) {
	enterInitrd(t)
	fakeDisks(t, "/dev/vda5")
	fake(t, "blkid", `case "$*" in *--match-token*) echo /dev/vda5; echo /dev/vdb1;; *) cat /label;; esac`)
	if err := mountVar(t.Context()); err == nil || !strings.Contains(err.Error(), "/dev/vda5 and /dev/vdb1") {
		t.Errorf("two state volumes: %v", err)
	}
}

// A machine whose state is on another disk gets no second, empty one when that disk is
// not there, or late.
func TestStateElsewhere(t *testing.T) {
	enterInitrd(t)
	fakeDisks(t, "")
	fake(t, "blkid", `case "$*" in *PART_ENTRY_NAME*vda3) echo root-b;; *) [ -s /label ] && cat /label || exit 2;; esac`)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second) // nobody attaches it
	defer cancel()
	if err := mountVar(ctx); err == nil || !strings.Contains(err.Error(), "attach it and restart") {
		t.Errorf("the state's disk is away: %v", err)
	}
	if repart, _ := os.ReadFile("/repart"); len(repart) > 0 {
		t.Errorf("a state volume was made: %s", repart)
	}
}
