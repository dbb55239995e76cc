package writer

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func swapoff(name *byte) error {
	if _, _, errno := unix.Syscall(unix.SYS_SWAPOFF, uintptr(unsafe.Pointer(name)), 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// freezeTime is how long processes may take to stop.
const freezeTime = 10 * time.Second

// freeze stops all processes but this one and its ancestors, among which are those
// of sshd that carry its connection, and returns the control groups that it froze.
// A process that goes on could be made to run what has become of its files on the
// disk; when process 1 dies of that, so does the kernel, in the middle of the
// writing. Where there are no control groups of version 2 the old system goes on
// from what the kernel has of it in memory.
func freeze() []string {
	root := controlGroups()
	if root == "" || !spare(root) {
		return nil
	}
	groups, _ := filepath.Glob(filepath.Join(root, "*", "cgroup.freeze")) // the pattern is right
	var frozen []string
	for _, g := range groups {
		// Process 1 may have to feed a watchdog.
		if filepath.Base(filepath.Dir(g)) == "init.scope" && watched() {
			continue
		}
		if os.WriteFile(g, []byte("1"), 0) == nil {
			frozen = append(frozen, filepath.Dir(g))
		}
	}
	deadline := time.Now().Add(freezeTime)
	for _, g := range frozen {
		for !strings.Contains(readText(filepath.Join(g, "cgroup.events")), "frozen 1") && time.Now().Before(deadline) {
			time.Sleep(20 * time.Millisecond)
		}
	}
	return frozen
}

func thaw(groups []string) {
	for _, g := range groups {
		_ = os.WriteFile(filepath.Join(g, "cgroup.freeze"), []byte("0"), 0) // there is no other way to do it
	}
}

// controlGroups is where those of version 2 are, "" where they are not.
func controlGroups() string {
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(filepath.Join(dir, "cgroup.controllers")); err == nil {
			return dir
		}
	}
	return ""
}

// spare takes this process and its ancestors out of what is frozen.
func spare(root string) bool {
	for pid := os.Getpid(); pid > 1; pid = parent(pid) {
		if os.WriteFile(filepath.Join(root, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0) != nil {
			return false
		}
	}
	return true
}

// parent is a process' parent, 0 when it has none.
func parent(pid int) int {
	for line := range strings.Lines(readText("/proc/" + strconv.Itoa(pid) + "/status")) {
		if rest, ok := strings.CutPrefix(line, "PPid:"); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(rest)) // the kernel writes a number
			return n
		}
	}
	return 0
}

// watched reports whether the machine is reset when nobody says for a while that it
// is alive.
func watched() bool {
	states, _ := filepath.Glob("/sys/class/watchdog/*/state") // the pattern is right
	for _, s := range states {
		if readText(s) == "active" {
			return true
		}
	}
	return false
}
