package vm

import (
	"regexp"
	"strings"
)

// Alarm is a console or journal line that a healthy machine never writes.
type Alarm struct {
	Number  int    // of the line, from 1
	Line    string // the whole line
	Pattern string // name of what was recognised, "kernel panic"
}

type alarmPattern struct {
	name string
	re   *regexp.Regexp
}

// alarmPatterns cover the kinds kola looks for after each run (reference
// anchors §6), and the failures of systemd, dracut, GRUB and dm-verity. The
// first that matches names the alarm. The test has lines for every one.
var alarmPatterns = []alarmPattern{
	{"kernel panic", regexp.MustCompile(`Kernel panic - not syncing`)},
	{"kernel oops", regexp.MustCompile(`\bOops: |\bOops$|Unable to handle kernel|unable to handle page fault|general protection fault|\bdouble fault\b`)},
	{"kernel bug", regexp.MustCompile(`\bBUG: |\bkernel BUG at `)},
	{"kernel warning", regexp.MustCompile(`\bWARNING: CPU: \d+|WARNING: possible `)},
	{"call trace", regexp.MustCompile(`\bCall Trace:`)},
	{"kernel stall", regexp.MustCompile(`soft lockup|hard LOCKUP|self-detected stall|detected stalls on|blocked for more than \d+ seconds`)},
	{"out of memory", regexp.MustCompile(`Out of memory: |Memory cgroup out of memory|\boom-kill:|invoked oom-killer`)},
	{"crashed program", regexp.MustCompile(`\bsegfault at |\btraps: .* trap |status=\d+/(SEGV|ABRT|BUS|ILL|FPE)|dumped core|^(.*: )?panic: |^(.*: )?fatal error: |goroutine \d+ \[running\]`)},
	{"I/O error", regexp.MustCompile(`I/O error|critical (medium|target) error`)},
	{"file system error", regexp.MustCompile(`EXT4-fs (error|warning)|EXT4-fs .*: (error|warning)|EXT4-fs \(.*\): Remounting filesystem read-only|erofs: .*(failed|corrupt|error)|FAT-fs .*(error|not properly unmounted)`)},
	{"verity corruption", regexp.MustCompile(`device-mapper: verity.*(corrupt|[Ee]rror)|verity: .*block \d+ is corrupted`)},
	{"ordering cycle", regexp.MustCompile(`[Oo]rdering cycle`)},
	{"emergency mode", regexp.MustCompile(`(Entering|You are in) (emergency|rescue) mode|Reached target.*(emergency\.target|rescue\.target|Emergency Mode|Rescue Mode)|Started.*(Emergency Shell|Rescue Shell)|Press Enter for (emergency|maintenance|system maintenance)|for maintenance$|\(or press Control-D to continue\)|^(dracut|switch_root|emergency):[^ ]*# |\(initramfs\)|Gave up waiting for |Dropping to a shell`)},
	{"failed unit", regexp.MustCompile(`^\[FAILED\]|Failed to start |Failed to mount |Failed to listen on |Failed with result '|Failed at step `)},
	{"failed dependency", regexp.MustCompile(`^\[DEPEND\]|Dependency failed for `)},
	{"timeout", regexp.MustCompile(`^\[ ?TIME ?\]|Timed out waiting for device|Job .* timed out|start operation timed out`)},
	{"systemd halted", regexp.MustCompile(`Freezing execution|Caught <[A-Z]+>, (core dump|dumped core)`)},
	{"dracut", regexp.MustCompile(`dracut.*(Warning|FATAL|Refusing)|dracut: .*(not found|does not exist)`)},
	{"ignition", regexp.MustCompile(`[Ii]gnition.*(failed|CRITICAL|Config validation error|stage .* error)`)},
	{"denied", regexp.MustCompile(`apparmor="DENIED"`)},
	{"boot loader", regexp.MustCompile(`^error: |^Entering rescue mode|^grub rescue>|^grub>|No bootable device|failed to load Boot\d+`)},
}

// Alarms returns the lines of text that a healthy machine never writes, in
// order, each once. Text is a console or a journal, with or without terminal
// control sequences.
func Alarms(text string) []Alarm {
	var found []Alarm
	for i, raw := range strings.Split(text, "\n") {
		line := plainText([]byte(raw))
		if name, ok := alarm(line); ok {
			found = append(found, Alarm{Number: i + 1, Line: line, Pattern: name})
		}
	}
	return found
}

func alarm(line string) (string, bool) {
	for _, p := range alarmPatterns {
		if p.re.MatchString(line) {
			return p.name, true
		}
	}
	return "", false
}
