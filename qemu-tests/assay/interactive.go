package assay

import (
	"context"
	"os"

	"golang.org/x/crypto/ssh"
	"golang.org/x/term"
)

// Interactive gives the terminal of this process to a root shell on the
// machine. Without a terminal it feeds standard input to the shell.
func (s *Shell) Interactive(ctx context.Context) error {
	session, err := s.client.NewSession()
	if err != nil {
		return err
	}
	defer session.Close()
	stop := context.AfterFunc(ctx, func() { session.Close() })
	defer stop()
	session.Stdin, session.Stdout, session.Stderr = os.Stdin, os.Stdout, os.Stderr
	if fd := int(os.Stdin.Fd()); term.IsTerminal(fd) {
		width, height, err := term.GetSize(fd)
		if err != nil {
			return err
		}
		if err := session.RequestPty(os.Getenv("TERM"), height, width, ssh.TerminalModes{}); err != nil {
			return err
		}
		old, err := term.MakeRaw(fd)
		if err != nil {
			return err
		}
		defer term.Restore(fd, old)
	}
	return session.Run("sudo -i")
}
