package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// mountVar creates what the shipped disk lacks (the b slot and var), then
// mounts the state volume on the future root's /var.
func mountVar(ctx context.Context) error {
	disk, err := rootDisk()
	if err != nil {
		return err
	}
	existing, err := findVar()
	if err != nil {
		return err
	}
	if existing == "" {
		if elsewhere, err := stateWasElsewhere(ctx, disk); err != nil {
			return err
		} else if elsewhere {
			if existing, err = awaitVar(ctx); err != nil {
				return fmt.Errorf("this machine's state is on another disk, which is not there: attach it and restart: %w", err)
			}
		}
	}
	// A var on another disk belongs to this machine: a second one here would
	// make the label ambiguous at the next boot.
	definitions := allDefinitions
	if existing != "" && !onDisk(existing, disk) {
		definitions = slotDefinitions
	}
	if err := run(ctx, "systemd-repart", "--dry-run=no", "--definitions="+definitions, disk); err != nil {
		return fmt.Errorf("the disk %s could not be partitioned; it must hold two root slots and 512 MiB of state, 5 GiB with slots of 2 GiB: %w", disk, err)
	}
	device := existing
	if device == "" {
		if device, err = awaitVar(ctx); err != nil {
			return fmt.Errorf("after systemd-repart: %w", err)
		}
	}
	return mountState(ctx, device)
}

// stateWasElsewhere reports whether an earlier boot has laid out a disk without var, as
// it does when the state is on another one. The table is written whole, at one time.
func stateWasElsewhere(ctx context.Context, disk string) (bool, error) {
	partitions, err := filepath.Glob(filepath.Join(classBlock, filepath.Base(disk), "*", "partition"))
	names := map[string]bool{}
	for _, p := range partitions {
		name, err := blkid(ctx, "--probe", "--match-tag", "PART_ENTRY_NAME", "--output", "value", "/dev/"+filepath.Base(filepath.Dir(p)))
		if err != nil {
			return false, err
		}
		names[name] = true
	}
	return names["root-b"] && !names[varLabel], err
}

// mountState checks, mounts and grows the state volume.
func mountState(ctx context.Context, device string) error {
	// e2fsck exits 1 when it repaired something, which is what it is for.
	if err := run(ctx, "e2fsck", "-p", device); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() > 1 {
			return fmt.Errorf("the state volume %s is damaged beyond automatic repair: %w", device, err)
		}
	}
	if err := unix.Mount(device, sysrootVar, "ext4", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_NOATIME, ""); err != nil {
		return fmt.Errorf("mount %s on /var: %w", device, err)
	}
	if err := run(ctx, "/usr/lib/systemd/systemd-growfs", sysrootVar); err != nil {
		return fmt.Errorf("grow %s: %w", device, err)
	}
	return nil
}

// rootDisk finds the disk that holds the running root slot. The partition's
// UUID is the first half of the root hash, so there is no guessing between
// disks.
func rootDisk() (string, error) {
	hash, err := kernelArgument("roothash")
	if err != nil {
		return "", err
	}
	id, err := partitionUUID(hash)
	if err != nil {
		return "", err
	}
	partition, err := filepath.EvalSymlinks("/dev/disk/by-partuuid/" + id)
	if err != nil {
		return "", fmt.Errorf("no partition has the root slot's UUID %s: %w", id, err)
	}
	return parentDisk(classBlock, partition)
}

// classBlock is where the kernel lists disks and partitions.
const classBlock = "/sys/class/block"

// parentDisk is the disk of a partition, by the kernel's list of block
// devices. A whole disk is its own parent.
func parentDisk(classBlock, device string) (string, error) {
	sys, err := filepath.EvalSymlinks(filepath.Join(classBlock, filepath.Base(device)))
	if err != nil {
		return "", fmt.Errorf("find the disk of %s: %w", device, err)
	}
	if _, err := os.Stat(sys + "/partition"); err != nil {
		return device, nil
	}
	return "/dev/" + filepath.Base(filepath.Dir(sys)), nil
}

func onDisk(device, disk string) bool {
	real, err := filepath.EvalSymlinks(device)
	if err != nil {
		return false
	}
	parent, err := parentDisk(classBlock, real)
	return err == nil && parent == disk
}

// partitionUUID is the UUID of the root partition for a root hash: its first
// 128 bits, as the Discoverable Partitions Specification defines.
func partitionUUID(rootHash string) (string, error) {
	if len(rootHash) != 64 {
		return "", fmt.Errorf("roothash= on the kernel command line has %d digits, 64 are needed", len(rootHash))
	}
	h := strings.ToLower(rootHash)
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:32]}, "-"), nil
}

// findVar is the device with the var label once udev has settled, or "".
func findVar() (string, error) {
	if err := exec.Command("udevadm", "settle", "--timeout=30").Run(); err != nil {
		return "", fmt.Errorf("wait for the disks: %w", err)
	}
	devices, err := labelled(context.Background(), []string{varLabel})
	if err != nil {
		return "", fmt.Errorf("look for the label %s: %w", varLabel, err)
	}
	if len(devices) > 1 {
		return "", fmt.Errorf("%s are all labelled %s, and none is taken by chance: detach the disk that is not this machine's, or change its label with e2label", strings.Join(devices, " and "), varLabel)
	}
	return strings.Join(devices, ""), nil
}

// awaitVar waits for the state volume: the partition that systemd-repart has just made, or
// one on a disk that is late.
func awaitVar(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		device, err := findVar()
		if err != nil || device != "" {
			return device, err
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("there is no file system labelled %s", varLabel)
		case <-tick.C:
		}
	}
}

// run runs a program with its output on the journal.
func run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(name), err)
	}
	return nil
}

// kernelArgument is the value of name= on this machine's kernel command line.
func kernelArgument(name string) (string, error) {
	b, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return "", err
	}
	return lastArgument(string(b), name)
}

// lastArgument is the value of name= on a kernel command line. The last one
// counts, as it does for systemd, which opens the root by the same roothash=.
func lastArgument(cmdline, name string) (string, error) {
	words := strings.Fields(cmdline)
	for _, word := range slices.Backward(words) {
		if v, ok := strings.CutPrefix(word, name+"="); ok {
			return v, nil
		}
	}
	return "", fmt.Errorf("%s= is not on the kernel command line", name)
}
