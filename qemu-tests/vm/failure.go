package vm

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"
)

// tailLines is how much of the console a failure shows.
const tailLines = 50

// Failure is a machine that did not do what was asked, with what a person
// needs to find out why.
type Failure struct {
	Cause     error    // one line
	Milestone string   // how far the boot came, empty when nowhere
	Tail      []string // last lines of the console
	Command   string   // to paste into a shell: the same machine on the terminal
	Dir       string   // where the artefacts are
	Crashed   bool     // QEMU ended by itself: not the guest's doing
	// Processors say, of a machine that still runs, where each is in its
	// program, in QEMU's words: one that is halted waits for something, one that
	// is not works or loops.
	Processors []string
}

// Failure describes err together with the state of the machine now, for
// errors found by other means than the console, such as SSH.
func (v *VM) Failure(err error) *Failure {
	lines := v.console.all(0)
	reached := lastMilestone(lines)
	if reached == "" {
		reached = lastMilestone(firmwareLines(v.files.firmware))
	}
	return &Failure{
		Cause:     err,
		Milestone: reached,
		Tail:      lines[max(0, len(lines)-tailLines):],
		Command:   v.Command(),
		Dir:       v.cfg.Dir,
		Crashed:   v.crashed(),

		Processors: v.processors(),
	}
}

// monitorWait is how long QEMU may take to say where its processors are.
const monitorWait = 5 * time.Second

// registers are the lines of "info registers" that tell where a processor is.
var registers = regexp.MustCompile(`(?m)^CPU#\d+|\bRIP=[0-9a-f]+|\bEIP=[0-9a-f]+|\bCPL=\d|\bHLT=\d`)

type monitorArgs struct {
	Line string `json:"command-line"`
}

// processors is empty for a machine that has ended, or whose QEMU does not
// answer.
func (v *VM) processors() []string {
	select {
	case <-v.exited:
		return nil
	default:
	}
	ctx, cancel := context.WithTimeout(context.Background(), monitorWait)
	defer cancel()
	var text string
	if err := v.qmp.run(ctx, "human-monitor-command", monitorArgs{"info registers -a"}, &text); err != nil {
		return []string{fmt.Sprintf("QEMU does not say: %v", err)}
	}
	return whereabouts(text)
}

// whereabouts is one line a processor.
func whereabouts(text string) []string {
	var list []string
	for _, word := range registers.FindAllString(text, -1) {
		if strings.HasPrefix(word, "CPU#") || len(list) == 0 {
			list = append(list, word)
			continue
		}
		list[len(list)-1] += " " + word
	}
	return list
}

// crashed reports whether the machine has ended because QEMU did.
func (v *VM) crashed() bool {
	select {
	case <-v.exited:
		return v.exit.Reason == Crashed
	default:
		return false
	}
}

// Command is the QEMU command of this machine to paste into a shell. It is the
// same machine on the same files; console and monitor are on the terminal
// instead of this program's sockets. command.sh in Dir makes fresh files first.
func (v *VM) Command() string {
	args := append(v.cfg.machineArgs(v.files), terminalArgs(v.files)...)
	if v.cfg.Snapshot != "" {
		args = append(args, "-loadvm", v.cfg.Snapshot)
	}
	return shellLine(v.cfg.Toolchain.QEMU(context.Background(), args...))
}

// script is Command preceded by what makes the fresh files.
func (v *VM) script() string {
	var b strings.Builder
	b.WriteString("#!/bin/sh\n# The machine again, from power-on; ctrl-a x ends it.\nset -e\n")
	for _, cmd := range v.cfg.preparation(context.Background(), v.files) {
		fmt.Fprintln(&b, shellLine(cmd))
	}
	fmt.Fprintln(&b, "exec "+v.Command())
	return b.String()
}

// Error is a report of several lines; the first is the cause.
func (f *Failure) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v\n", f.Cause)
	if f.Milestone != "" {
		fmt.Fprintf(&b, "last boot milestone: %s\n", f.Milestone)
	} else {
		b.WriteString("last boot milestone: none\n")
	}
	for _, p := range f.Processors {
		fmt.Fprintf(&b, "processor: %s\n", p)
	}
	fmt.Fprintf(&b, "console, last %d lines:\n", len(f.Tail))
	for _, line := range f.Tail {
		fmt.Fprintf(&b, "  | %s\n", line)
	}
	fmt.Fprintf(&b, "artefacts: %s\nto reproduce: %s", f.Dir, f.Command)
	return b.String()
}

// Unwrap gives the cause.
func (f *Failure) Unwrap() error { return f.Cause }

// firmwareLines are the firmware's own debug messages.
func firmwareLines(file string) []string {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	return strings.Split(string(data), "\n")
}
