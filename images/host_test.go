package images

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"

	"ingot/fault"
)

// Not parallel: the umask is the whole process's.
func TestUmaskDoesNotReachTheTrees(t *testing.T) {
	dir := t.TempDir()
	defer unix.Umask(unix.Umask(0o077))
	accounts, err := writeAccounts(dir, newLock().Accounts)
	if err != nil {
		t.Fatal(err)
	}
	module := filepath.Join(dir, "module")
	if err := writeModule(module); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{accounts, module} {
		entries, err := os.ReadDir(d)
		if err != nil || len(entries) < 2 {
			t.Fatalf("%s holds %d files (%v)", d, len(entries), err)
		}
		for _, e := range entries {
			if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o644 {
				t.Errorf("%s has mode %v, want 0644 (%v)", e.Name(), info.Mode(), err)
			}
		}
	}
}

func TestWriteAccounts(t *testing.T) {
	t.Parallel()
	if dir, err := writeAccounts(t.TempDir(), Accounts{}); dir != "" || err != nil {
		t.Errorf("no accounts: %q, %v", dir, err)
	}
	dir, err := writeAccounts(t.TempDir(), Accounts{Passwd: []string{"root:x:0:0:root:/root:/bin/bash", "a:x:100:100::/:/bin/sh"}, Group: []string{"root:x:0:"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"passwd": "root:*:0:0:root:/root:/bin/bash\na:*:100:100::/:/bin/sh\n", "group": "root:*:0:\n",
	} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); string(b) != want {
			t.Errorf("%s: %q (%v), want %q", name, b, err, want)
		}
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	exit := errors.New("exit status 1")
	for _, tc := range []struct {
		name, output, want string
		err                error
		kind               fault.Kind
	}{
		{"a refusal", "checking\ningot-refuse: layer ssh: sshd -t does not accept\n", "seal refused: layer ssh: sshd -t does not accept", exit, fault.OfInput},
		{"a refusal only in passing", "echo ingot-refuse: x\n", "exit status 1", exit, fault.Unknown},
		{"no namespace", "unshare: unshare failed: Operation not permitted\n", "no namespace could be made; ", exit, fault.OfMachine},
		{"no subordinate ids", "newuidmap: uid range not allowed\n", "no namespace could be made; ", exit, fault.OfMachine},
		{"no unshare", "", "no namespace could be made; ", exec.ErrNotFound, fault.OfMachine},
		{"no user namespace", "", "no namespace could be made; ", &os.PathError{Op: "fork/exec", Err: syscall.EPERM}, fault.OfMachine},
		{"no more namespaces", "unshare: unshare failed: No space left on device\n", "raise the sysctl user.max_user_namespaces", exit, fault.OfMachine},
		{"no overlay", "mount: x\ningot-lacks: overlay\n", "cannot put an overlay over folders of the cache here; ", exit, fault.OfMachine},
		{"a lack only in passing", "echo ingot-lacks: overlay\n", "exit status 1", exit, fault.Unknown},
		{"a program of the same name later", "setting up\nunshare: x\n", "exit status 1", exit, fault.Unknown},
		{"a full disk", "install: error writing: No space left on device\ningot-refuse: ignition could not write\n", "the disk is full", exit, fault.OfMachine},
		{"anything else", strings.Repeat("early\n", 30) + "Segmentation fault\n", "Segmentation fault", exit, fault.Unknown},
	} {
		err := namespace{}.explain(script{Name: "seal"}, tc.err, tc.output)
		if !strings.Contains(err.Error(), tc.want) || fault.Of(err) != tc.kind || strings.Count(err.Error(), "early") > 19 {
			t.Errorf("%s: kind %d, %v; want kind %d, %q", tc.name, fault.Of(err), err, tc.kind, tc.want)
		}
	}
}

// Why no namespace could be made is in /proc.
func TestAdvice(t *testing.T) {
	t.Parallel()
	const all, one, rootless = "0 0 4294967295\n", "0 1000 1\n", "0 1000 1\n1 100000 65536\n"
	const clone, apparmor, most = "sys/kernel/unprivileged_userns_clone", "sys/kernel/apparmor_restrict_unprivileged_userns", "sys/user/max_user_namespaces"
	for _, tc := range []struct {
		name string
		euid int
		ids  string
		what lack
		said string
		proc map[string]string
		want string
	}{
		{"nothing known", 1000, all, noNamespace, "", nil, "install uidmap and give this user subordinate ids in /etc/subuid and /etc/subgid"},
		{"none allowed", 1000, all, noNamespace, "", map[string]string{most: "0\n"}, "raise the sysctl user.max_user_namespaces, which is 0, "},
		{"none left", 1000, all, noNamespace, "unshare: unshare failed: No space left on device", map[string]string{most: "7\n"}, "user.max_user_namespaces, which is 7, "},
		{"none left for root", 0, all, noNamespace, "fork/exec: no space left on device", map[string]string{most: "7\n"}, "user.max_user_namespaces, which is 7, "},
		{"old Debian", 1000, all, noNamespace, "", map[string]string{clone: "0\n"}, "set the sysctl kernel.unprivileged_userns_clone to 1"},
		{"Ubuntu", 1000, all, noNamespace, "", map[string]string{apparmor: "1\n"}, "Ubuntu's AppArmor restriction takes the rights from users' namespaces (/proc/sys/kernel/apparmor_restrict_unprivileged_userns is 1): set the sysctl"},
		{"Ubuntu, found later", 1000, all, noProc, "", map[string]string{apparmor: "1\n"}, "Ubuntu's AppArmor restriction"},
		{"Ubuntu without it", 1000, all, noNamespace, "", map[string]string{apparmor: "0\n", clone: "1\n", most: "9\n"}, "install uidmap"},
		{"Ubuntu, root", 0, all, noNamespace, "", map[string]string{apparmor: "1\n"}, "as in a container that may not"},
		{"a container", 1000, all, noNamespace, "", map[string]string{"self/status": "Name:\tingot\nSeccomp:\t2\nSeccomp_filters:\t1\n"}, "as in a container that may not: run it with --privileged"},
		{"no new rights", 1000, all, noNamespace, "", map[string]string{"self/status": "NoNewPrivs:\t1\nSeccomp:\t2\n"}, "(no_new_privs): run the container without no-new-privileges"},
		{"no container", 1000, all, noNamespace, "", map[string]string{"self/status": "Seccomp:\t0\n"}, "install uidmap"},
		{"a container's disk", 0, rootless, noOverlay, "", nil, "set INGOT_CACHE to a folder on a volume"},
		{"a container's /proc", 0, all, noProc, "", nil, "--security-opt systempaths=unconfined"},
		{"a single id", 0, one, noAccounts, "", map[string]string{apparmor: "1\n"}, "this is a user namespace with a single id, and the files of an image have ids up to 65534: "},
		{"a single id, not root", 1000, "1000 1000 1\n", noNamespace, "newuidmap: write to uid_map failed", nil, "with a single id"},
		{"few ids", 0, "0 1000 1\n1 100000 999\n", noAccounts, "", nil, "this is a user namespace with 1000 ids"},
	} {
		proc := fstest.MapFS{"self/uid_map": {Data: []byte(tc.ids)}, "self/gid_map": {Data: []byte(all)}}
		for name, content := range tc.proc {
			proc[name] = &fstest.MapFile{Data: []byte(content)}
		}
		if got := (host{proc, tc.euid}).advice(tc.what, tc.said); !strings.Contains(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestHostReadsItsOwnState(t *testing.T) {
	t.Parallel()
	proc := fstest.MapFS{
		"self/status":  {Data: []byte("Name:\tingot\nCapPrm:\t000001ffffffffff\nCapEff:\t00000000a80425fb\n")}, // Docker's default
		"self/uid_map": {Data: []byte("         0       1000          1\n         1     100000      65536\n")},
		"self/gid_map": {Data: []byte("0 100 1\n")},
	}
	h := host{proc, 0}
	if h.mayMount() || h.fewestIDs() != 1 {
		t.Errorf("mayMount %v, %d ids", h.mayMount(), h.fewestIDs())
	}
	if got, want := h.ids("uid_map"), []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}, {ContainerID: 1, HostID: 1, Size: 65536}}; !slices.Equal(got, want) {
		t.Errorf("ids %v, want %v", got, want)
	}
	proc["self/status"] = &fstest.MapFile{Data: []byte("CapEff:\t000001ffffffffff\n")}
	if !h.mayMount() {
		t.Error("root may not mount")
	}
	if here := thisHost(); here.fewestIDs() < 1 || here.status("Pid") != strconv.Itoa(os.Getpid()) {
		t.Errorf("here: %d ids, pid %q", here.fewestIDs(), here.status("Pid"))
	}
}

func TestSubordinate(t *testing.T) {
	t.Parallel()
	u := &user.User{Username: "builder", Uid: "1000"}
	for file, want := range map[string]uint64{
		"": 0, "other:100000:65536\n": 0, "builder:100000:65536\n": 65536, "1000:5:7": 7, "other:1:2\nbuilder:100000:1000\nbuilder:200000:65536\n": 1000,
		"builder:100000\n": 0, "builder:100000:many\n": 0, "builders:1:2\n": 0,
	} {
		if got := subordinate([]byte(file), u); got != want {
			t.Errorf("%q: %d, want %d", file, got, want)
		}
	}
}

// What is tried before a build is what a build needs, and leaves nothing.
func TestReady(t *testing.T) {
	t.Parallel()
	if err := CheckHost(); err != nil {
		t.Skip(err)
	}
	b := &builder{opts: Options{Cache: newCache(t)}}
	if err := b.ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantNames(t, filepath.Join(b.opts.Cache.Dir, "tmp"))
	b.opts.Cache.Dir = "/none"
	if err := b.ready(t.Context()); err != nil {
		t.Errorf("it was tried twice: %v", err)
	}
}

// The same for root of a user namespace, as of an unprivileged container, and for
// root without the right to mount. What an ordinary user's build does is the same
// as the first.
func TestReadyElsewhere(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("TestReady is in a user namespace, and only root can take its own rights away")
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	all := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1<<32 - 1}}
	for _, tc := range []struct {
		name string
		argv []string
		attr *syscall.SysProcAttr
	}{
		{"root of a user namespace", nil, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: all, GidMappings: all, GidMappingsEnableSetgroups: true}},
		{"root that may not mount", []string{"setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"}, nil},
	} {
		argv := append(tc.argv, program, "-test.run=^TestReady$", "-test.v")
		cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
		cmd.SysProcAttr = tc.attr
		if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: TestReady")) {
			t.Errorf("%s: %v\n%s", tc.name, err, out)
		}
	}
}

// Nothing of the host's environment may reach the bytes of an image.
func TestEnvironment(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1")
	t.Setenv("LANG", "de_DE.UTF-8")
	for _, e := range environment(map[string]string{"TREE": "/x"}) {
		name, _, _ := strings.Cut(e, "=")
		if !slices.Contains([]string{"PATH", "LC_ALL", "TZ", "HOME", "TMPDIR", "DEBIAN_FRONTEND", "SYSTEMD_OFFLINE", "TREE"}, name) {
			t.Errorf("a script sees %s", e)
		}
	}
}

func TestCheckHostNamesAllThatIsMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := CheckHost()
	if fault.Of(err) != fault.OfMachine {
		t.Fatalf("%v, want the machine's fault", err)
	}
	for _, want := range []string{"mmdebstrap (Debian package mmdebstrap)", "apt-get (Debian package apt)", "unshare (Debian package util-linux)", "go (Debian package golang-go)"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %q", want, err)
		}
	}
}

func TestOutputSeesAFullDisk(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		pieces []string
		want   int // the piece that tells, counted from 1; 0 for none
	}{
		{[]string{"fine\n", "No space left\n", "on device\n"}, 0},
		{[]string{"mkfs: No space left on device\n", "more\n"}, 1},
		{[]string{strings.Repeat("x", 100), "failed: No space l", "eft on device", "\n"}, 3},
	} {
		told := false
		o := &output{onFullDisk: func() { told = true }}
		got := 0
		for i, p := range tc.pieces {
			if _, err := io.Copy(o, io.LimitReader(strings.NewReader(p), 1<<20)); err != nil { // as exec does
				t.Fatal(err)
			}
			if told && got == 0 {
				got = i + 1
			}
		}
		if got != tc.want || o.all.String() != strings.Join(tc.pieces, "") {
			t.Errorf("%q: told after piece %d, want %d", tc.pieces, got, tc.want)
		}
	}
}
