package ignition

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ingot/ignition/ignitiontest"
)

// The real Ignition, at the version of go.mod, writes what the plan says.

func TestIgnitionAppliesTheImage(t *testing.T) {
	program := ignitiontest.Program(t)
	tree := smallTree(t)
	apply(t, program, tree, configs(t, server(t))["image"])
	preset(t, tree)

	for p, want := range map[string]string{
		"etc/ssh/sshd_config.d/10-ingot.conf":                          "-rw------- 0:0 # keys only\nPasswordAuthentication no\n",
		"usr/share/app/greeting":                                       "-rw-r----- 1000:950 hello \"you\"\n\ttab: é\n",
		"usr/share/app":                                                "dgrwxr-x--- 950:950 ",
		"usr/share/app/packaged":                                       "-rw-r--r-- 0:0 kept\n",
		"etc/localtime":                                                "Lrwxrwxrwx 0:0 /usr/share/zoneinfo/UTC",
		"etc/systemd/system/ssh.socket.d/10-ingot.conf":                "-rw-r--r-- 0:0 [Socket]\nBindToDevice=wg0\n",
		"etc/systemd/system/sshd-keygen.service":                       "Lrwxrwxrwx 0:0 /dev/null",
		"etc/systemd/system-preset/20-ignition.preset":                 "-rw-r--r-- 0:0 enable ssh.socket\ndisable unwanted.service\n",
		"etc/systemd/system-preset/20-ingot.preset":                    "-rw-r--r-- 0:0 enable watch@wg0.service\n",
		"etc/systemd/system/sockets.target.wants/ssh.socket":           "Lrwxrwxrwx 0:0 /usr/lib/systemd/system/ssh.socket",
		"etc/systemd/system/multi-user.target.wants/watch@wg0.service": "Lrwxrwxrwx 0:0 /etc/systemd/system/watch@.service",
		"etc/systemd/system/multi-user.target.wants/unwanted.service":  "",
		"etc/.ignition-result.json":                                    "",
		"home/clawadmin":                                               "",
	} {
		if got := described(t, tree, p); got != want {
			t.Errorf("%s is %q, want %q", p, got, want)
		}
	}
	for file, line := range map[string]string{
		"etc/passwd": "clawadmin:x:1000:1000:the administrator:/home/clawadmin:/bin/bash",
		"etc/group":  "app:x:950:clawadmin",
		// The day is that of SOURCE_DATE_EPOCH, not of the build.
		"etc/shadow": "clawadmin:*:19675:",
	} {
		if content, err := os.ReadFile(filepath.Join(tree, file)); err != nil || !strings.Contains("\n"+string(content), "\n"+line) {
			t.Errorf("%s lacks %q:\n%s%v", file, line, content, err)
		}
	}
}

func TestIgnitionAppliesTheInstance(t *testing.T) {
	program := ignitiontest.Program(t)
	tree := smallTree(t)
	apply(t, program, tree, configs(t, server(t))["instance"])
	for p, want := range map[string]string{
		"etc/hostname":                        "-rw-r--r-- 0:0 claw1.example\n",
		"etc/ingot/secrets/private-key":       "-rw-r----- 0:77 c2VjcmV0\n",
		"etc/ssh/authorized_keys.d":           "drwxr-xr-x 0:0 ",
		"etc/ssh/authorized_keys.d/clawadmin": "-rw-r--r-- 0:0 ssh-ed25519 AAAA laptop\n",
	} {
		if got := described(t, tree, p); got != want {
			t.Errorf("%s is %q, want %q", p, got, want)
		}
	}
}

// smallTree is what Ignition and the programs it calls need of a system, with
// units that a package would bring.
func smallTree(t *testing.T) string {
	t.Helper()
	tree := t.TempDir()
	must(t, os.Chmod(tree, 0o755))
	for p, content := range map[string]string{
		"etc/passwd":                        "root:x:0:0:root:/root:/bin/bash\n",
		"etc/group":                         "root:x:0:\nnetwork:x:77:\n",
		"etc/shadow":                        "root:*:19000::::::\n",
		"etc/gshadow":                       "root:*::\nnetwork:!::\n",
		"etc/login.defs":                    "USERGROUPS_ENAB yes\n",
		"etc/hostname":                      "of the package\n",
		"usr/share/app/packaged":            "kept\n",
		"usr/lib/systemd/system/ssh.socket": "[Socket]\nListenStream=22\n\n[Install]\nWantedBy=sockets.target\n",
		"usr/lib/systemd/system/unwanted.service":       "[Service]\nExecStart=/bin/true\n\n[Install]\nWantedBy=multi-user.target\n",
		"usr/lib/systemd/system-preset/99-ingot.preset": "disable *\n",
	} {
		file := filepath.Join(tree, p)
		must(t, os.MkdirAll(filepath.Dir(file), 0o755))
		must(t, os.WriteFile(file, []byte(content), 0o644))
	}
	wants := filepath.Join(tree, "etc/systemd/system/multi-user.target.wants")
	must(t, os.MkdirAll(wants, 0o755))
	must(t, os.Symlink("/usr/lib/systemd/system/unwanted.service", filepath.Join(wants, "unwanted.service")))
	return tree
}

// apply runs the two stages the way an image build does: nothing of the host
// is read.
func apply(t *testing.T, program, tree string, c Config) {
	t.Helper()
	work := t.TempDir()
	config := filepath.Join(work, "config.ign")
	must(t, os.WriteFile(config, c.JSON, 0o600))
	for _, stage := range []string{"fetch-offline", "files"} {
		cmd := exec.Command(program, "--platform=file", "--stage="+stage, "--root="+tree, "--log-to-stdout",
			"--config-cache="+filepath.Join(work, "cache"), "--state-file="+filepath.Join(work, "state"), "--neednet="+filepath.Join(work, "neednet"))
		cmd.Env = append(os.Environ(), "IGNITION_CONFIG_FILE="+config, "SOURCE_DATE_EPOCH=1700000000", "IGNITION_KERNEL_CMDLINE_PATH=/dev/null",
			"IGNITION_SYSTEM_RUNTIME_CONFIG_DIR="+work, "IGNITION_SYSTEM_LOCAL_CONFIG_DIR="+work, "IGNITION_SYSTEM_CONFIG_DIR="+work)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("stage %s: %v\n%s", stage, err, out)
		}
	}
	if _, err := os.Stat(filepath.Join(work, "neednet")); err == nil {
		t.Error("the config asks for a network")
	}
}

// preset lets the presets of exactly the plan's units take effect.
func preset(t *testing.T, tree string) {
	t.Helper()
	enable, disable := PresetUnits(server(t))
	output(t, "systemctl", append(append([]string{"--root=" + tree, "preset"}, enable...), disable...)...)
}

func output(t *testing.T, name string, arguments ...string) string {
	t.Helper()
	var errors strings.Builder
	cmd := exec.Command(name, arguments...)
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(arguments, " "), err, errors.String())
	}
	return string(out)
}

// described is mode, owner, and content or target; empty when there is nothing.
func described(t *testing.T, tree, p string) string {
	t.Helper()
	p = filepath.Join(tree, p)
	info, err := os.Lstat(p)
	if err != nil {
		return ""
	}
	content := ""
	switch info.Mode().Type() {
	case 0:
		b, err := os.ReadFile(p)
		must(t, err)
		content = string(b)
	case fs.ModeSymlink:
		content, err = os.Readlink(p)
		must(t, err)
	}
	st := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%v %d:%d %s", info.Mode(), st.Uid, st.Gid, content)
}
