package main

import (
	"errors"
	"os"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// syscallInfo is the kernel's struct ptrace_syscall_info, see ptrace(2).
type syscallInfo struct {
	op   uint8
	_    [3]uint8
	_    uint32 // architecture
	_, _ uint64 // instruction and stack pointer
	nr   uint64 // at the exit: the result
	args [6]uint64
}

// failed reports at the exit of a call whether it changed nothing.
func (i syscallInfo) failed() bool { return int64(i.nr) < 0 }

const (
	ptraceGetSyscallInfo = 0x420e // PTRACE_GET_SYSCALL_INFO, include/uapi/linux/ptrace.h
	syscallEntry         = 1
	syscallExit          = 2
)

// tracer follows a process through its system calls.
type tracer struct {
	pid    int
	within map[int]string // by thread: the step it is in, "" for any other call
	steps  []string       // done so far
}

// bootUntil runs "ingot-agent identity" in namespaces of its own and cuts its
// power right after its nth step that changes a file system: it and all it
// started are killed, and its mounts are gone. ended is true when it came to
// its end before.
func bootUntil(t *testing.T, n int) (steps []string, ended bool) {
	t.Helper()
	log, err := os.Create("/log")
	must(t, err)
	defer log.Close()
	pid, err := syscall.ForkExec("/ingot-agent", []string{"ingot-agent", "identity"}, &syscall.ProcAttr{
		Env:   append(os.Environ(), "GODEBUG=asyncpreemptoff=1"),
		Files: []uintptr{log.Fd(), log.Fd(), log.Fd()},
		Sys:   &syscall.SysProcAttr{Ptrace: true, Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID},
	})
	must(t, err)
	tr := tracer{pid: pid, within: map[int]string{}}
	status, err := tr.follow(n)
	must(t, err)
	if status.Exited() && status.ExitStatus() != 0 {
		t.Fatalf("ingot-agent failed: %s", read(t, "/log"))
	}
	return tr.steps, status.Exited()
}

// follow lets the process run to its end, or kills it after n steps.
func (tr *tracer) follow(n int) (end unix.WaitStatus, err error) {
	for first := true; ; {
		var status unix.WaitStatus
		tid, err := unix.Wait4(-1, &status, unix.WALL, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECHILD): // all threads are gone
			return end, nil
		case err != nil:
			return end, err
		case !status.Stopped():
			if tid == tr.pid {
				end = status
			}
			continue
		}
		if first {
			first = false
			if err := unix.PtraceSetOptions(tid, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_EXITKILL); err != nil {
				return end, err
			}
		}
		signal, err := tr.stopped(tid, status)
		if err != nil {
			return end, err
		}
		if len(tr.steps) >= n {
			err = unix.Kill(tr.pid, unix.SIGKILL)
		} else {
			err = unix.PtraceSyscall(tid, signal)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) { // a thread may be gone already
			return end, err
		}
	}
}

// stopped takes note of why a thread stopped and returns the signal to hand on.
func (tr *tracer) stopped(tid int, status unix.WaitStatus) (int, error) {
	switch signal := status.StopSignal(); signal {
	case unix.SIGTRAP | 0x80: // a system call, by PTRACE_O_TRACESYSGOOD
		return 0, tr.call(tid)
	case unix.SIGTRAP, unix.SIGSTOP: // a new program or thread
		return 0, nil
	default:
		return int(signal), nil
	}
}

// call takes note of a step when it is done.
func (tr *tracer) call(tid int) error {
	var info syscallInfo
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, ptraceGetSyscallInfo, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	switch {
	case errors.Is(errno, unix.ESRCH):
		return nil
	case errno != 0:
		return errno
	case info.op == syscallEntry:
		tr.within[tid] = step(info)
	case info.op == syscallExit && tr.within[tid] != "" && !info.failed():
		tr.steps = append(tr.steps, tr.within[tid])
		tr.within[tid] = ""
	}
	return nil
}

// step names a call that changes a file system or a mount, or ends the wait
// for a program; "" for all others.
func step(info syscallInfo) string {
	switch info.nr {
	case unix.SYS_OPENAT:
		if info.args[2]&unix.O_CREAT != 0 {
			return "create"
		}
	case unix.SYS_WRITE:
		if info.args[2] > 8 { // 8 bytes are the Go runtime waking itself
			return "write"
		}
	}
	return map[uint64]string{
		unix.SYS_MKDIRAT:       "mkdirat",
		unix.SYS_UNLINKAT:      "unlinkat",
		unix.SYS_RENAMEAT:      "rename",
		unix.SYS_RENAMEAT2:     "rename",
		unix.SYS_FCHMODAT:      "fchmodat",
		unix.SYS_SYNCFS:        "syncfs",
		unix.SYS_MOUNT:         "mount",
		unix.SYS_UMOUNT2:       "umount2",
		unix.SYS_MOUNT_SETATTR: "mount_setattr",
		unix.SYS_WAITID:        "waitid",
	}[info.nr]
}
