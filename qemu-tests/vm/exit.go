package vm

import (
	"encoding/json"
	"strings"
	"sync"
)

// ExitReason says why a machine ended.
type ExitReason string

// The reasons.
const (
	PoweredOff ExitReason = "the guest powered off"
	Rebooted   ExitReason = "the guest rebooted"
	Panicked   ExitReason = "the guest's kernel panicked"
	PowerCut   ExitReason = "the power was cut"
	Flooded    ExitReason = "the guest flooded its console"
	Crashed    ExitReason = "QEMU ended by itself"
)

// Exit is the end of a machine.
type Exit struct {
	Reason ExitReason
	// Detail is what QEMU said last, when it ended by itself.
	Detail string
}

func (e Exit) String() string {
	if e.Detail == "" {
		return string(e.Reason)
	}
	return string(e.Reason) + ": " + e.Detail
}

// panicSeen and panicEnd frame what the kernel prints when it panics; the
// lines between are the trace.
const (
	panicSeen = "Kernel panic - not syncing"
	panicEnd  = "end Kernel panic - not syncing"
)

// ending collects what is known about why a machine ends, from QMP events, the
// console and this program's own doing.
type ending struct {
	mu       sync.Mutex
	reason   ExitReason // first cause wins, but see panicked
	panicked bool       // explains a reboot or a power-off that follows
	reboots  int
}

// because records the cause unless one is known already.
func (e *ending) because(r ExitReason) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.reason == "" {
		e.reason = r
	}
}

// sawPanic records that the kernel gave up.
func (e *ending) sawPanic() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.panicked = true
}

// event takes in what QEMU says about the run state. It returns true when the
// machine must not go on: it restarts because its kernel panicked.
func (e *ending) event(ev qmpEvent) (stop bool) {
	var data struct {
		Guest  bool   `json:"guest"`
		Reason string `json:"reason"`
	}
	// An event without data leaves the zero value, which says nothing.
	_ = json.Unmarshal(ev.Data, &data)
	switch ev.Name {
	case "GUEST_PANICKED":
		e.sawPanic()
	case "SHUTDOWN":
		e.because(shutdownReason(data.Reason))
	case "RESET":
		e.mu.Lock()
		defer e.mu.Unlock()
		e.reboots++
		return data.Guest && e.panicked
	}
	return false
}

// shutdownReason translates QEMU's ShutdownCause.
func shutdownReason(cause string) ExitReason {
	switch cause {
	case "guest-shutdown":
		return PoweredOff
	case "guest-reset":
		return Rebooted
	case "guest-panic":
		return Panicked
	case "host-qmp-quit":
		return PowerCut
	}
	return Crashed
}

// exit is the final word, once QEMU and its streams have ended.
func (e *ending) exit(processErr error, stderr string) Exit {
	e.mu.Lock()
	defer e.mu.Unlock()
	reason := e.reason
	if e.panicked && (reason == "" || reason == Rebooted || reason == PoweredOff || reason == Crashed) {
		reason = Panicked
	}
	if reason != "" && reason != Crashed {
		return Exit{Reason: reason}
	}
	detail := strings.TrimSpace(lastLine(stderr))
	if detail == "" && processErr != nil {
		detail = processErr.Error()
	}
	return Exit{Reason: Crashed, Detail: detail}
}

func (e *ending) resets() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.reboots
}
