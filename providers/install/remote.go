package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"ingot/fault"
)

// remote is a machine that we are logged in to.
type remote struct {
	client *ssh.Client
	// sudo comes before commands that only root may give; empty for root.
	sudo string
}

// commandTime is how long a short command may take, in a slow machine.
const commandTime = 2 * time.Minute

// maxAnswer bounds what a command may say, in bytes.
const maxAnswer = 1 << 20

// newRemote looks what kind of machine it is.
func newRemote(ctx context.Context, client *ssh.Client) (*remote, error) {
	r := &remote{client: client}
	out, err := r.run(ctx, "uname -s -m; id -u")
	if err != nil {
		return nil, err
	}
	words := strings.Fields(out)
	if len(words) != 3 || words[0] != "Linux" || words[1] != "x86_64" {
		return nil, fault.Input(fmt.Errorf("the machine is %q, and images are for Linux on x86_64", strings.Join(words[:max(len(words)-1, 0)], " ")))
	}
	if words[2] == "0" {
		return r, nil
	}
	r.sudo = "sudo -n "
	if _, err := r.run(ctx, r.sudo+"true"); err != nil {
		return nil, fault.Input(errors.New("this user cannot become root without a password: log in as root"))
	}
	return r, nil
}

// commandError is a command that did not end well.
type commandError struct {
	command, said string
	err           error
}

func (e *commandError) Error() string {
	if e.said == "" {
		return fmt.Sprintf("%s: %v", e.command, e.err)
	}
	return fmt.Sprintf("%s: %s", e.command, e.said)
}

func (e *commandError) Unwrap() error { return e.err }

// run gives a short command to the machine's shell and returns what it says.
func (r *remote) run(ctx context.Context, command string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	return r.feed(ctx, command, nil)
}

// feed is run for a command that reads something.
func (r *remote) feed(ctx context.Context, command string, in io.Reader) (string, error) {
	s, err := r.client.NewSession()
	if err != nil {
		return "", lost(err)
	}
	defer s.Close()
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	var out, complaint bounded
	s.Stdin, s.Stdout, s.Stderr = in, &out, &complaint
	err = s.Run(command)
	switch {
	case ctx.Err() != nil: // also when the command took its end for a good one
		return "", ctx.Err()
	case err == nil:
		return out.String(), nil
	case errors.As(err, new(*ssh.ExitError)):
		name, _, _ := strings.Cut(command, " ")
		return "", fault.Provider(&commandError{name, strings.TrimSpace(complaint.String()), err})
	}
	return "", lost(err)
}

func lost(err error) error {
	return fault.Provider(fmt.Errorf("the connection to the machine was lost: %w", err))
}

// bounded keeps the beginning of what is written to it.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), maxAnswer-b.Len())])
	return len(p), nil
}

// quote makes one word of a text for the shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// uploadScript puts the agent into a file system in memory that is its own, since
// /run is often mounted noexec and the disk is what gets overwritten. The agent
// removes it when it ends. A connection that breaks is an end of the file.
const uploadScript = `set -eu
umask 077
dir=$(mktemp -d /run/ingot-install.XXXXXX)
trap 'umount "$dir" 2>/dev/null || true; rmdir "$dir"' EXIT
mount -t tmpfs -o mode=0700,size=64m,nosuid,nodev ingot-install "$dir"
cat >"$dir/ingot-agent"
[ "$(wc -c <"$dir/ingot-agent")" -eq "$1" ]
chmod 0700 "$dir/ingot-agent"
trap - EXIT
echo "$dir/ingot-agent"`

func (r *remote) upload(ctx context.Context, agent string) (string, error) {
	f, err := os.Open(agent)
	if err != nil {
		return "", fault.Machine(fmt.Errorf("the agent that writes the disk: %w", err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fault.Machine(fmt.Errorf("the agent that writes the disk: %w", err))
	}
	out, err := r.feed(ctx, fmt.Sprintf("%ssh -c %s sh %d", r.sudo, quote(uploadScript), info.Size()), f)
	if err != nil {
		return "", fmt.Errorf("put the agent into the machine's memory: %w", err)
	}
	return strings.TrimSpace(out), nil
}

// keepAlive ends a connection that answers nothing any more: nobody says so when a
// machine restarts.
func keepAlive(ctx context.Context, client *ssh.Client) {
	tick := time.NewTicker(aliveEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		answer := make(chan error, 1)
		go func() {
			_, _, err := client.SendRequest("keepalive@openssh.com", true, nil)
			answer <- err
		}()
		select {
		case <-ctx.Done():
			return
		case err := <-answer:
			if err == nil {
				continue
			}
		case <-time.After(aliveTime):
		}
		client.Close()
		return
	}
}

const (
	aliveEvery = 10 * time.Second
	// aliveTime is how long a machine may be silent: one that writes its disk is
	// busy.
	aliveTime = time.Minute
)
