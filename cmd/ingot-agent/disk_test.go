package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPartitionUUID(t *testing.T) {
	const hash = "0123456789abcdef0123456789abcdeffedcba9876543210fedcba9876543210"
	const want = "01234567-89ab-cdef-0123-456789abcdef"
	for _, h := range []string{hash, strings.ToUpper(hash)} {
		if got, err := partitionUUID(h); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", h, got, err, want)
		}
	}
	for _, h := range []string{"", hash[:63], hash + "0"} {
		if got, err := partitionUUID(h); err == nil || !strings.Contains(err.Error(), "64 are needed") {
			t.Errorf("%q: %q, %v, want advice", h, got, err)
		}
	}
}

// sysfs lays block devices out the way the kernel does: a partition's folder
// is in its disk's, and class/block holds links to both.
func sysfs(t *testing.T, disk string, partitions ...string) string {
	t.Helper()
	root := t.TempDir()
	class := filepath.Join(root, "class/block")
	must(t, os.MkdirAll(class, 0o755))
	home := filepath.Join(root, "devices/pci0000:00/block", disk)
	must(t, os.MkdirAll(home, 0o755))
	must(t, os.Symlink(home, filepath.Join(class, disk)))
	for _, p := range partitions {
		write(t, filepath.Join(home, p, "partition"), "1\n")
		must(t, os.Symlink(filepath.Join(home, p), filepath.Join(class, p)))
	}
	return class
}

func TestParentDisk(t *testing.T) {
	for _, tc := range []struct{ disk, partition string }{
		{"vda", "vda3"}, {"sdab", "sdab12"}, {"nvme0n1", "nvme0n1p4"}, {"xvda", "xvda1"}, {"mmcblk0", "mmcblk0p2"},
	} {
		class := sysfs(t, tc.disk, tc.partition)
		for _, device := range []string{tc.partition, tc.disk} {
			if got, err := parentDisk(class, "/dev/"+device); err != nil || got != "/dev/"+tc.disk {
				t.Errorf("%s: %q, %v, want /dev/%s", device, got, err, tc.disk)
			}
		}
	}
}

func TestParentDiskUnknown(t *testing.T) {
	if got, err := parentDisk(sysfs(t, "vda"), "/dev/vdb1"); err == nil || !strings.Contains(err.Error(), "/dev/vdb1") {
		t.Errorf("%q, %v, want an error that names the device", got, err)
	}
}

func TestLastArgument(t *testing.T) {
	for _, tc := range []struct{ cmdline, name, want string }{
		{"roothash=abc quiet\n", "roothash", "abc"},
		{"quiet roothash=abc", "roothash", "abc"},
		{"console=tty0 console=ttyS0,115200n8\n", "console", "ttyS0,115200n8"},
		{"a=b=c", "a", "b=c"},
		{"a=", "a", ""},
		{"xroothash=1 roothash.x=2 roothash=3 roothashx=4", "roothash", "3"},
		{"\troothash=3\n\n", "roothash", "3"},
	} {
		if got, err := lastArgument(tc.cmdline, tc.name); err != nil || got != tc.want {
			t.Errorf("%q: %q, %v, want %q", tc.cmdline, got, err, tc.want)
		}
	}
	for _, cmdline := range []string{"", "quiet", "roothash", "xroothash=1"} {
		if got, err := lastArgument(cmdline, "roothash"); err == nil || !strings.Contains(err.Error(), "roothash=") {
			t.Errorf("%q: %q, %v, want an error that names the argument", cmdline, got, err)
		}
	}
}
