package images

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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
		{"no namespace", "unshare: unshare failed: Operation not permitted\n", "install uidmap", exit, fault.OfMachine},
		{"no subordinate ids", "newuidmap: uid range not allowed\n", "/etc/subuid", exit, fault.OfMachine},
		{"no unshare", "", "install uidmap", exec.ErrNotFound, fault.OfMachine},
		{"a full disk", "install: error writing: No space left on device\ningot-refuse: ignition could not write\n", "the disk is full", exit, fault.OfMachine},
		{"anything else", strings.Repeat("early\n", 30) + "Segmentation fault\n", "Segmentation fault", exit, fault.Unknown},
	} {
		err := namespace{}.explain(script{Name: "seal"}, tc.err, tc.output)
		if !strings.Contains(err.Error(), tc.want) || fault.Of(err) != tc.kind || strings.Count(err.Error(), "early") > 19 {
			t.Errorf("%s: kind %d, %v; want kind %d, %q", tc.name, fault.Of(err), err, tc.kind, tc.want)
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
