package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// helperEnv makes the test binary start a machine from the image in the
// variable's value, print QEMU's process id and wait to be killed.
const helperEnv = "INGOT_VM_TEST_HELPER"

func TestMain(m *testing.M) {
	if disk := os.Getenv(helperEnv); disk != "" {
		helper(disk)
	}
	os.Exit(m.Run())
}

func helper(disk string) {
	v, err := Start(context.Background(), tinyMachine(Toolchain{Root: os.Getenv("INGOT_TOOLS")}, disk, filepath.Dir(disk)))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	pid, err := qemuPID(v.files.overlay)
	fmt.Println(pid, err)
	select {}
}

// tools is the toolchain for tests with a real QEMU.
func tools(t *testing.T) Toolchain {
	t.Helper()
	if testing.Short() {
		t.Skip("QEMU tests are skipped with -short")
	}
	root := os.Getenv("INGOT_TOOLS")
	if root == "" {
		t.Skip("QEMU tests need a toolchain: set INGOT_TOOLS to its root")
	}
	tc := Toolchain{Root: root}
	if err := tc.Check(); err != nil {
		t.Fatal(err)
	}
	return tc
}

func tinyMachine(tc Toolchain, disk, dir string) Config {
	tcg, _ := newAccel(TCG, "these tests are the same everywhere")
	return Config{Toolchain: tc, Accel: tcg, Disk: disk, Dir: dir, MemoryMiB: 32, CPUs: 1}
}

// start runs a machine until the end of the test, in a folder whose name is
// awkward on purpose.
func start(t *testing.T, cfg Config) *VM {
	t.Helper()
	v, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

func tinyConfig(t *testing.T, message string, act action) Config {
	t.Helper()
	return tinyMachine(tools(t), guest(t, message, act), filepath.Join(t.TempDir(), "it's, here"))
}

func waitFor(t *testing.T, v *VM, after int, re string) string {
	t.Helper()
	line, err := v.WaitConsoleAfter(testContext(t), after, regexp.MustCompile(re))
	if err != nil {
		t.Fatal(err)
	}
	return line
}

// count waits for the test guest's next tick after a mark.
func count(t *testing.T, v *VM, after int) int64 {
	t.Helper()
	n, err := strconv.ParseInt(waitFor(t, v, after, `^[0-9A-F]{4}$`), 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// qemuPID finds the QEMU process that has file among its arguments.
func qemuPID(file string) (int, error) {
	procs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	for _, p := range procs {
		args, err := os.ReadFile(p)
		if err == nil && strings.Contains(string(args), "qemu-system") && strings.Contains(string(args), `"`+file+`"`) {
			return strconv.Atoi(strings.Split(p, "/")[2])
		}
	}
	return 0, fmt.Errorf("no QEMU runs with %s", file)
}

// awaitEnd waits for the end of a process that is not our child.
func awaitEnd(t *testing.T, pidfd int) {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, int(time.Minute/time.Millisecond))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n != 1 {
			_ = unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
			t.Fatalf("QEMU outlived its parent: %d %v", n, err)
		}
		return
	}
}

func TestProbeGuestRuns(t *testing.T) {
	t.Parallel()
	tc := tools(t)
	tcg, _ := newAccel(TCG, "")
	if err := tryBootSector(testContext(t), tc, tcg.args(), time.Minute); err != nil {
		t.Errorf("the probe's own guest does not run where guests do run: %v", err)
	}
}

// TestProbeNotKVM gives the real QEMU a device that opens but is not KVM.
func TestProbeNotKVM(t *testing.T) {
	tc := tools(t)
	t.Setenv(AccelEnv, "")
	a, err := Probe(testContext(t), tc, ProbeOptions{Device: "/dev/null", CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if a.Name != TCG || !strings.Contains(a.Reason, "/dev/null opens but runs no guest") || !strings.Contains(a.Reason, "kvm") {
		t.Errorf("got %+v", a)
	}
}

func TestConsoleOfGuest(t *testing.T) {
	t.Parallel()
	cfg := tinyConfig(t, "Linux version 0.0 test\n\x1b[0;1mlogin: ", tick)
	v := start(t, cfg)
	if got := waitFor(t, v, 0, "^login: "); got != "login: 0001" && got != "login: " {
		t.Errorf("got %q", got)
	}
	waitFor(t, v, 0, "^0003$")
	if !strings.HasPrefix(v.Console(), "Linux version 0.0 test\nlogin: 0001\n0002\n0003") {
		t.Errorf("console:\n%s", v.Console())
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	if err := v.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
	log, err := os.ReadFile(filepath.Join(cfg.Dir, "console.log"))
	if err != nil || !strings.Contains(string(log), "\x1b[0;1mlogin: 0001\n0002") {
		t.Errorf("console.log: %q %v", log, err)
	}
	firmware, err := os.ReadFile(filepath.Join(cfg.Dir, "firmware.log"))
	if err != nil || !strings.Contains(string(firmware), "SeaBIOS") {
		t.Errorf("firmware.log: %q %v", firmware, err)
	}
}

func TestExitReasons(t *testing.T) {
	t.Parallel()
	const trace = "\nKernel panic - not syncing: test\nCall Trace:\n---[ end Kernel panic - not syncing: test ]---\n"
	tests := []struct {
		name, message string
		act           action
		reboots       bool
		want          ExitReason
	}{
		{"power off", "bye\n", poweroff, false, PoweredOff},
		{"reboot", "again\n", reboot, false, Rebooted},
		{"panic that hangs", trace, tick, true, Panicked},
		{"panic that reboots", "Kernel panic - not syncing: test\n", reboot, true, Panicked},
		{"panic that may not reboot", "Kernel panic - not syncing: test\n", reboot, false, Panicked},
	}
	for _, tt := range tests {
		cfg := tinyConfig(t, tt.message, tt.act)
		cfg.Reboots = tt.reboots
		v := start(t, cfg)
		exit, err := v.Wait(testContext(t))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if exit.Reason != tt.want || exit.Detail != "" {
			t.Errorf("%s: got %q, want %q", tt.name, exit, tt.want)
		}
	}
}

func TestReboots(t *testing.T) {
	t.Parallel()
	cfg := tinyConfig(t, "hello\n", reboot)
	cfg.Reboots = true
	v := start(t, cfg)
	waitFor(t, v, 0, "hello")
	waitFor(t, v, 1, "hello")
	waitFor(t, v, 2, "hello")
	if v.Resets() < 2 {
		t.Errorf("%d resets", v.Resets())
	}
}

// TestWaitConsoleExit: waiting for what cannot come any more fails at once,
// with a report.
func TestWaitConsoleExit(t *testing.T) {
	t.Parallel()
	cfg := tinyConfig(t, "Linux version 9\nReached target basic.target\nbye\n", poweroff)
	v := start(t, cfg)
	_, err := v.WaitConsole(testContext(t), regexp.MustCompile("login:"))
	var f *Failure
	if !errors.As(err, &f) {
		t.Fatalf("got %v", err)
	}
	if f.Milestone != "Reached target basic.target" || f.Dir != cfg.Dir {
		t.Errorf("got %+v", f)
	}
	for _, want := range []string{
		`no console line matched "login:": the guest powered off` + "\n",
		"last boot milestone: Reached target basic.target\n",
		"  | bye\n",
		"artefacts: " + cfg.Dir,
		"to reproduce: env ",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the report lacks %q:\n%v", want, err)
		}
	}
}

func TestWaitConsoleTimeout(t *testing.T) {
	t.Parallel()
	v := start(t, tinyConfig(t, "hello\n", tick))
	waitFor(t, v, 0, "hello")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := v.WaitConsole(ctx, regexp.MustCompile("never"))
	var f *Failure
	if !errors.As(err, &f) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	// The guest has no milestone of its own: the firmware's counts.
	if len(f.Processors) != 1 || !strings.Contains(f.Processors[0], "IP=") {
		t.Errorf("processors %q", f.Processors)
	}
	if !strings.Contains(f.Milestone, "Booting from") && !strings.Contains(f.Milestone, "SeaBIOS") {
		t.Errorf("milestone %q", f.Milestone)
	}
}

// TestReproduce runs the printed script: it must be the same machine.
func TestReproduce(t *testing.T) {
	t.Parallel()
	cfg := tinyConfig(t, "hello again\n", poweroff)
	v := start(t, cfg)
	if _, err := v.Wait(testContext(t)); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(testContext(t), filepath.Join(cfg.Dir, "command.sh")).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "hello again") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestStartFails(t *testing.T) {
	t.Parallel()
	cfg := tinyConfig(t, "", tick)
	cfg.Net = []string{"-device", "no-such-nic"}
	_, err := Start(t.Context(), cfg)
	var f *Failure
	if !errors.As(err, &f) || !strings.Contains(f.Cause.Error(), "'no-such-nic' is not a valid device model name") {
		t.Errorf("got %v", err)
	}
	cfg = tinyConfig(t, "", tick)
	cfg.Disk += ".missing"
	if _, err := Start(t.Context(), cfg); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing image: %v", err)
	}
	cfg = tinyConfig(t, "", tick)
	cfg.DiskBytes = 1 << 19
	if _, err := Start(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "choose a larger disk") {
		t.Errorf("small disk: %v", err)
	}
}

func TestQuit(t *testing.T) {
	t.Parallel()
	v := start(t, tinyConfig(t, "hello\n", tick))
	waitFor(t, v, 0, "hello")
	if err := v.Quit(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if exit, err := v.Wait(testContext(t)); err != nil || exit.Reason != PowerCut {
		t.Errorf("got %q %v", exit, err)
	}
	if err := v.Quit(testContext(t)); err != nil {
		t.Errorf("cut again: %v", err)
	}
	if err := v.Stop(testContext(t)); !errors.Is(err, errMonitorClosed) {
		t.Errorf("a command to a machine that has ended: %v", err)
	}
}

func TestSystemReset(t *testing.T) {
	t.Parallel()
	v := start(t, tinyConfig(t, "hello\n", tick))
	waitFor(t, v, 0, "^0004$")
	mark := v.ConsoleLines()
	if err := v.SystemReset(testContext(t)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, v, mark, "hello")
	if n := count(t, v, v.ConsoleLines()); n > 0x1000 || v.Resets() < 1 {
		t.Errorf("counter %d after %d resets", n, v.Resets())
	}
}

func TestStopCont(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	v := start(t, tinyConfig(t, "hello\n", tick))
	waitFor(t, v, 0, "^0002$")
	if err := v.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	var s struct{ Status string }
	if err := v.qmp.run(ctx, "query-status", nil, &s); err != nil || s.Status != "paused" {
		t.Errorf("got %q %v", s.Status, err)
	}
	mark := v.ConsoleLines()
	if err := v.Cont(ctx); err != nil {
		t.Fatal(err)
	}
	waitFor(t, v, mark, "^[0-9A-F]{4}$")
	if err := v.SystemPowerdown(ctx); err != nil {
		t.Errorf("power button: %v", err)
	}
}

// TestFreeze sees every thread of QEMU stand still, and the machine go on.
func TestFreeze(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	v := start(t, tinyConfig(t, "hello\n", tick))
	waitFor(t, v, 0, "^0002$")
	wrong := errors.New("found out")
	err := v.Freeze(ctx, func() error {
		stopped, err := allStopped(v.process.Pid)
		if err != nil || !stopped {
			t.Errorf("stopped %t, %v", stopped, err)
		}
		return wrong
	})
	if !errors.Is(err, wrong) {
		t.Errorf("got %v", err)
	}
	mark := v.ConsoleLines()
	waitFor(t, v, mark, "^[0-9A-F]{4}$")
	if running, err := allStopped(v.process.Pid); err != nil || running {
		t.Errorf("stopped %t, %v", running, err)
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	if err := v.Freeze(over, func() error { return nil }); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	waitFor(t, v, v.ConsoleLines(), "^[0-9A-F]{4}$") // it goes on even so
}

// TestSnapshot goes back in time, in the same process and in a new one.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	for _, firmware := range []Firmware{BIOS, UEFI} {
		t.Run(string(firmware), func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			cfg := tinyConfig(t, "hello\n", tick)
			extra := filepath.Join(t.TempDir(), "data.raw")
			if err := os.WriteFile(extra, make([]byte, 1<<20), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg.ExtraDisks = []ExtraDisk{{Path: extra, Overlay: true}}
			if firmware == UEFI {
				cfg.Firmware, cfg.MemoryMiB = UEFI, 64
			}
			v := start(t, cfg)
			if firmware == BIOS {
				snapshotCounts(t, v)
			}
			if err := v.Savevm(ctx, "ready"); err != nil {
				t.Fatal(err)
			}
			if err := v.Loadvm(ctx, "ready"); err != nil {
				t.Fatal(err)
			}
			if v.Resets() != 0 {
				t.Errorf("a restore counts as reset: %d", v.Resets())
			}
			if err := v.Loadvm(ctx, "no such snapshot"); err == nil || !strings.Contains(err.Error(), "loading snapshot no such snapshot: ") {
				t.Errorf("got %v", err)
			}
			if err := v.Quit(ctx); err != nil {
				t.Fatal(err)
			}
			for _, file := range []string{v.Overlay(), v.Vars(), v.files.extra[0]} {
				if file != "" && !holdsSnapshot(t, cfg.Toolchain, file, "ready") {
					t.Errorf("%s was left out of the snapshot", file)
				}
			}

			again := cfg
			again.Overlay, again.Vars, again.Snapshot = v.Overlay(), v.Vars(), "ready"
			again.ExtraDisks = []ExtraDisk{{Path: v.files.extra[0], Format: QCOW2}}
			again.Dir = filepath.Join(t.TempDir(), "second")
			w := start(t, again)
			var s struct{ Status string }
			if err := w.qmp.run(ctx, "query-status", nil, &s); err != nil || s.Status != "running" {
				t.Errorf("restored machine: %q %v", s.Status, err)
			}
			if firmware == BIOS {
				waitFor(t, w, 0, "^[0-9A-F]{4}$")
				if strings.Contains(w.Console(), "hello") {
					t.Error("the machine booted instead of going on")
				}
			}
			again.Snapshot = "missing"
			w.Close()
			if _, err := Start(t.Context(), again); err == nil || !strings.Contains(err.Error(), "loading snapshot missing") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func holdsSnapshot(t *testing.T, tc Toolchain, file, name string) bool {
	t.Helper()
	list, err := run(tc.QEMUImg(testContext(t), "snapshot", "-l", file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(list, " "+name+" ")
}

// snapshotCounts: after a restore the guest counts on from where it was saved.
func snapshotCounts(t *testing.T, v *VM) {
	t.Helper()
	ctx := testContext(t)
	waitFor(t, v, 0, "^0003$")
	if err := v.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if err := v.Savevm(ctx, "counting"); err != nil {
		t.Fatal(err)
	}
	lines := v.console.all(0)
	saved, err := strconv.ParseInt(lines[len(lines)-1], 16, 32)
	if err != nil {
		t.Fatalf("%v in %q", err, lines)
	}
	if err := v.Cont(ctx); err != nil {
		t.Fatal(err)
	}
	later := fmt.Sprintf("^%04X$", saved+8)
	waitFor(t, v, 0, later)
	mark := v.ConsoleLines()
	if err := v.Loadvm(ctx, "counting"); err != nil {
		t.Fatal(err)
	}
	// What was printed before the restore took effect is above `later`.
	next := fmt.Sprintf("^%04X$", saved+1)
	waitFor(t, v, mark, next)
}

func TestSnapshotRefusesRawDisk(t *testing.T) {
	t.Parallel()
	cfg := tinyConfig(t, "hello\n", tick)
	extra := filepath.Join(t.TempDir(), "data.raw")
	if err := os.WriteFile(extra, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.ExtraDisks = []ExtraDisk{{Path: extra}}
	v := start(t, cfg)
	if err := v.Savevm(testContext(t), "x"); err == nil || !strings.Contains(err.Error(), "attach it over an overlay") {
		t.Errorf("got %v", err)
	}
}

func TestSetLink(t *testing.T) {
	t.Parallel()
	cfg := tinyConfig(t, "hello\n", tick)
	cfg.Net = []string{"-netdev", "hubport,id=net0,hubid=0", "-device", "virtio-net-pci,id=nic0,netdev=net0,romfile="}
	v := start(t, cfg)
	for _, up := range []bool{false, true} {
		if err := v.SetLink(testContext(t), "nic0", up); err != nil {
			t.Error(err)
		}
	}
	if err := v.SetLink(testContext(t), "nic9", false); err == nil || !strings.Contains(err.Error(), "nic9") {
		t.Errorf("got %v", err)
	}
}

func TestScreendump(t *testing.T) {
	t.Parallel()
	v := start(t, tinyConfig(t, "hello\n", tick))
	waitFor(t, v, 0, "hello") // SeaBIOS has written to the screen before
	file := filepath.Join(t.TempDir(), "a, screen.png")
	if err := v.Screendump(testContext(t), file); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	colours := map[any]bool{}
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			colours[img.At(x, y)] = true
		}
	}
	if img.Bounds().Dx() < 640 || len(colours) < 2 {
		t.Errorf("%v with %d colours: not a screen with text", img.Bounds(), len(colours))
	}
}

// TestOverlay: what the machine writes is there on its second boot and never
// reaches the image.
func TestOverlay(t *testing.T) {
	t.Parallel()
	cfg := tinyMachine(tools(t), bootCounter(t), filepath.Join(t.TempDir(), "it's, here"))
	cfg.DiskBytes = 64 << 20
	image, err := os.ReadFile(cfg.Disk)
	if err != nil {
		t.Fatal(err)
	}
	boot := func(cfg Config, want string) *VM {
		t.Helper()
		v := start(t, cfg)
		waitFor(t, v, 0, want)
		if exit, err := v.Wait(testContext(t)); err != nil || exit.Reason != PoweredOff {
			t.Fatalf("%v %v", exit, err)
		}
		return v
	}
	first := boot(cfg, "^1$")
	info, err := run(cfg.Toolchain.QEMUImg(testContext(t), "info", "--output=json", first.Overlay()))
	if err != nil || !strings.Contains(info, `"virtual-size": 67108864`) {
		t.Errorf("%s %v", info, err)
	}

	second := cfg
	second.Overlay = first.Overlay()
	second.Dir = filepath.Join(t.TempDir(), "second")
	if v := boot(second, "^2$"); v.Overlay() != first.Overlay() {
		t.Errorf("got %s", v.Overlay())
	}
	if _, err := os.Stat(filepath.Join(second.Dir, "disk.qcow2")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a second overlay was made: %v", err)
	}

	boot(cfg, "^1$") // the same folder, but a fresh overlay
	after, err := os.ReadFile(cfg.Disk)
	if err != nil || !bytes.Equal(image, after) {
		t.Errorf("the image was written to: %v", err)
	}
}

// TestInjection: fw_cfg files and SMBIOS strings reach the guest.
func TestInjection(t *testing.T) {
	t.Parallel()
	cfg := tinyMachine(tools(t), fwCfgGuest(t), filepath.Join(t.TempDir(), "it's, here"))
	config := filepath.Join(t.TempDir(), "instance, one.ign")
	if err := os.WriteFile(config, []byte(`{"ignition":{"version":"3.5.0"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.FwCfg = map[string]string{"opt/com.coreos/config": config}
	cfg.SMBIOS = []string{"type=1,manufacturer=Hetzner,, really,product=vServer"}
	v := start(t, cfg)
	for _, want := range []string{`{"ignition":{"version":"3.5.0"}}`, "Hetzner, really", "vServer"} {
		waitFor(t, v, 0, regexp.QuoteMeta(want))
	}
}

func TestContextEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	cfg := tinyConfig(t, "hello\n", tick)
	v, err := Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, v, 0, "hello")
	pid, err := qemuPID(v.Overlay())
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	exit, err := v.Wait(testContext(t))
	if err != nil || exit.Reason != PowerCut {
		t.Errorf("got %q %v", exit, err)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("QEMU is still there: %v", err)
	}
	files, err := os.ReadDir(cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Type()&os.ModeSocket != 0 {
			t.Errorf("socket %s is left", f.Name())
		}
	}
}

// TestParentKilled: SIGKILL leaves this program no time to clean up.
func TestParentKilled(t *testing.T) {
	t.Parallel()
	tools(t)
	disk := guest(t, "hello\n", tick)
	cmd := exec.CommandContext(testContext(t), os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"="+disk)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	_, scanErr := fmt.Fscan(out, &pid)
	var pidfd int
	if scanErr == nil && pid > 0 {
		pidfd, err = unix.PidfdOpen(pid, 0)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if scanErr != nil || err != nil || pid == 0 {
		t.Fatalf("the helper started no machine: pid %d, %v, %v", pid, scanErr, err)
	}
	defer unix.Close(pidfd)
	awaitEnd(t, pidfd)
}

// TestThreadsEnd: QEMU dies with its parent, but not with the thread of the
// goroutine that called Start, nor with any other that Go may end.
func TestThreadsEnd(t *testing.T) {
	t.Parallel()
	cfg := tinyConfig(t, "hello\n", tick)
	machine := make(chan *VM, 1)
	tids := []int{dyingThread(func() {
		v, err := Start(t.Context(), cfg)
		if err != nil {
			t.Error(err)
		}
		machine <- v
	})}
	v := <-machine
	if v == nil {
		return
	}
	t.Cleanup(func() { v.Close() })
	waitFor(t, v, 0, "hello")
	// Many at once, so that every idle thread is taken.
	hold := make(chan struct{})
	for range 50 {
		tids = append(tids, dyingThread(func() { <-hold }))
	}
	close(hold)
	// Ticks are the clock: once the threads are gone, the guest ticks on.
	for slices.ContainsFunc(tids, threadExists) {
		waitFor(t, v, v.ConsoleLines(), "^[0-9A-F]{4}$")
	}
	waitFor(t, v, v.ConsoleLines(), "^[0-9A-F]{4}$")
}

func threadExists(tid int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", tid))
	return err == nil
}

// dyingThread runs f on a thread that ends with it and returns the thread's id.
func dyingThread(f func()) int {
	tid := make(chan int, 1)
	var attempt func()
	attempt = func() {
		runtime.LockOSThread() // and never unlock: the thread ends too
		if unix.Gettid() != unix.Getpid() {
			tid <- unix.Gettid()
			f()
			return
		}
		// The main thread never ends. While it is held here, another is used.
		done := make(chan struct{})
		go func() { defer close(done); attempt() }()
		<-done
		runtime.UnlockOSThread()
	}
	go attempt()
	return <-tid
}

// TestUEFI: the firmware comes up and finds nothing it can boot.
func TestUEFI(t *testing.T) {
	t.Parallel()
	cfg := tinyConfig(t, "hello\n", tick)
	cfg.Firmware, cfg.MemoryMiB = UEFI, 64
	v := start(t, cfg)
	waitFor(t, v, 0, "BdsDxe: ")
	template, err := os.Stat(cfg.Toolchain.OVMFVars())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(v.Vars()); err != nil || v.Vars() == template.Name() {
		t.Errorf("variable store %q: %v", v.Vars(), err)
	}
}
