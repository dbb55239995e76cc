package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Toolchain is QEMU with everything it needs, in a Debian tree made by
// "mmdebstrap --variant=extract" with qemu-system-x86, qemu-utils, seabios,
// ovmf and libc6. Its programs are started through the tree's own dynamic
// linker, so the host's libraries do not matter and nothing is installed.
type Toolchain struct {
	Root string // absolute path of the tree
	// Kernel is a stock Linux kernel (bzImage) that [Probe] tries accelerators
	// with, as [ProbeOptions.Kernel] does.
	Kernel string
}

// The layout of Debian's packages on amd64. The linker is named by its real
// path because an extracted tree has no /lib64 link.
const (
	libDir    = "usr/lib/x86_64-linux-gnu"
	linker    = libDir + "/ld-linux-x86-64.so.2"
	moduleDir = libDir + "/qemu"
	qemuBin   = "usr/bin/qemu-system-x86_64"
	imgBin    = "usr/bin/qemu-img"
	ovmfCode  = "usr/share/OVMF/OVMF_CODE_4M.fd"
	ovmfVars  = "usr/share/OVMF/OVMF_VARS_4M.fd"
)

// Check reports what the tree lacks to run QEMU.
func (t Toolchain) Check() error {
	if !filepath.IsAbs(t.Root) {
		return fmt.Errorf("toolchain root %q is not absolute: pass the full path of the tree", t.Root)
	}
	// The dynamic linker splits its search path at both and has no escape.
	if strings.ContainsAny(t.Root, ":;") {
		return fmt.Errorf("toolchain root %q contains a colon or semicolon, which a library path cannot: move the tree", t.Root)
	}
	for _, f := range []string{linker, qemuBin, imgBin} {
		if _, err := os.Stat(t.path(f)); err != nil {
			return fmt.Errorf("toolchain is incomplete, make it again with qemu-system-x86, qemu-utils and libc6: %w", err)
		}
	}
	return nil
}

// QEMU is the system emulator with its firmware folders; args follow. The
// process is killed when ctx ends.
func (t Toolchain) QEMU(ctx context.Context, args ...string) *exec.Cmd {
	dirs := []string{"-L", t.path("usr/share/qemu"), "-L", t.path("usr/share/seabios")}
	return t.command(ctx, qemuBin, append(dirs, args...))
}

// QEMUImg is the disk image tool. The process is killed when ctx ends.
func (t Toolchain) QEMUImg(ctx context.Context, args ...string) *exec.Cmd {
	return t.command(ctx, imgBin, args)
}

// OVMFCode is the UEFI firmware, opened read-only by any number of machines.
func (t Toolchain) OVMFCode() string { return t.path(ovmfCode) }

// OVMFVars is the template of the UEFI variable store; every machine gets a
// copy of its own.
func (t Toolchain) OVMFVars() string { return t.path(ovmfVars) }

// Version is QEMU's own version line, such as "QEMU emulator version 10.0.13
// (Debian 1:10.0.13+ds-0+deb13u1)".
func (t Toolchain) Version(ctx context.Context) (string, error) {
	out, err := run(t.QEMU(ctx, "--version"))
	if err != nil {
		return "", fmt.Errorf("asking QEMU for its version: %w", err)
	}
	line, _, _ := strings.Cut(out, "\n")
	return line, nil
}

func (t Toolchain) path(rel string) string { return filepath.Join(t.Root, rel) }

func (t Toolchain) command(ctx context.Context, program string, args []string) *exec.Cmd {
	argv := append([]string{"--library-path", t.path(libDir), t.path(program)}, args...)
	cmd := exec.CommandContext(ctx, t.path(linker), argv...)
	// A fixed environment: the host's LD_PRELOAD would be loaded into the
	// tree's libc, and the locale changes error texts.
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/bin:/bin", "QEMU_MODULE_DIR=" + t.path(moduleDir)}
	if tmp := os.Getenv("TMPDIR"); tmp != "" {
		cmd.Env = append(cmd.Env, "TMPDIR="+tmp)
	}
	return cmd
}

// run returns the standard output of a short command; its error ends with the
// last line the command wrote to standard error.
func run(cmd *exec.Cmd) (string, error) {
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		err = fmt.Errorf("%w: %s", err, lastLine(string(exit.Stderr)))
	}
	return string(out), err
}

func lastLine(text string) string {
	text = strings.TrimRight(text, "\n")
	return text[strings.LastIndexByte(text, '\n')+1:]
}
