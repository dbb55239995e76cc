package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/term"

	"ingot/images"
)

// progress tells of a build: one line that changes on a terminal, a line for
// each finished stage elsewhere.
func (c *console) progress(p images.Progress) {
	if c.quiet {
		return
	}
	switch {
	case p.Of > 0:
		c.line(p.Bytes == p.Of, "%-12s %s of %s", p.Stage, size(p.Bytes), size(p.Of))
		return
	case p.Step != "":
		c.line(false, "%s", strings.TrimSpace(p.Stage+" "+p.Step))
		return
	case !p.Done:
		c.running = append(c.running, p.Stage)
	case p.Cached:
		c.line(true, "%-12s cached", p.Stage)
	case p.From != "":
		c.line(true, "%-12s %.1f s from %s", p.Stage, p.Seconds, p.From)
	default:
		c.line(true, "%-12s %.1f s", p.Stage, p.Seconds)
	}
	if p.Done {
		c.running = slices.DeleteFunc(c.running, func(stage string) bool { return stage == p.Stage })
	}
	if len(c.running) > 0 {
		c.line(false, "%s …", strings.Join(c.running, ", "))
	}
}

// line shows a state. One that is not final is overwritten by the next on a
// terminal and left out elsewhere.
func (c *console) line(final bool, format string, a ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := fmt.Sprintf(format, a...)
	switch {
	case c.terminal() && final:
		fmt.Fprintf(c.stderr, "\r\x1b[K%s\n", text)
	case c.terminal():
		fmt.Fprintf(c.stderr, "\r\x1b[K%s", text)
		c.unfinished = true
		return
	case final:
		fmt.Fprintln(c.stderr, text)
	}
	c.unfinished = false
}

// endProgress leaves a clean line for what follows.
func (c *console) endProgress() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unfinished {
		fmt.Fprint(c.stderr, "\r\x1b[K")
		c.unfinished = false
	}
}

// terminal reports whether a person watches stderr.
func (c *console) terminal() bool {
	f, ok := c.stderr.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
}
