package vm

import (
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// TestConsoleLines reads the same bytes in one piece and one by one: where a
// read ends must not show.
func TestConsoleLines(t *testing.T) {
	t.Parallel()
	const raw = "\x1b[2J\x1b[01;01HGRUB\r\n[\x1b[0;32m  OK  \x1b[0m] Reached target \x1b[0;1;39mmulti-user.target\x1b[0m.\r\n\r\n\x1b]0;t\x07bad \xff byte\r\nhost login: "
	want := []string{"GRUB", "[  OK  ] Reached target multi-user.target.", "", "bad \uFFFD byte", "host login: "}
	for name, r := range map[string]io.Reader{
		"whole": strings.NewReader(raw),
		"bytes": iotest.OneByteReader(strings.NewReader(raw)),
	} {
		c := newConsole()
		var finished []string
		c.readFrom(r, func(l string) { finished = append(finished, l) }, func() { t.Error("flood") })
		if got := c.all(0); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
		if !slices.Equal(finished, want[:4]) {
			t.Errorf("%s: finished lines %q", name, finished)
		}
		if c.count() != len(want) {
			t.Errorf("%s: count %d", name, c.count())
		}
	}
}

func TestConsoleFind(t *testing.T) {
	t.Parallel()
	c := newConsole()
	c.add([]byte("one\ntwo\nthr"))
	tests := []struct {
		name, re string
		from     int
		want     string
		ok       bool
	}{
		{"finished line", "^one$", 0, "one", true},
		{"unfinished line", "^thr", 0, "thr", true},
		{"after a mark", "o", 1, "two", true},
		{"before the mark", "^one$", 1, "", false},
		{"unfinished line before the mark", "^thr", 3, "", false},
	}
	for _, tt := range tests {
		line, ok, _, more := c.find(tt.from, regexp.MustCompile(tt.re))
		if line != tt.want || ok != tt.ok {
			t.Errorf("%s: got %q %t", tt.name, line, ok)
		}
		if !ok && more == nil {
			t.Errorf("%s: nothing to wait for", tt.name)
		}
	}

	_, _, next, more := c.find(0, regexp.MustCompile("three"))
	c.add([]byte("ee\n"))
	select {
	case <-more:
	default:
		t.Fatal("growth woke nobody")
	}
	if line, ok, _, _ := c.find(next, regexp.MustCompile("three")); !ok || line != "three" {
		t.Errorf("a line finished later was missed: %q", line)
	}
	_, _, _, more = c.find(0, regexp.MustCompile("never"))
	c.finish()
	select {
	case <-more:
	default:
		t.Fatal("the end woke nobody")
	}
	if _, ok, _, more := c.find(0, regexp.MustCompile("never")); ok || more != nil {
		t.Error("after the end there is still something to wait for")
	}
}

func TestConsoleFlood(t *testing.T) {
	t.Parallel()
	c := newConsole()
	floods := 0
	c.readFrom(io.LimitReader(zeros{}, maxConsole+1<<20), func(string) {}, func() { floods++ })
	if floods != 1 {
		t.Errorf("flood reported %d times", floods)
	}
	if c.size > maxConsole+64<<10 {
		t.Errorf("kept %d bytes", c.size)
	}
}

// zeros is an endless unfinished line.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestLastMilestone(t *testing.T) {
	t.Parallel()
	boot := []string{
		"SeaBIOS (version 1.16.3-debian-1.16.3-2)",
		"[    0.000000] Linux version 6.12.117+deb13-cloud-amd64",
		"systemd[1]: systemd 257.8 running in system mode (+PAM)",
		"[  OK  ] Started ssh.service - OpenBSD Secure Shell server.",
		"[  OK  ] Reached target multi-user.target - Multi-User System.",
		"something else",
	}
	for n, want := range map[int]string{0: "", 1: boot[0], 2: boot[1], 3: boot[2], 4: boot[3], 5: boot[4], 6: boot[4]} {
		if got := lastMilestone(boot[:n]); got != want {
			t.Errorf("after %d lines: %q, want %q", n, got, want)
		}
	}
}
