package install

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"ingot/fault"
	"ingot/providers/install/writer"
)

// Progress is how far a step is: clearing, sending, writing, reading.
type Progress struct {
	Step     string
	Done, Of int64 // in bytes
}

// conversation is one with the agent on the machine.
type conversation struct {
	job      writer.Job
	progress func(Progress)
	session  *ssh.Session
	in       io.WriteCloser
	said     bounded // on its standard error

	milestones chan writer.Event // closed when the agent has ended
	ended      error             // why, valid then
	mu         sync.Mutex        // progress comes from both directions
}

// outcome is what was seen of an installation.
type outcome struct {
	// sha256 is that of what was read back, empty when the connection ended before
	// it was seen.
	sha256 string
	sent   int64 // bytes that travelled
}

// errLost is a connection that ended before the agent said how it went.
var errLost = errors.New("the connection to the machine was lost")

// errUnseen is one that was lost when nothing could stop the agent any more.
var errUnseen = errors.New("what was read back could not be seen")

// write has the agent do a job. The agent is a file on the machine.
func (r *remote) write(ctx context.Context, agent string, job writer.Job, image Image, patches []writer.Patch, progress func(Progress)) (outcome, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go keepAlive(ctx, r.client)
	c, err := r.converse(agent, job, progress)
	if err != nil {
		return outcome{}, err
	}
	defer c.session.Close()
	// A connection that hangs does not end by closing the session in it.
	stop := context.AfterFunc(ctx, func() { c.session.Close() })
	defer stop()
	out, err := c.hold(ctx, image, patches)
	if ctx.Err() != nil {
		err = errors.Join(ctx.Err(), err)
	}
	return out, err
}

// converse starts the agent.
func (r *remote) converse(agent string, job writer.Job, progress func(Progress)) (*conversation, error) {
	s, err := r.client.NewSession()
	if err != nil {
		return nil, lost(err)
	}
	c := &conversation{job: job, progress: progress, session: s, milestones: make(chan writer.Event, 16)}
	s.Stderr = &c.said
	if c.in, err = s.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.StdoutPipe()
	if err != nil {
		return nil, err
	}
	command := "exec " + quote(agent) + " install"
	if r.sudo != "" {
		command = r.sudo + quote(agent) + " install"
	}
	if err := s.Start(command); err != nil {
		s.Close()
		return nil, lost(err)
	}
	go c.listen(out)
	return c, nil
}

// listen sorts what the agent says.
func (c *conversation) listen(out io.Reader) {
	defer close(c.milestones)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var e writer.Event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue // a greeting of the shell's
		}
		if e.Of > 0 {
			c.tell(string(e.Step), e.Done, e.Of)
			continue
		}
		select {
		case c.milestones <- e:
		default: // an agent has not that much to say
		}
	}
	c.ended = c.session.Wait()
}

// tell tells of a step, with zeros of one that cannot be counted.
func (c *conversation) tell(step string, done, of int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.progress(Progress{step, done, of})
}

// hold is the conversation, from the job to the end.
func (c *conversation) hold(ctx context.Context, image Image, patches []writer.Patch) (outcome, error) {
	var out outcome
	var err error
	if out.sent, err = c.deliver(ctx, image, patches); err != nil {
		return out, c.explain(err, false)
	}
	if err := c.message(writer.KindGo); err != nil {
		return out, c.explain(err, true)
	}
	if c.job.Staged {
		if _, err := c.await(writer.Quiet); err != nil {
			return out, c.explain(err, true)
		}
	}
	read, err := c.await(writer.ReadBack)
	if err == nil {
		_, err = c.await(writer.Done)
	}
	if err != nil {
		return out, c.explain(err, true)
	}
	if read.SHA256 != c.job.SHA256 {
		return out, fault.Provider(fmt.Errorf("the disk reads back with the SHA-256 %q, and the image has %s", read.SHA256, c.job.SHA256))
	}
	out.sha256 = read.SHA256
	// When this does not arrive, the machine restarts a little later.
	_ = c.message(writer.KindSeen)
	var exit *ssh.ExitError
	if c.awaitEnd() && errors.As(c.ended, &exit) {
		return out, fault.Provider(fmt.Errorf("the disk is written and read back, and the machine did not end, restart it by hand: the agent ended with %d: %s", exit.ExitStatus(), strings.TrimSpace(c.said.String())))
	}
	return out, nil
}

// awaitEnd waits until the agent has ended, or the machine, which does not say that
// it has gone. It reports whether the agent's end was seen.
func (c *conversation) awaitEnd() bool {
	gone := make(<-chan time.Time)
	if c.job.Ending != writer.Stay {
		gone = time.After(lastWordsTime)
	}
	for {
		select {
		case _, more := <-c.milestones:
			if !more {
				return true
			}
		case <-gone:
			return false
		}
	}
}

// deliver sends all that the agent needs.
func (c *conversation) deliver(ctx context.Context, image Image, patches []writer.Patch) (sent int64, err error) {
	if err := c.sendJSON(writer.KindJob, c.job); err != nil {
		return 0, err
	}
	if _, err := c.await(writer.Ready); err != nil {
		return 0, err
	}
	for _, p := range patches {
		if err := c.sendJSON(writer.KindPatch, p); err != nil {
			return 0, err
		}
	}
	var done int64
	w := &pieces{c: c}
	err = image.pack(ctx, w, func(chunk []byte) {
		done += int64(len(chunk))
		if c.job.Staged { // otherwise the machine says how far it has written
			c.tell("sending", done, image.Bytes)
		}
	})
	if err == nil {
		err = c.message(writer.KindEnd)
	}
	if err == nil {
		_, err = c.await(writer.Received)
	}
	return w.sent, err
}

func (c *conversation) message(kind byte) error {
	return asLost(writer.Send(c.in, kind, nil))
}

func (c *conversation) sendJSON(kind byte, v any) error {
	return asLost(writer.SendJSON(c.in, kind, v))
}

func asLost(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errLost, err)
}

// pieces sends what is written to it.
type pieces struct {
	c    *conversation
	sent int64
}

func (w *pieces) Write(p []byte) (int, error) {
	if err := writer.Send(w.c.in, writer.KindData, p); err != nil {
		return 0, asLost(err)
	}
	w.sent += int64(len(p))
	return len(p), nil
}

// agentError is what the agent says when it gives up.
type agentError struct{ event writer.Event }

func (e *agentError) Error() string { return "the machine says: " + e.event.Error }

// await waits for the agent to come to a step.
func (c *conversation) await(step writer.Step) (writer.Event, error) {
	for e := range c.milestones {
		c.tell(string(e.Step), 0, 0)
		switch e.Step {
		case step:
			return e, nil
		case writer.Failed:
			return e, &agentError{e}
		}
	}
	var exit *ssh.ExitError
	if errors.As(c.ended, &exit) {
		return writer.Event{}, fmt.Errorf("the agent on the machine ended with %d: %s", exit.ExitStatus(), strings.TrimSpace(c.said.String()))
	}
	if c.ended == nil {
		return writer.Event{}, errors.New("the agent on the machine ended without a word")
	}
	return writer.Event{}, asLost(c.ended)
}

// lastWordsTime is how long the agent's last words may be on their way when it does
// not read any more.
const lastWordsTime = 5 * time.Second

// explain says what has become of the disk. Begun is whether the agent was told to
// go on.
func (c *conversation) explain(err error, begun bool) error {
	if errors.Is(err, errLost) {
		// What the agent said counts for more than that it has gone.
		hurry := time.AfterFunc(lastWordsTime, func() { c.session.Close() })
		_, err = c.await("")
		hurry.Stop()
	}
	var said *agentError
	lost, touched := errors.Is(err, errLost), !c.job.Staged
	if errors.As(err, &said) {
		touched = said.event.Touched
	}
	switch {
	case lost && c.job.Staged && begun:
		return fault.Provider(fmt.Errorf("%w: the machine was told to begin and does not stop any more, its disk is being overwritten: %w", errUnseen, err))
	case !touched:
		err = fmt.Errorf("%w; the machine's disk was not touched", err)
	case c.job.Staged:
		err = fmt.Errorf("%w; the machine's disk is damaged, and what still runs is lost with the next restart: start the provider's rescue system and install from there", err)
	default:
		err = fmt.Errorf("%w; the disk may be written in part: run this again", err)
	}
	return fault.Provider(err)
}
