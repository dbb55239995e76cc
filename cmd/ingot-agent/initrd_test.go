package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain lets the test binary be ingot-agent itself, for the tests that kill
// it.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "ingot-agent" {
		main()
		return
	}
	os.Exit(m.Run())
}

// fakeIgnition stands for the real Ignition. Its configs carry a shell script,
// see scripted, run in the files stage with the future root in $root; one that
// says "needs-network" cannot be had offline. Like the real one it keeps the
// config in its cache between the stages.
const fakeIgnition = `#!/bin/sh
for arg; do
	case $arg in
	--stage=*) stage=${arg#*=} ;;
	--root=*) root=${arg#*=} ;;
	--config-cache=*) cache=${arg#*=} ;;
	--state-file=*) state=${arg#*=} ;;
	--neednet=*) neednet=${arg#*=} ;;
	esac
done
echo "$stage" >>/ran
if [ "$stage" = fetch-offline ]; then
	cp "$IGNITION_CONFIG_FILE" "$cache"
	cp "$cache" "$state"
	if grep -q needs-network "$cache"; then : >"$neednet"; fi
	exit 0
fi
script=$(sed -n 's/^{"ignition":{"version":"3.6.0"},"script":"\(.*\)"}$/\1/p' "$cache" | sed 's/\\"/"/g')
eval "$(printf %b "$script")"
`

// scripted is a config for fakeIgnition.
func scripted(script string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(script) // a string can be encoded
	return `{"ignition":{"version":"3.6.0"},"script":` + strings.TrimSpace(b.String()) + "}"
}

// Where the initrd's own files are, seen from inside.
const (
	ranFile = "/ran" // the stages fakeIgnition went through
	fwcfg   = "/sys/firmware/qemu_fw_cfg/by_name/opt/com.coreos/config/raw"
	cmdline = "/proc/cmdline"
)

// enterInitrd puts the test into a machine's initrd: everything it sees from
// now on is a tree in memory, with the sealed root on /sysroot, an empty state
// volume on its /var and fakes of what only a machine has. Programs come from
// this system's /usr. It needs root, and ends with the goroutine of the test,
// so that nothing is left and t.TempDir and t.Run are not to be used after it.
func enterInitrd(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting an overlay over /etc in a namespace of its own needs root")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		t.Skipf("this root may not make a mount namespace: %v", err)
	}
	must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	program, err := os.Open(testBinary(t)) // before the tree covers it
	must(t, err)
	defer program.Close()
	tree := os.TempDir()
	must(t, unix.Mount("tmpfs", tree, "tmpfs", 0, "mode=0755"))
	bindSystem(t, tree)
	write(t, tree+"/ingot-agent", "")
	must(t, unix.Mount(fmt.Sprintf("/proc/self/fd/%d", program.Fd()), tree+"/ingot-agent", "", unix.MS_BIND, ""))
	must(t, unix.Chroot(tree))
	must(t, os.Chdir("/"))
	t.Setenv("PATH", "/fakes:/usr/bin:/usr/sbin")
	fillInitrd(t)
}

// bindSystem shows the programs of this system, and no devices but those that
// programs cannot do without.
func bindSystem(t *testing.T, tree string) {
	t.Helper()
	must(t, os.Mkdir(tree+"/usr", 0o755))
	must(t, unix.Mount("/usr", tree+"/usr", "", unix.MS_BIND|unix.MS_REC, ""))
	for _, p := range []string{"/bin", "/sbin", "/lib", "/lib64"} {
		if to, err := os.Readlink(p); err == nil {
			must(t, os.Symlink(to, tree+p))
		}
	}
	for _, p := range []string{"/dev/null", "/dev/urandom"} {
		write(t, tree+p, "")
		must(t, unix.Mount(p, tree+p, "", unix.MS_BIND, ""))
	}
}

func testBinary(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	must(t, err)
	return path
}

func fillInitrd(t *testing.T) {
	t.Helper()
	for p, content := range map[string]string{
		"/fakes/ignition":              fakeIgnition,
		"/fakes/blkid":                 "#!/bin/sh\nexit 2\n",
		"/fakes/modprobe":              "#!/bin/sh\nexit 1\n", // as on a machine without fw_cfg
		cmdline:                        "quiet roothash=" + hashA + "\n",
		allowedFile:                    patterns,
		sysroot + "/etc/os-release":    "the image's\n",
		sysroot + "/etc/hostname":      "the image's\n",
		sysrootVar + "/mountpoint":     "",
		"/sys/class/dmi/id/sys_vendor": "QEMU\n",
	} {
		write(t, p, content)
	}
	for _, p := range []string{"ignition", "modprobe", "blkid"} {
		must(t, os.Chmod("/fakes/"+p, 0o755))
	}
	must(t, os.MkdirAll("/tmp", 0o777))
	must(t, unix.Mount("tmpfs", sysrootVar, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"))
	must(t, os.MkdirAll(stateDir, 0o700))
	must(t, os.MkdirAll(runDir, 0o755))
}

// reboot forgets what memory held and keeps the state volume.
func reboot(t *testing.T) {
	t.Helper()
	for _, p := range []string{sysroot + "/etc", runDir + "/identity"} {
		for unix.Unmount(p, 0) == nil {
		}
	}
	must(t, os.RemoveAll(runDir))
	must(t, os.MkdirAll(runDir, 0o755))
	must(t, os.RemoveAll(ranFile))
}

// ignitionRan reports whether Ignition ran since the last reboot.
func ignitionRan() bool { return exists(ranFile) }

// deliver puts a config into fw_cfg; "" takes it away. What is no config yet is
// a script for fakeIgnition.
func deliver(t *testing.T, config string) {
	t.Helper()
	if config != "" && config[0] != '{' {
		config = scripted(config)
	}
	if config == "" {
		must(t, os.RemoveAll(fwcfg))
		return
	}
	write(t, fwcfg, config)
}

func newImage(t *testing.T, rootHash string) {
	t.Helper()
	write(t, cmdline, "quiet roothash="+rootHash+"\n")
}

// captured runs f and returns what the program printed to stdout and stderr.
func captured(t *testing.T, f func()) string {
	t.Helper()
	file, err := os.Create("/captured")
	must(t, err)
	defer file.Close()
	stdout, stderr := os.Stdout, os.Stderr
	defer func() { os.Stdout, os.Stderr = stdout, stderr }()
	os.Stdout, os.Stderr = file, file
	f()
	return read(t, "/captured")
}

// holding lists the files below dir that hold text.
func holding(t *testing.T, dir, text string) []string {
	t.Helper()
	var files []string
	for p, content := range contents(t, dir) {
		if strings.Contains(content, text) {
			files = append(files, p)
		}
	}
	return files
}
