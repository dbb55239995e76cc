package assay

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
)

// pipe is a root shell that takes one command after the other. A session for
// each would cost an emulated machine a tenth of a second, most of it for sudo.
type pipe struct {
	session        *ssh.Session
	stdin          io.Writer
	stdout, stderr *bufio.Reader
	// mark ends what a command prints; no command can know it.
	mark string
}

// pipe gives a shell that has nothing to do, an old one or a new one.
func (s *Shell) pipe() (*pipe, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.idle); n > 0 {
		p := s.idle[n-1]
		s.idle = s.idle[:n-1]
		return p, nil
	}
	return newPipe(s.client)
}

func newPipe(client *ssh.Client) (*pipe, error) {
	session, err := client.NewSession()
	if err != nil {
		return nil, fmt.Errorf("open a session: %w", err)
	}
	p := &pipe{session: session, mark: "ingot-" + rand.Text()}
	stdin, err := session.StdinPipe()
	stdout, err2 := session.StdoutPipe()
	stderr, err3 := session.StderrPipe()
	if err := errors.Join(err, err2, err3, session.Start("exec sudo -n -- sh")); err != nil {
		session.Close()
		return nil, fmt.Errorf("start a root shell: %w", err)
	}
	p.stdin, p.stdout, p.stderr = stdin, bufio.NewReader(stdout), bufio.NewReader(stderr)
	return p, nil
}

// run runs one line in a shell below the shell, which it cannot end.
func (p *pipe) run(line string) (Output, error) {
	const frame = "( %s\n) </dev/null; printf '%%s %%d\\n' %s $?; printf '%%s 0\\n' %s >&2\n"
	if _, err := fmt.Fprintf(p.stdin, frame, line, p.mark, p.mark); err != nil {
		return Output{}, err
	}
	type end struct {
		text string
		err  error
	}
	fromStderr := make(chan end, 1)
	go func() { // both streams at once: a full one would stop the command
		text, _, err := p.until(p.stderr)
		fromStderr <- end{text, err}
	}()
	stdout, exit, err := p.until(p.stdout)
	stderr := <-fromStderr
	return Output{Stdout: stdout, Stderr: stderr.text, Exit: exit}, errors.Join(err, stderr.err)
}

// until reads what comes before the mark, and the number after it.
func (p *pipe) until(r *bufio.Reader) (string, int, error) {
	var text strings.Builder
	for {
		line, err := r.ReadString('\n')
		if before, number, found := strings.Cut(line, p.mark+" "); found && err == nil {
			text.WriteString(before)
			exit, err := strconv.Atoi(strings.TrimSpace(number))
			return text.String(), exit, err
		}
		text.WriteString(line)
		if err != nil {
			return text.String(), 0, fmt.Errorf("the shell is gone: %w", err)
		}
	}
}
