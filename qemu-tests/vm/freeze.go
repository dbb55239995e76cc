package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Freeze stops QEMU itself, calls f and lets it go on. What QEMU's files hold
// meanwhile is what they would hold for ever had it been killed at this moment:
// neither guest nor QEMU gets to write anything more.
func (v *VM) Freeze(ctx context.Context, f func() error) error {
	if err := v.process.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("freeze QEMU: %w", err)
	}
	err := v.awaitStopped(ctx)
	if err == nil {
		err = f()
	}
	return errors.Join(err, v.process.Signal(syscall.SIGCONT))
}

// awaitStopped waits until the last thread stands still: one may be in the
// middle of a write.
func (v *VM) awaitStopped(ctx context.Context) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		stopped, err := allStopped(v.process.Pid)
		if stopped || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("freeze QEMU: %w", ctx.Err())
		}
	}
}

// allStopped reads the state of each thread: the first field after the name in
// parentheses (proc_pid_stat(5)).
func allStopped(pid int) (bool, error) {
	threads, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task/*/stat"))
	if err != nil || len(threads) == 0 {
		return false, errors.Join(err, fmt.Errorf("process %d has no threads", pid))
	}
	for _, file := range threads {
		stat, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // the thread has ended
		}
		if err != nil {
			return false, err
		}
		_, state, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')'):]), " ")
		if !strings.HasPrefix(state, "T") {
			return false, nil
		}
	}
	return true, nil
}
