package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"ingot/fault"
)

// CheckHost reports what this machine lacks for a build, all of it at once.
func CheckHost() error {
	var missing []string
	for _, need := range []struct{ program, pkg string }{
		{"mmdebstrap", "mmdebstrap"}, {"apt-get", "apt"}, {"dpkg-deb", "dpkg"}, {"unshare", "util-linux"}, {"go", "golang-go"},
	} {
		if _, err := exec.LookPath(need.program); err != nil {
			missing = append(missing, fmt.Sprintf("%s (Debian package %s)", need.program, need.pkg))
		}
	}
	if os.Geteuid() != 0 {
		missing = append(missing, missingIDs()...)
	}
	if len(missing) > 0 {
		return fault.Machine(fmt.Errorf("this machine lacks %s", strings.Join(missing, ", ")))
	}
	return nil
}

// missingIDs says what an ordinary user lacks to own a tree with many uids.
func missingIDs() []string {
	var missing []string
	if _, err := exec.LookPath("newuidmap"); err != nil {
		missing = append(missing, "newuidmap (Debian package uidmap)")
	}
	u, err := user.Current()
	if err != nil {
		return append(missing, "a name for this user")
	}
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		b, _ := os.ReadFile(file)
		switch n := subordinate(b, u); {
		case n == 0:
			missing = append(missing, fmt.Sprintf("subordinate ids for %s in %s", u.Username, file))
		case n < enoughIDs-1: // the user's own is one more
			missing = append(missing, fmt.Sprintf("enough subordinate ids for %s in %s, which has %d and not %d", u.Username, file, n, enoughIDs))
		}
	}
	return missing
}

// subordinate is how many ids the first line for a user has in /etc/subuid or
// /etc/subgid, which is the one that unshare takes; see subuid(5).
func subordinate(file []byte, u *user.User) uint64 {
	for line := range bytes.Lines(file) {
		f := strings.Split(strings.TrimSpace(string(line)), ":")
		if len(f) == 3 && (f[0] == u.Username || f[0] == u.Uid) {
			n, _ := strconv.ParseUint(f[2], 10, 32)
			return n
		}
	}
	return 0
}

// enoughIDs are those from 0 to that of nobody, 65534.
const enoughIDs = 65535

// ready tries what scripts need, once for each build and before its downloads.
func (b *builder) ready(ctx context.Context) error {
	b.trying.Lock()
	defer b.trying.Unlock()
	if b.tried {
		return nil
	}
	dir, done, err := b.opts.Cache.Scratch("check-")
	if err != nil {
		return err
	}
	err = b.ns.run(ctx, script{Name: "check", Log: b.opts.Log, Env: map[string]string{"DIR": dir}})
	b.tried = err == nil
	return errors.Join(err, done())
}

// run runs a script where scripts can run.
func (b *builder) run(ctx context.Context, s script) error {
	if err := b.ready(ctx); err != nil {
		return err
	}
	return b.ns.run(ctx, s)
}

// lack is something that this machine does not give to a build's namespace.
type lack struct{ problem string }

var (
	noNamespace = lack{"no namespace could be made"}
	noAccounts  = lack{"a build cannot give files to other accounts here"}
	noProc      = lack{"a build cannot mount /proc here"}
	noOverlay   = lack{"a build cannot put an overlay over folders of the cache here"}
)

// lacks are by the words of scripts/check.sh.
var lacks = map[string]lack{"accounts": noAccounts, "proc": noProc, "overlay": noOverlay}

// missing finds in the output of a script what the machine did not give it.
func missing(output string, err error) (lack, bool) {
	// unshare and its helpers come before everything else that prints.
	for _, program := range []string{"unshare: ", "newuidmap: ", "newgidmap: "} {
		if strings.HasPrefix(output, program) {
			return noNamespace, true
		}
	}
	for line := range strings.Lines(output) {
		if word, ok := strings.CutPrefix(line, lacking); ok {
			l, ok := lacks[strings.TrimSpace(word)]
			return l, ok
		}
	}
	// The last two are of clone(2), when unshare was to begin in a user namespace.
	return noNamespace, errors.Is(err, exec.ErrNotFound) || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC)
}

// host is what a machine tells of itself and of this process.
type host struct {
	proc fs.FS // /proc
	euid int
}

func thisHost() host { return host{os.DirFS("/proc"), os.Geteuid()} }

// setting is the content of a file below /proc, empty if there is none.
func (h host) setting(name string) string {
	b, _ := fs.ReadFile(h.proc, name)
	return strings.TrimSpace(string(b))
}

// status is a line of this process' status, see proc_pid_status(5).
func (h host) status(name string) string {
	for line := range strings.Lines(h.setting("self/status")) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// mayMount reports whether this process has the right to, CAP_SYS_ADMIN.
func (h host) mayMount() bool {
	set, err := strconv.ParseUint(h.status("CapEff"), 16, 64)
	return err != nil || set>>unix.CAP_SYS_ADMIN&1 == 1
}

// ids are all that this user namespace has, mapped to themselves.
func (h host) ids(file string) []syscall.SysProcIDMap {
	var all []syscall.SysProcIDMap
	for line := range strings.Lines(h.setting("self/" + file)) {
		var inside, outside, count int
		if _, err := fmt.Sscan(line, &inside, &outside, &count); err == nil {
			all = append(all, syscall.SysProcIDMap{ContainerID: inside, HostID: inside, Size: count})
		}
	}
	return all
}

// fewestIDs is how many user or group ids this user namespace has, of which there
// are fewer.
func (h host) fewestIDs() int {
	count := func(file string) (n int) {
		for _, m := range h.ids(file) {
			n += m.Size
		}
		return n
	}
	return min(count("uid_map"), count("gid_map"))
}

// The sysctls that keep users from making namespaces.
const (
	maxNamespaces = "user/max_user_namespaces"                     // Linux, user_namespaces(7)
	debianClone   = "kernel/unprivileged_userns_clone"             // Debian 10 and older
	ubuntuUserns  = "kernel/apparmor_restrict_unprivileged_userns" // Ubuntu 23.10 and newer
)

// advice says why this machine does not give a namespace what it should, and what
// to do about it.
func (h host) advice(what lack, output string) string {
	sysctl := func(name string) string { return h.setting("sys/" + name) }
	user := h.euid != 0
	switch n := h.fewestIDs(); {
	case 0 < n && n < enoughIDs: // 0: there is no such file
		ids := fmt.Sprintf("%d ids", n)
		if n == 1 {
			ids = "a single id"
		}
		return fmt.Sprintf("this is a user namespace with %s, and the files of an image have ids up to %d: give it as many, as \"unshare --map-root-user --map-auto\" does, or build outside of it", ids, enoughIDs-1)
	case user && sysctl(maxNamespaces) == "0", what == noNamespace && strings.Contains(strings.ToLower(output), strings.ToLower(fullDisk)): // ENOSPC, unshare(2)
		return fmt.Sprintf("this machine allows no more of them: raise the sysctl user.max_user_namespaces, which is %s, and the other user.max_*_namespaces, or build as root of the machine", sysctl(maxNamespaces))
	case user && sysctl(debianClone) == "0":
		return "this machine lets root alone make user namespaces: set the sysctl kernel.unprivileged_userns_clone to 1, or build as root"
	case user && sysctl(ubuntuUserns) == "1":
		return "Ubuntu's AppArmor restriction takes the rights from users' namespaces (/proc/sys/" + ubuntuUserns + " is 1): set the sysctl kernel.apparmor_restrict_unprivileged_userns to 0, or build as root"
	case user && what == noNamespace && h.status("NoNewPrivs") == "1":
		return "newuidmap, which gives a namespace its ids, may have no rights here (no_new_privs): run the container without no-new-privileges (Kubernetes: allowPrivilegeEscalation), or build as root"
	case what == noOverlay:
		return "its file system is not for that, as a container's own is not: set INGOT_CACHE to a folder on a volume or another disk"
	case what == noProc:
		return "as in a container that hides parts of /proc: run it with --privileged, with --security-opt systempaths=unconfined (Docker) or unmask=ALL (Podman), or build outside of it"
	case !user, h.status("Seccomp") == "2":
		return "as in a container that may not: run it with --privileged or build outside of it"
	}
	return "install uidmap and give this user subordinate ids in /etc/subuid and /etc/subgid"
}
