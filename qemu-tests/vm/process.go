package vm

import (
	"os/exec"
	"runtime"
	"syscall"
)

// startBound starts cmd so that it dies with this program, even by SIGKILL.
// The channel delivers the result of Wait.
//
// PR_SET_PDEATHSIG is sent when the *thread* that forked ends, and Go ends
// threads at will: a goroutine that returns while locked to its thread takes
// the thread along. So a goroutine of our own forks, keeps its thread locked
// until the process is gone, and only then lets both go.
func startBound(cmd *exec.Cmd) (<-chan error, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	// A group of its own keeps the terminal's Ctrl-C away from QEMU: this
	// program decides when the machine ends.
	cmd.SysProcAttr.Setpgid = true
	started := make(chan error, 1)
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			done <- cmd.Wait()
		}
	}()
	return done, <-started
}
