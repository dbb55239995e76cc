package writer

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func thisHost() host {
	return host{open: openDevice, prepare: prepare, available: available, quiet: quiet, end: end, patience: 15 * time.Second}
}

func openDevice(path string, exclusive bool) (device, []span, error) {
	d, err := openDisk(path, exclusive)
	if err != nil {
		return nil, nil, err
	}
	partitions, err := d.partitions()
	if err != nil {
		d.Close()
		return nil, nil, err
	}
	return d, partitions, nil
}

// prepare refuses what a system cannot be replaced by or on: a disk that the running
// root is not on, a container, and this program when it would be read from that disk.
func prepare(path string) error {
	sys, err := wholeDisk(path)
	if err != nil {
		return err
	}
	on, err := rootIsOn(sys)
	if err != nil {
		return err
	}
	if !on {
		return fmt.Errorf("the running system is not on %s, and something of it is in use", path)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs("/proc/self/exe", &fs); err != nil {
		return err
	}
	var ns unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &ns); err != nil {
		return err
	}
	if ns.Ino != initialPIDNamespace {
		return errors.New("this is a container, and its host cannot be replaced from in here")
	}
	if fs.Type != unix.TMPFS_MAGIC && fs.Type != unix.RAMFS_MAGIC {
		return errors.New("the agent must run from a file system in memory")
	}
	// Not of the system that ends, and not what it ends when memory is short. Both
	// are more than is needed: without swap nothing of it leaves the memory.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0)
	_ = unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT)
	return nil
}

// initialPIDNamespace is PROC_PID_INIT_INO of linux/proc_ns.h.
const initialPIDNamespace = 0xeffffffc

// available is what the kernel would give without pushing anything out, less what
// comes back from swap.
func available() (int64, error) {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	kib := map[string]int64{}
	for line := range strings.Lines(string(b)) {
		if name, rest, ok := strings.Cut(line, ":"); ok && len(strings.Fields(rest)) > 0 {
			kib[name], _ = strconv.ParseInt(strings.Fields(rest)[0], 10, 64) // those that are read are numbers
		}
	}
	return (kib["MemAvailable"] - (kib["SwapTotal"] - kib["SwapFree"])) << 10, nil
}

// quiet ends the old system's activity without ending it: its processes are frozen
// but for this one and those that carry its connection, its swap is off and its
// file systems are read-only. Whatever fails, the old system goes on, if with
// read-only file systems.
func quiet(path string) (err error) {
	// The connection may go now, and with it a terminal.
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGTERM, unix.SIGPIPE)
	_, _ = unix.Setsid() // sshd has made one already
	frozen := freeze()
	defer func() {
		if err != nil {
			thaw(frozen)
			err = fmt.Errorf("%w; nothing was written: reboot the machine to have its file systems writable again", err)
		}
	}()
	if err := swapOff(); err != nil {
		return err
	}
	if err := readOnly(); err != nil {
		return err
	}
	return flushBuffers(path)
}

func swapOff() error {
	b, err := os.ReadFile("/proc/swaps")
	if err != nil {
		return nil // a kernel without swap
	}
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) < 5 || fields[0] == "Filename" {
			continue
		}
		name, err := unix.BytePtrFromString(unescape(fields[0]))
		if err != nil {
			return err
		}
		if err := swapoff(name); err != nil {
			return fmt.Errorf("switch off the swap on %s: %w", fields[0], err)
		}
	}
	return nil
}

// readOnlyTime is how long the file systems may take to write what they have.
const readOnlyTime = 2 * time.Minute

// readOnly makes all file systems on disks read-only, open files or not.
func readOnly() error {
	unix.Sync()
	// The kernel does not say when it is done, nor whether.
	asked := os.WriteFile("/proc/sysrq-trigger", []byte("u"), 0)
	deadline := time.Now().Add(readOnlyTime)
	for {
		writable, err := writableMounts()
		if err != nil || len(writable) == 0 {
			return err
		}
		if asked != nil {
			for _, target := range writable {
				_ = unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
			}
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("%s could not be made read-only", strings.Join(writable, ", ")), asked)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// mount is a line of mountinfo, proc_pid_mountinfo(5).
type mount struct {
	major, minor    uint32
	target, source  string
	writable, block bool
}

func parseMounts(info []byte) ([]mount, error) {
	var list []mount
	for line := range bytes.Lines(info) {
		before, after, ok := strings.Cut(string(line), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 6 || len(right) < 3 {
			return nil, fmt.Errorf("a line of mountinfo: %q", line)
		}
		m := mount{target: unescape(left[4]), source: unescape(right[1])}
		if _, err := fmt.Sscanf(left[2], "%d:%d", &m.major, &m.minor); err != nil {
			return nil, fmt.Errorf("a line of mountinfo: %q", line)
		}
		m.writable = slices.Contains(strings.Split(right[2], ","), "rw")
		// Btrfs has no number of a device.
		m.block = m.major != 0 || strings.HasPrefix(m.source, "/dev/")
		list = append(list, m)
	}
	return list, nil
}

// unescape reads the octal numbers that the kernel writes for spaces and such.
func unescape(s string) string {
	for _, c := range []string{" ", "\t", "\n", "\\"} {
		s = strings.ReplaceAll(s, fmt.Sprintf("\\%03o", c[0]), c)
	}
	return s
}

func mounts() ([]mount, error) {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parseMounts(info)
}

// writableMounts are where file systems on disks can be written to.
func writableMounts() ([]string, error) {
	list, err := mounts()
	var targets []string
	for _, m := range list {
		if m.block && m.writable {
			targets = append(targets, m.target)
		}
	}
	return targets, err
}

// rootIsOn reports whether the running root is on a disk, directly or through
// volumes.
func rootIsOn(disk string) (bool, error) {
	list, err := mounts()
	if err != nil {
		return false, err
	}
	for _, m := range list {
		if m.target != "/" || !m.block {
			continue
		}
		var st unix.Stat_t
		if m.major == 0 && unix.Stat(m.source, &st) == nil {
			m.major, m.minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
		}
		if sys, err := sysOf(m.major, m.minor); err == nil && standsOn(sys, disk) {
			return true, nil
		}
	}
	return false, nil
}

// standsOn reports whether a block device is a disk, is a partition of it, or has
// some of it below.
func standsOn(sys, disk string) bool {
	if sys == disk || filepath.Dir(sys) == disk {
		return true
	}
	below, _ := filepath.Glob(filepath.Join(sys, "slaves", "*")) // the pattern is right
	return slices.ContainsFunc(below, func(link string) bool {
		next, err := filepath.EvalSymlinks(link)
		return err == nil && standsOn(next, disk)
	})
}

// flushBuffers writes what the kernel still has for a disk and its partitions, so
// that it does not do so later.
func flushBuffers(path string) error {
	unix.Sync()
	sys, err := wholeDisk(path)
	if err != nil {
		return err
	}
	partitions, _ := filepath.Glob(filepath.Join(sys, "*", "partition")) // the pattern is right
	devices := []string{path}
	for _, p := range partitions {
		devices = append(devices, "/dev/"+filepath.Base(filepath.Dir(p)))
	}
	for _, d := range devices {
		f, err := os.Open(d)
		if errors.Is(err, os.ErrNotExist) {
			continue // a system without device files for partitions has none of them mounted
		}
		if err != nil {
			return err
		}
		err = unix.IoctlSetInt(int(f.Fd()), blkFlushBuf, 0)
		f.Close()
		if err != nil {
			return fmt.Errorf("flush %s: %w", d, err)
		}
	}
	return nil
}

// flushOthers writes what a rescue system has not yet written to its other disks: the end
// of the machine asks nobody. A file server that has gone is not waited for.
func flushOthers() {
	done := make(chan struct{})
	go func() { defer close(done); unix.Sync() }()
	select {
	case <-done:
	case <-time.After(readOnlyTime):
	}
}

// end ends the machine without asking anything of the old system.
func end(e Ending) error {
	command := unix.LINUX_REBOOT_CMD_RESTART
	if e == Off {
		command = unix.LINUX_REBOOT_CMD_POWER_OFF
	}
	return unix.Reboot(command)
}
