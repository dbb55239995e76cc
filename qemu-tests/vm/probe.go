package vm

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// AccelEnv is the environment variable that forces an accelerator.
const AccelEnv = "INGOT_ACCEL"

// probeWait is generous: under TCG, which is slower than a working KVM, the boot
// sector printed after 0.2 s and Debian's cloud kernel after 1.3 s.
const probeWait = 10 * time.Second

// ProbeOptions says where and how to look for an accelerator. The zero value
// looks at /dev/kvm and remembers nothing.
type ProbeOptions struct {
	// Force is KVM or TCG: use it without trying. When empty, the
	// environment variable AccelEnv decides.
	Force string
	// CacheDir is where the answer is remembered until the host reboots or
	// QEMU changes. Empty: ask every time.
	CacheDir string
	// Kernel is a stock Linux kernel (bzImage) to try as well: there are
	// hosts on which only a real kernel hangs. Empty: the built-in guest,
	// which enters 64-bit mode with paging, is all that is tried.
	Kernel string
	// Device is the KVM device, /dev/kvm when empty.
	Device string
	// Wait is how long a guest may stay silent, ten seconds when zero.
	Wait time.Duration
}

// Probe chooses the accelerator. That /dev/kvm exists proves nothing: there
// are hosts where it opens, creates a machine and never runs a guest. So a
// guest is started on it, and only one that prints counts. Everything else
// falls back to TCG, with the reason in the result. The error is about the
// options, the toolchain or ctx, never about a missing KVM.
func Probe(ctx context.Context, tc Toolchain, opts ProbeOptions) (Accel, error) {
	if err := tc.Check(); err != nil {
		return Accel{}, err
	}
	if opts.Force != "" {
		return newAccel(opts.Force, "asked for by option")
	}
	if name := os.Getenv(AccelEnv); name != "" {
		return newAccel(name, "asked for by "+AccelEnv)
	}
	if opts.Device == "" {
		opts.Device = "/dev/kvm"
	}
	opts.Kernel = cmp.Or(opts.Kernel, tc.Kernel)
	if opts.Wait == 0 {
		opts.Wait = probeWait
	}
	// Looked at every time: it is quick, and the way out (a group, a module)
	// must work without waiting for a reboot.
	if err := tryOpen(opts.Device); err != nil {
		return newAccel(TCG, err.Error())
	}
	cache, err := openProbeCache(ctx, tc, opts)
	if err != nil {
		return Accel{}, err
	}
	if accel, ok := cache.load(); ok {
		return accel, nil
	}
	accel, err := newAccel(KVM, "a guest ran on "+opts.Device)
	if problem := tryGuests(ctx, tc, opts); problem != nil {
		accel, err = newAccel(TCG, problem.Error())
	}
	if ctx.Err() != nil {
		return Accel{}, fmt.Errorf("probing the accelerator: %w", ctx.Err())
	}
	if err != nil {
		return Accel{}, err
	}
	return accel, cache.store(accel)
}

// tryOpen returns why the device cannot be opened.
func tryOpen(device string) error {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	switch {
	case err == nil:
		return f.Close()
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%s does not exist: this host offers no virtualisation", device)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%s may not be opened: add this user to the group kvm", device)
	}
	return fmt.Errorf("%s does not open: %w", device, err)
}

// tryGuests returns why guests do not run on the device, nil when they do.
func tryGuests(ctx context.Context, tc Toolchain, opts ProbeOptions) error {
	accel := []string{"-accel", "kvm,device=" + optValue(opts.Device), "-cpu", "host"}
	if err := tryBootSector(ctx, tc, accel, opts.Wait); err != nil {
		return fmt.Errorf("%s opens but runs no guest: %w", opts.Device, err)
	}
	if opts.Kernel == "" {
		return nil
	}
	if err := tryKernel(ctx, tc, accel, opts.Kernel, opts.Wait); err != nil {
		return fmt.Errorf("%s runs a small guest but no Linux kernel: %w", opts.Device, err)
	}
	return nil
}

func tryBootSector(ctx context.Context, tc Toolchain, accel []string, wait time.Duration) error {
	dir, err := os.MkdirTemp("", "ingot-probe-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	disk := filepath.Join(dir, "disk")
	if err := os.WriteFile(disk, probeGuest(), 0o600); err != nil {
		return err
	}
	args := append(probeMachine(accel),
		"-device", "isa-debug-exit,iobase=0xf4",
		"-blockdev", "driver=file,node-name=disk,read-only=on,filename="+optValue(disk),
		"-device", "virtio-blk-pci,drive=disk")
	return awaitOutput(ctx, tc, args, probeText, wait)
}

func tryKernel(ctx context.Context, tc Toolchain, accel []string, kernel string, wait time.Duration) error {
	args := append(probeMachine(accel), "-m", "256",
		"-kernel", kernel, "-append", "earlyprintk=serial,ttyS0,115200 console=ttyS0 panic=-1")
	return awaitOutput(ctx, tc, args, "Linux version", wait)
}

func probeMachine(accel []string) []string {
	args := []string{"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-machine", "q35,smm=off", "-serial", "stdio"}
	return append(args, accel...)
}

// awaitOutput runs QEMU until its standard output contains want; nil when it
// did within wait.
func awaitOutput(ctx context.Context, tc Toolchain, args []string, want string, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	cmd := tc.QEMU(ctx, args...)
	var stderr bytes.Buffer
	watch := &watcher{want: []byte(want), found: cancel}
	cmd.Stdout, cmd.Stderr = watch, &stderr
	// A child of the killed process may still hold the pipes.
	cmd.WaitDelay = time.Second
	done, err := startBound(cmd)
	if err != nil {
		return err
	}
	err = <-done
	switch {
	case watch.seen:
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("no output within %s", wait)
	case stderr.Len() > 0:
		return errors.New(lastLine(stderr.String()))
	case err != nil:
		return err
	}
	return errors.New("QEMU ended without the guest's output")
}

// watcher calls found once want was written to it.
type watcher struct {
	want  []byte
	found func()
	tail  []byte
	seen  bool // valid after the last Write
}

func (w *watcher) Write(p []byte) (int, error) {
	w.tail = append(w.tail, p...)
	if !w.seen && bytes.Contains(w.tail, w.want) {
		w.seen = true
		w.found()
	}
	w.tail = w.tail[max(0, len(w.tail)-len(w.want)):]
	return len(p), nil
}
