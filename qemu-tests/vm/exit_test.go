package vm

import (
	"encoding/json"
	"errors"
	"testing"
)

func TestExit(t *testing.T) {
	t.Parallel()
	ev := func(name, data string) qmpEvent { return qmpEvent{Name: name, Data: json.RawMessage(data)} }
	shutdown := func(reason string) qmpEvent {
		return ev("SHUTDOWN", `{"guest":true,"reason":"`+reason+`"}`)
	}
	tests := []struct {
		name   string
		events []qmpEvent
		panics bool // the console said so
		own    ExitReason
		err    error
		stderr string
		want   string
	}{
		{name: "power off", events: []qmpEvent{shutdown("guest-shutdown")}, want: string(PoweredOff)},
		{name: "reboot", events: []qmpEvent{shutdown("guest-reset")}, want: string(Rebooted)},
		{name: "quit", events: []qmpEvent{shutdown("host-qmp-quit")}, want: string(PowerCut)},
		{name: "pvpanic", events: []qmpEvent{ev("GUEST_PANICKED", `{"action":"poweroff"}`), shutdown("guest-panic")}, want: string(Panicked)},
		{name: "panic, then reboot", events: []qmpEvent{shutdown("guest-reset")}, panics: true, want: string(Panicked)},
		{name: "killed by Close", own: PowerCut, err: errors.New("signal: killed"), want: string(PowerCut)},
		{name: "first own cause wins", own: Flooded, events: []qmpEvent{shutdown("host-qmp-quit")}, want: string(Flooded)},
		{name: "terminated from outside", events: []qmpEvent{ev("SHUTDOWN", `{"guest":false,"reason":"host-signal"}`)},
			stderr: "qemu: terminating on signal 15 from pid 1 (init)\n", want: string(Crashed) + ": qemu: terminating on signal 15 from pid 1 (init)"},
		{name: "refused arguments", err: errors.New("exit status 1"), stderr: "warning\nqemu: no such device\n", want: string(Crashed) + ": qemu: no such device"},
		{name: "silent crash", err: errors.New("signal: segmentation fault"), want: string(Crashed) + ": signal: segmentation fault"},
	}
	for _, tt := range tests {
		var e ending
		if tt.own != "" {
			e.because(tt.own)
		}
		if tt.panics {
			e.sawPanic()
		}
		for _, v := range tt.events {
			e.event(v)
		}
		if got := e.exit(tt.err, tt.stderr).String(); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestPanicStopsReboot: with Reboots allowed, a guest that resets itself after
// a panic must not come back as if nothing had happened.
func TestPanicStopsReboot(t *testing.T) {
	t.Parallel()
	reset := func(guest string) qmpEvent {
		return qmpEvent{Name: "RESET", Data: json.RawMessage(`{"guest":` + guest + `,"reason":"x"}`)}
	}
	var e ending
	if e.event(reset("true")) {
		t.Error("an ordinary reboot was stopped")
	}
	e.sawPanic()
	if e.event(reset("false")) {
		t.Error("the reset button was stopped")
	}
	if !e.event(reset("true")) {
		t.Error("the reboot after a panic was not stopped")
	}
	if e.resets() != 3 {
		t.Errorf("%d resets", e.resets())
	}
}
