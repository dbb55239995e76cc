package providers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"ingot/fault"
)

// Secret is a credential. It is shown as "[secret]" by every way of printing; Reveal
// gives it to an SDK.
//
// It is behind a pointer because fmt calls no methods on members that are not
// exported: of a struct that keeps a Secret in one, an address is all it shows.
type Secret struct{ text *string }

// NewSecret makes one.
func NewSecret(text string) Secret { return Secret{&text} }

// Reveal is the secret itself.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero reports whether there is none.
func (s Secret) IsZero() bool { return s.Reveal() == "" }

// String, GoString, Format and MarshalText hide it.
func (Secret) String() string { return hidden }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return hidden }

// Format implements fmt.Formatter: some verbs look into structs.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// MarshalText implements encoding.TextMarshaler.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

const hidden = "[secret]"

// commandTime is how long a password manager may take: somebody types a passphrase.
const commandTime = 2 * time.Minute

// maxSecret is how long a credential may be, in bytes.
const maxSecret = 16 << 10

// Credential looks for a secret in the environment: in NAME itself; in the file that
// NAME_FILE names, which only its owner may read; in what the command in
// NAME_COMMAND prints, run by the shell. Exactly one of them must be there.
func Credential(ctx context.Context, name string) (Secret, error) {
	var set []string
	for _, suffix := range []string{"", "_FILE", "_COMMAND"} {
		if os.Getenv(name+suffix) != "" {
			set = append(set, name+suffix)
		}
	}
	switch {
	case len(set) == 0:
		return Secret{}, fault.Input(fmt.Errorf("there are no credentials: set %s, %s_FILE to a file of mode 0600, or %[1]s_COMMAND to a command that prints them, such as 'pass show ingot'", name, name))
	case len(set) > 1:
		return Secret{}, fault.Input(fmt.Errorf("%s are set, and one is enough", strings.Join(set, " and ")))
	}
	var text []byte
	var err error
	switch value := os.Getenv(set[0]); set[0] {
	case name:
		text = []byte(value)
	case name + "_FILE":
		text, err = secretFile(value)
	default:
		text, err = secretCommand(ctx, value)
	}
	if err != nil {
		return Secret{}, fault.Input(fmt.Errorf("%s: %w", set[0], err))
	}
	text = bytes.TrimSpace(text)
	switch {
	case len(text) == 0:
		return Secret{}, fault.Input(fmt.Errorf("%s gives nothing", set[0]))
	case bytes.ContainsAny(text, "\r\n\x00"):
		return Secret{}, fault.Input(fmt.Errorf("%s gives more than one line", set[0]))
	}
	return NewSecret(string(text)), nil
}

func secretFile(file string) ([]byte, error) {
	if after, ok := strings.CutPrefix(file, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, err
		}
		file = filepath.Join(home, after)
	}
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no file %s", file)
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", file)
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("others may read or write %s: chmod 600 it, and make new credentials if others could log in here", file)
	case info.Size() > maxSecret:
		return nil, fmt.Errorf("%s is too large for a credential", file)
	}
	return os.ReadFile(file)
}

// secretCommand runs a command. What it prints is never shown; what it complains of is
// on the terminal, where it may ask for a passphrase.
func secretCommand(ctx context.Context, command string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Stdin, cmd.Stderr = os.Stdin, os.Stderr
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("the command failed: %w", err)
	}
	return out, nil
}
