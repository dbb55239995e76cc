package vm

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"testing"
)

// fakeProcess is a VM whose QEMU is this test: serial and control are QEMU's
// ends, killed is called when the VM kills it, done says how it ended.
type fakeProcess struct {
	vm              *VM
	serial, control net.Conn
	done            chan error
}

func newFakeProcess(t *testing.T, killed func()) *fakeProcess {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := &fakeProcess{done: make(chan error, 1)}
	p.vm = &VM{console: newConsole(), exited: make(chan struct{}), kill: func() { killed(); cancel() }}
	p.vm.files.qemu = filepath.Join(t.TempDir(), "qemu.log")
	serial, far := net.Pipe()
	control, farControl := net.Pipe()
	p.serial, p.control = far, farControl
	p.vm.qmp = newQMP(control, p.vm.onEvent)
	go p.vm.watch(ctx, p.done, serial, 0)
	return p
}

// TestLateOutput: the process is gone, but what it wrote last is not read yet.
func TestLateOutput(t *testing.T) {
	t.Parallel()
	line := []byte("one more line\n")
	const lines = 1000
	event := []byte(`{"event":"SHUTDOWN","data":{"guest":true,"reason":"guest-shutdown"}}`)
	for _, consoleLast := range []bool{true, false} {
		p := newFakeProcess(t, func() {})
		p.done <- errors.New("exit status 1")
		steps := []func(){
			func() {
				if _, err := p.control.Write(event); err != nil {
					t.Fatalf("the monitor was closed early: %v", err)
				}
				p.control.Close()
				<-p.vm.qmp.closed
			},
			func() {
				for range lines {
					if _, err := p.serial.Write(line); err != nil {
						t.Fatalf("the console was closed early: %v", err)
					}
				}
				p.serial.Close()
			},
		}
		if !consoleLast {
			slices.Reverse(steps)
		}
		for _, step := range steps {
			step()
		}
		exit, err := p.vm.Wait(testContext(t))
		if err != nil || exit.Reason != PoweredOff {
			t.Errorf("the last event was lost: %q %v", exit, err)
		}
		if n := p.vm.ConsoleLines(); n != lines {
			t.Errorf("%d lines were read, %d written", n, lines)
		}
	}
}

// TestFlood: a guest that prints without end is ended.
func TestFlood(t *testing.T) {
	t.Parallel()
	killed := make(chan struct{}, 1)
	p := newFakeProcess(t, func() {
		select {
		case killed <- struct{}{}:
		default:
		}
	})
	go func() {
		line := make([]byte, 1<<20)
		for {
			if _, err := p.serial.Write(line); err != nil {
				return
			}
		}
	}()
	select {
	case <-killed:
	case <-testContext(t).Done():
		t.Fatal("the flood was not stopped")
	}
	p.control.Close()
	p.serial.Close()
	p.done <- errors.New("signal: killed")
	if exit, err := p.vm.Wait(testContext(t)); err != nil || exit.Reason != Flooded {
		t.Errorf("got %q %v", exit, err)
	}
}
