package vm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// stub is a QEMU whose version is the content of the file "version" and whose
// guests do what the shell commands in guest say. Each guest started adds a
// line to the file "guests".
func stub(t *testing.T, guest string) (tc Toolchain, guests func() int) {
	t.Helper()
	tc = fakeToolchain(t, `root=${0%/usr/*}
case "$*" in *--version*) cat "$root/version"; exit;; esac
echo >> "$root/guests"
`+guest)
	setVersion(t, tc, "QEMU emulator version 10.0.13")
	return tc, func() int {
		data, err := os.ReadFile(filepath.Join(tc.Root, "guests"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return strings.Count(string(data), "\n")
	}
}

func setVersion(t *testing.T, tc Toolchain, version string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(tc.Root, "version"), []byte(version+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

const (
	works  = `echo "guest runs"; exec sleep 600`
	silent = `echo "SeaBIOS"; exec sleep 600`
	// Runs the boot sector and hangs with a real kernel.
	noKernel = `case "$*" in *-kernel*) exec sleep 600;; esac
echo "guest runs"; exit 1`
)

func TestProbe(t *testing.T) {
	t.Setenv(AccelEnv, "")
	dir := t.TempDir()
	kernel := filepath.Join(dir, "vmlinuz")
	if err := os.WriteFile(kernel, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, guest string
		opts        ProbeOptions
		want        string
		reason      string
		guests      int
	}{
		{"no device", works, ProbeOptions{Device: filepath.Join(dir, "none")}, TCG, "does not exist", 0},
		{"device is a folder", works, ProbeOptions{Device: dir}, TCG, "does not open", 0},
		{"guest runs", works, ProbeOptions{Device: "/dev/null"}, KVM, "a guest ran on /dev/null", 1},
		{"guest never prints", silent, ProbeOptions{Device: "/dev/null", Wait: 300 * time.Millisecond}, TCG, "opens but runs no guest: no output within 300ms", 1},
		{"QEMU refuses", `echo "x: failed to initialize kvm" >&2; exit 1`, ProbeOptions{Device: "/dev/null"}, TCG, "runs no guest: x: failed to initialize kvm", 1},
		{"QEMU crashes silently", `exit 3`, ProbeOptions{Device: "/dev/null"}, TCG, "exit status 3", 1},
		{"QEMU ends without a word", `exit 0`, ProbeOptions{Device: "/dev/null"}, TCG, "ended without the guest's output", 1},
		{"kernel runs", `echo "Linux version 6.12 guest runs"; exec sleep 600`, ProbeOptions{Device: "/dev/null", Kernel: kernel}, KVM, "a guest ran", 2},
		{"only the kernel hangs", noKernel, ProbeOptions{Device: "/dev/null", Kernel: kernel, Wait: 300 * time.Millisecond}, TCG, "no Linux kernel: no output", 2},
		{"option forces TCG", works, ProbeOptions{Device: "/dev/null", Force: TCG}, TCG, "by option", 0},
		{"option forces KVM", silent, ProbeOptions{Device: "/dev/null", Force: KVM}, KVM, "by option", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tc, guests := stub(t, tt.guest)
			accel, err := Probe(testContext(t), tc, tt.opts)
			if err != nil {
				t.Fatal(err)
			}
			if accel.Name != tt.want || !strings.Contains(accel.Reason, tt.reason) {
				t.Errorf("got %s because %q, want %s because %q", accel.Name, accel.Reason, tt.want, tt.reason)
			}
			if guests() != tt.guests {
				t.Errorf("%d guests were started, want %d", guests(), tt.guests)
			}
			if (accel.TimeoutFactor > 1) != (accel.Name == TCG) {
				t.Errorf("timeout factor %v of %s", accel.TimeoutFactor, accel.Name)
			}
		})
	}
}

func TestProbeEnvironment(t *testing.T) {
	tc, guests := stub(t, works)
	t.Setenv(AccelEnv, KVM)
	if a, err := Probe(testContext(t), tc, ProbeOptions{}); err != nil || a.Name != KVM || !strings.Contains(a.Reason, AccelEnv) {
		t.Errorf("got %+v %v", a, err)
	}
	if a, err := Probe(testContext(t), tc, ProbeOptions{Force: TCG}); err != nil || a.Name != TCG {
		t.Errorf("the option does not go first: %+v %v", a, err)
	}
	t.Setenv(AccelEnv, "hvf")
	if _, err := Probe(testContext(t), tc, ProbeOptions{}); err == nil || !strings.Contains(err.Error(), `unknown accelerator "hvf"`) {
		t.Errorf("got %v", err)
	}
	if guests() != 0 {
		t.Errorf("%d guests were started", guests())
	}
}

// TestProbeRemembers changes one thing the answer depends on after the other.
func TestProbeRemembers(t *testing.T) {
	t.Setenv(AccelEnv, "")
	tc, guests := stub(t, works)
	device := filepath.Join(t.TempDir(), "kvm")
	if err := os.Symlink("/dev/null", device); err != nil {
		t.Fatal(err)
	}
	opts := ProbeOptions{Device: device, CacheDir: filepath.Join(t.TempDir(), "new", "folder")}
	probe := func(step string, wantGuests int, remembered bool) {
		t.Helper()
		a, err := Probe(testContext(t), tc, opts)
		if err != nil {
			t.Fatalf("%s: %v", step, err)
		}
		if a.Name != KVM || guests() != wantGuests || strings.Contains(a.Reason, "remembered") != remembered {
			t.Errorf("%s: %+v after %d guests", step, a, guests())
		}
	}
	probe("first", 1, false)
	probe("second", 1, true)
	probe("third, still one mark", 1, true)

	setVersion(t, tc, "QEMU emulator version 10.1.0")
	probe("other QEMU", 2, false)

	cache := filepath.Join(opts.CacheDir, "accelerator.json")
	data, err := os.ReadFile(cache)
	if err != nil {
		t.Fatal(err)
	}
	bootID, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	reboot := strings.Replace(string(data), strings.TrimSpace(string(bootID)), "another", 1)
	if err := os.WriteFile(cache, []byte(reboot), 0o600); err != nil {
		t.Fatal(err)
	}
	probe("other boot", 3, false)

	if err := os.WriteFile(cache, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	probe("broken file", 4, false)

	other := filepath.Join(t.TempDir(), "kvm2")
	if err := os.Symlink("/dev/null", other); err != nil {
		t.Fatal(err)
	}
	opts.Device = other
	probe("other device", 5, false)
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	if a, err := Probe(testContext(t), tc, opts); err != nil || a.Name != TCG {
		t.Errorf("the device went away: %+v %v", a, err)
	}
}

func TestProbeCancelled(t *testing.T) {
	t.Setenv(AccelEnv, "")
	tc, _ := stub(t, silent)
	started := filepath.Join(tc.Root, "guests")
	if err := syscall.Mkfifo(started, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	opts := ProbeOptions{Device: "/dev/null", CacheDir: t.TempDir(), Wait: time.Minute}
	go func() {
		f, err := os.Open(started) // returns when the guest opens it too
		if err == nil {
			defer f.Close()
		}
		cancel()
	}()
	if _, err := Probe(ctx, tc, opts); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if files, _ := os.ReadDir(opts.CacheDir); len(files) != 0 {
		t.Error("a cancelled probe was remembered")
	}
}
