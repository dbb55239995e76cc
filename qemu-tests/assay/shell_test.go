package assay

import (
	"bufio"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"ingot/layers"
)

// fakeShell is a root shell on a machine that answers commands as a function
// does. The command is as [Shell.Run] was given it, its words joined by blanks.
func fakeShell(t *testing.T, answer func(command string) Output) *Shell {
	t.Helper()
	key, err := newKey(false)
	if err != nil {
		t.Fatal(err)
	}
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(key)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_, channels, requests, err := ssh.NewServerConn(conn, config)
		if err != nil {
			t.Error(err)
			return
		}
		go ssh.DiscardRequests(requests)
		for c := range channels {
			go serveCommand(c, answer)
		}
	}()
	client, err := ssh.Dial("tcp", listener.Addr().String(), &ssh.ClientConfig{HostKeyCallback: ssh.FixedHostKey(key.PublicKey())})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return &Shell{client: client}
}

// serveCommand answers one session, RFC 4254 §6.5, in which a shell is started.
func serveCommand(c ssh.NewChannel, answer func(string) Output) {
	channel, requests, err := c.Accept()
	if err != nil {
		return
	}
	for r := range requests {
		_ = r.Reply(r.Type == "exec", nil)
		if r.Type == "exec" {
			go serveShell(channel, answer)
		}
	}
}

// end is the last line of what a pipe writes for each command.
var end = regexp.MustCompile(`^\) </dev/null; printf '%s %d\\n' (\S+) \$\?`)

// serveShell does what the shell of a pipe does.
func serveShell(channel ssh.Channel, answer func(string) Output) {
	lines := bufio.NewScanner(channel)
	var command []string
	for lines.Scan() {
		m := end.FindStringSubmatch(lines.Text())
		if m == nil {
			command = append(command, strings.TrimPrefix(lines.Text(), "( "))
			continue
		}
		out := answer(strings.ReplaceAll(strings.Join(command, "\n"), "'", ""))
		fmt.Fprintf(channel, "%s%s %d\n", out.Stdout, m[1], out.Exit)
		fmt.Fprintf(channel.Stderr(), "%s%s 0\n", out.Stderr, m[1])
		command = nil
	}
}

func TestUnit(t *testing.T) {
	t.Parallel()
	s := fakeShell(t, func(command string) Output {
		switch command {
		case "systemctl is-active on.service", "systemctl is-active masked.service":
			return Output{Stdout: map[bool]string{true: "active\n", false: "inactive\n"}[strings.Contains(command, " on.")], Exit: 3}
		case "systemctl is-enabled on.service":
			return Output{Stdout: "enabled\n"}
		case "systemctl is-enabled masked.service":
			return Output{Stdout: "masked\n", Exit: 1}
		}
		return Output{Stderr: "Failed to get unit file state\n", Exit: 1}
	})
	for name, c := range map[string]struct {
		check layers.UnitCheck
		want  string
	}{
		"active":           {layers.UnitCheck{Name: "on.service", State: "active"}, ""},
		"both":             {layers.UnitCheck{Name: "on.service", State: "active", Enabled: "enabled"}, ""},
		"masked":           {layers.UnitCheck{Name: "masked.service", Enabled: "masked"}, ""},
		"not active":       {layers.UnitCheck{Name: "masked.service", State: "active"}, "masked.service is inactive and should be active"},
		"not disabled":     {layers.UnitCheck{Name: "on.service", State: "active", Enabled: "disabled"}, "on.service is enabled and should be disabled"},
		"active, disabled": {layers.UnitCheck{Name: "on.service", Enabled: "masked"}, "on.service is enabled and should be masked"},
		"no such unit":     {layers.UnitCheck{Name: "no.service", Enabled: "disabled"}, "no.service is Failed to get unit file state and should be disabled"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := s.inside(t.Context(), layers.Check{Unit: &c.check}, nil)
			holds(t, err, c.want)
		})
	}
}
