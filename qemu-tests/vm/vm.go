package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// VM is a running machine, or one that has ended. Its methods may be used from
// several goroutines.
type VM struct {
	cfg     Config
	files   files
	kill    context.CancelFunc
	qmp     *qmp
	console *console
	ending  ending
	jobs    atomic.Int64 // numbers snapshot jobs
	powered time.Time    // when QEMU was started
	process *os.Process

	exited chan struct{} // closed when QEMU is gone and its streams are read
	exit   Exit          // valid after exited
}

// readyWait is how long QEMU may take to set up the machine and answer QMP
// before the first guest instruction, loading a snapshot included. That takes
// less than a second; the rest is for a busy host.
const readyWait = 30 * time.Second

// Start makes the fresh files in cfg.Dir and powers the machine on. It returns
// as soon as the guest runs; what follows is awaited with WaitConsole. The
// machine ends with ctx at the latest. An error of a machine that did not come
// to life is a *Failure.
func Start(ctx context.Context, cfg Config) (*VM, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, fmt.Errorf("the machine cannot be started: %w", err)
	}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	v := &VM{cfg: cfg, files: cfg.files(), kill: cancel, console: newConsole(), exited: make(chan struct{})}
	if err := v.launch(ctx); err != nil {
		cancel()
		return nil, err
	}
	if err := v.awaitReady(ctx); err != nil {
		err = v.orExit(err)
		v.Close()
		return nil, v.Failure(err)
	}
	return v, nil
}

// launch creates the files and the process with its two sockets.
func (v *VM) launch(ctx context.Context) error {
	if err := v.cfg.prepare(ctx, v.files); err != nil {
		return err
	}
	if err := os.WriteFile(v.files.commands, []byte(v.script()), 0o755); err != nil {
		return err
	}
	control, controlFar, err := socketPair("qmp")
	if err != nil {
		return err
	}
	defer controlFar.Close()
	serial, serialFar, err := socketPair("console")
	if err != nil {
		control.Close()
		return err
	}
	defer serialFar.Close()
	log, err := os.OpenFile(v.files.qemu, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return errors.Join(err, control.Close(), serial.Close())
	}
	defer log.Close()
	stderrFrom, _ := log.Seek(0, io.SeekEnd)

	cmd := v.command(ctx)
	cmd.ExtraFiles = []*os.File{controlFar, serialFar} // qmpFD, consoleFD
	cmd.Stdout, cmd.Stderr = log, log
	v.powered = time.Now()
	done, err := startBound(cmd)
	if err != nil {
		return errors.Join(fmt.Errorf("starting QEMU: %w", err), control.Close(), serial.Close())
	}
	v.process = cmd.Process
	v.qmp = newQMP(control, v.onEvent)
	go v.watch(ctx, done, serial, stderrFrom)
	return nil
}

// command is QEMU as this program starts it: paused when a snapshot is to be
// loaded first.
func (v *VM) command(ctx context.Context) *exec.Cmd {
	args := append(v.cfg.machineArgs(v.files), channelArgs(v.files)...)
	if v.cfg.Snapshot != "" {
		args = append(args, "-S")
	}
	return v.cfg.Toolchain.QEMU(ctx, args...)
}

// watch reads the console until QEMU is gone, then announces the end.
func (v *VM) watch(ctx context.Context, done <-chan error, serial net.Conn, stderrFrom int64) {
	consoleRead := make(chan struct{})
	go func() {
		defer close(consoleRead)
		v.console.readFrom(serial, v.onLine, func() { v.end(Flooded) })
	}()
	err := <-done
	// Both streams end with the process; read to the last byte before
	// anybody is told that there is nothing more to come.
	<-consoleRead
	<-v.qmp.closed
	serial.Close()
	v.qmp.conn.Close()
	if ctx.Err() != nil {
		v.ending.because(PowerCut)
	}
	v.exit = v.ending.exit(err, readFrom(v.files.qemu, stderrFrom))
	v.kill() // releases the context
	close(v.exited)
}

// awaitReady waits for QEMU's answer and goes on from the snapshot, if any.
func (v *VM) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	if err := v.qmp.handshake(ctx); err != nil {
		return err
	}
	if v.cfg.Snapshot == "" {
		return nil
	}
	if err := v.Loadvm(ctx, v.cfg.Snapshot); err != nil {
		return err
	}
	return v.Cont(ctx)
}

func (v *VM) onEvent(e qmpEvent) {
	if v.ending.event(e) {
		v.end(Panicked)
	}
}

// onLine ends the machine when its kernel has finished panicking: a guest with
// panic=0 would hang for ever.
func (v *VM) onLine(line string) {
	if !strings.Contains(line, panicSeen) {
		return
	}
	v.ending.sawPanic()
	if strings.Contains(line, panicEnd) {
		v.end(Panicked)
	}
}

// end kills QEMU for a reason.
func (v *VM) end(r ExitReason) {
	v.ending.because(r)
	v.kill()
}

// Close ends the machine at once, if it still runs, and waits until nothing of
// it is left but the artefacts. It may be called any number of times.
func (v *VM) Close() error {
	v.end(PowerCut)
	<-v.exited
	return nil
}

// Wait waits for the machine to end by itself and says why it did. The error
// is ctx's.
func (v *VM) Wait(ctx context.Context) (Exit, error) {
	select {
	case <-v.exited:
		return v.exit, nil
	default:
	}
	select {
	case <-v.exited:
		return v.exit, nil
	case <-ctx.Done():
		return Exit{}, v.Failure(fmt.Errorf("the machine still runs: %w", ctx.Err()))
	}
}

// Exited is closed when the machine has ended.
func (v *VM) Exited() <-chan struct{} { return v.exited }

// Overlay is the file that holds what the machine wrote to its disk, for a
// second boot by Config.Overlay after this machine has ended.
func (v *VM) Overlay() string { return v.files.overlay }

// Vars is the UEFI variable store for a second boot by Config.Vars, empty
// under BIOS.
func (v *VM) Vars() string { return v.files.vars }

// Resets is how often the machine was reset, by the guest or by SystemReset.
// SeaBIOS turns a reset into two, so tell "more than before", not how many.
func (v *VM) Resets() int { return v.ending.resets() }

// WaitConsole waits for a line on the serial console that matches re and
// returns it; lines that are there already count. It fails with a *Failure
// when the machine ends first, at once, or when ctx does.
func (v *VM) WaitConsole(ctx context.Context, re *regexp.Regexp) (string, error) {
	return v.WaitConsoleAfter(ctx, 0, re)
}

// WaitConsoleAfter is WaitConsole for the lines after the first `lines`, as
// counted by ConsoleLines: what a machine says after a reset or a restore.
func (v *VM) WaitConsoleAfter(ctx context.Context, lines int, re *regexp.Regexp) (string, error) {
	for {
		line, ok, next, more := v.console.find(lines, re)
		switch {
		case ok:
			return line, nil
		case more == nil:
			exit, err := v.Wait(ctx)
			if err != nil {
				return "", err
			}
			return "", v.Failure(fmt.Errorf("no console line matched %q: %s", re, exit))
		}
		lines = next
		select {
		case <-more:
		case <-ctx.Done():
			return "", v.Failure(fmt.Errorf("no console line matched %q: %w", re, ctx.Err()))
		}
	}
}

// Console is the serial console so far, without terminal control sequences.
func (v *VM) Console() string { return strings.Join(v.console.all(0), "\n") }

// ConsoleLines is the number of lines on the console so far.
func (v *VM) ConsoleLines() int { return v.console.count() }

// TimedLine is a finished line of the console, and how long after power-on.
type TimedLine struct {
	At   time.Duration
	Text string
}

// ConsoleTimes is the console so far with the time of each line.
func (v *VM) ConsoleTimes() []TimedLine { return v.console.timed(v.powered) }

// ConsoleTail is the last n lines of the console.
func (v *VM) ConsoleTail(n int) []string {
	lines := v.console.all(0)
	return lines[max(0, len(lines)-n):]
}

// orExit prefers the end of the machine over the error that it caused. A
// cancelled context ends the machine too, so there is no need to look at it.
func (v *VM) orExit(err error) error {
	if !errors.Is(err, errMonitorClosed) {
		return err
	}
	select {
	case <-v.exited:
		return fmt.Errorf("the machine ended before it was ready: %s", v.exit)
	case <-time.After(readyWait):
		return err // it lives on without a monitor; the caller ends it
	}
}

// socketPair is a connection of which QEMU inherits the far end.
func socketPair(name string) (near net.Conn, far *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making a socket pair: %w", err)
	}
	far = os.NewFile(uintptr(fds[1]), name)
	nearFile := os.NewFile(uintptr(fds[0]), name)
	defer nearFile.Close() // FileConn has its own copy
	near, err = net.FileConn(nearFile)
	if err != nil {
		far.Close()
		return nil, nil, fmt.Errorf("making a socket pair: %w", err)
	}
	return near, far, nil
}

// readFrom is the text of a file from an offset on, empty when unreadable.
func readFrom(file string, offset int64) string {
	data, err := os.ReadFile(file)
	if err != nil || int64(len(data)) < offset {
		return ""
	}
	return string(data[offset:])
}
