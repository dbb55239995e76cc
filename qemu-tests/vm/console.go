package vm

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"
)

// maxConsole bounds the memory a machine that never stops printing can take;
// a boot writes well under 1 MiB. The full text is on disk.
const maxConsole = 16 << 20

// console keeps what the machine writes to its serial port as lines without
// terminal control sequences, and wakes those who wait for one.
type console struct {
	mu      sync.Mutex
	lines   []string    // finished
	ended   []time.Time // when each of lines was complete
	partial []byte      // the line being written: a prompt never ends with a newline
	size    int
	grown   chan struct{} // closed and replaced on every change
	eof     bool
}

func newConsole() *console {
	return &console{grown: make(chan struct{})}
}

// readFrom collects until the stream ends, which it does when QEMU does. A
// flood is drained but not kept.
func (c *console) readFrom(r io.Reader, onLine func(string), onFlood func()) {
	buf := make([]byte, 32<<10)
	flooded := false
	for {
		n, err := r.Read(buf)
		for _, line := range c.add(buf[:n]) {
			onLine(line)
		}
		if !flooded && c.full() {
			flooded = true
			onFlood()
		}
		if err != nil {
			c.finish()
			return
		}
	}
}

// add appends raw output and returns the lines it completed.
func (c *console) add(p []byte) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.size >= maxConsole {
		return nil
	}
	c.size += len(p)
	now := time.Now()
	before := len(c.lines)
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			break
		}
		c.lines = append(c.lines, plainText(append(c.partial, p[:i]...)))
		c.ended = append(c.ended, now)
		c.partial = c.partial[:0]
		p = p[i+1:]
	}
	c.partial = append(c.partial, p...)
	c.wake()
	return c.lines[before:]
}

func (c *console) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.eof = true
	c.wake()
}

func (c *console) wake() {
	close(c.grown)
	c.grown = make(chan struct{})
}

func (c *console) full() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.size >= maxConsole
}

// find looks for re in the lines from number `from` on. When there is none it
// returns the number to go on from and a channel that is closed when there is
// more to see; after the end of the stream the channel is nil.
func (c *console) find(from int, re *regexp.Regexp) (line string, ok bool, next int, more <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := min(from, len(c.lines)); i < len(c.lines); i++ {
		if re.MatchString(c.lines[i]) {
			return c.lines[i], true, i + 1, nil
		}
	}
	if from <= len(c.lines) && len(c.partial) > 0 {
		if line := plainText(c.partial); re.MatchString(line) {
			return line, true, len(c.lines), nil
		}
	}
	if c.eof {
		return "", false, len(c.lines), nil
	}
	return "", false, max(from, len(c.lines)), c.grown
}

// all returns every line from number `from` on, the unfinished one included.
func (c *console) all(from int) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := append([]string(nil), c.lines[min(from, len(c.lines)):]...)
	if len(c.partial) > 0 {
		lines = append(lines, plainText(c.partial))
	}
	return lines
}

// timed returns every finished line with the time since a moment.
func (c *console) timed(since time.Time) []TimedLine {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := make([]TimedLine, len(c.lines))
	for i, text := range c.lines {
		lines[i] = TimedLine{At: c.ended[i].Sub(since), Text: text}
	}
	return lines
}

// count is the number of lines so far, the unfinished one included.
func (c *console) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.partial) > 0 {
		return len(c.lines) + 1
	}
	return len(c.lines)
}

// control matches terminal control sequences (ECMA-48 CSI, OSC, two-byte
// escapes) and the control characters that are left.
var control = regexp.MustCompile(`\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)|\x1b[@-Z\\-_c78]|[\x00-\x08\x0b-\x1f\x7f]`)

// plainText is a console line as a reader sees it.
func plainText(raw []byte) string {
	return strings.ToValidUTF8(string(control.ReplaceAll(raw, nil)), "\uFFFD")
}
