package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/term"

	"ingot/config"
	"ingot/fault"
	"ingot/layers/wireguard"
)

// ownerFlags are how this computer gets into the machine, as its owner.
type ownerFlags struct {
	client   string
	identity string
}

func (f *ownerFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.client, "client", "", "WireGuard config of a client, by default the only one in secrets/clients")
	flags.StringVarP(&f.identity, "identity", "i", "", "SSH private key of an administrator, by default those of the SSH agent and ~/.ssh")
}

// owner is what is needed to connect.
type owner struct {
	file   string // the client's config
	client []byte
	inner  netip.Addr // the machine's address in the tunnel
	auth   []ssh.AuthMethod
	close  func()
}

// owner looks for the keys before anything is made: a server that nobody here can
// look at is not proven.
func (f ownerFlags) owner(loaded config.Loaded, dir string) (owner, error) {
	o := owner{close: func() {}}
	var err error
	if o.file, err = f.clientFile(dir); err != nil {
		return o, err
	}
	if o.client, err = os.ReadFile(o.file); err != nil {
		return o, fault.Input(fmt.Errorf("read the client's config: %w", err))
	}
	if o.inner, err = innerAddress(loaded); err != nil {
		return o, fault.Input(err)
	}
	o.auth, o.close, err = f.logins()
	return o, err
}

// clientFile is the config of a peer that this computer may be.
func (f ownerFlags) clientFile(dir string) (string, error) {
	if f.client != "" {
		return f.client, nil
	}
	list, err := filepath.Glob(filepath.Join(dir, "secrets", "clients", "*.conf"))
	switch {
	case err != nil:
		return "", err
	case len(list) == 1:
		return list[0], nil
	case len(list) == 0:
		return "", fault.Input(errors.New("to look at the new machine through its tunnel, a client's config must be here: name one with --client, or make one with \"ingot client add\""))
	}
	return "", fault.Input(fmt.Errorf("there are %d clients' configs in secrets/clients; name one with --client", len(list)))
}

// knows puts the server's address into a client's config that "ingot init" wrote when
// nobody knew it. A config with an address or a name stays as it is.
func (o owner) knows(server netip.Addr) (changed bool, err error) {
	placeholder := regexp.MustCompile(`(?m)^(Endpoint = )[a-z0-9-]+` + regexp.QuoteMeta(unknownHost) + `:([0-9]+)$`)
	m := placeholder.FindSubmatch(o.client)
	if m == nil {
		return false, nil
	}
	line := fmt.Sprintf("%s%s", m[1], net.JoinHostPort(server.String(), string(m[2])))
	text := bytes.Replace(o.client, m[0], []byte(line), 1)
	return true, renameio.WriteFile(o.file, text, 0o600, renameio.IgnoreUmask())
}

// innerAddress is the server's in the tunnel.
func innerAddress(loaded config.Loaded) (netip.Addr, error) {
	for _, l := range loaded.Layers {
		if w, ok := l.(wireguard.Layer); ok {
			prefix, err := netip.ParsePrefix(w.Options.Address)
			return prefix.Addr(), err
		}
	}
	return netip.Addr{}, errors.New("without the layer wireguard nobody can look at the machine; add it")
}

// logins are the keys of the file that was named, or of the agent and of ~/.ssh.
func (f ownerFlags) logins() ([]ssh.AuthMethod, func(), error) {
	none := func() {}
	if f.identity != "" {
		signer, err := privateKey(f.identity)
		if err != nil {
			return nil, none, fault.Input(fmt.Errorf("--identity %s: %w", f.identity, err))
		}
		return []ssh.AuthMethod{ssh.PublicKeys(signer)}, none, nil
	}
	var signers []ssh.Signer
	closer := none
	if socket := os.Getenv("SSH_AUTH_SOCK"); socket != "" {
		if conn, err := net.Dial("unix", socket); err == nil {
			closer = func() { conn.Close() }
			if held, err := agent.NewClient(conn).Signers(); err == nil {
				signers = held
			}
		}
	}
	// Names of ssh(1), without those of tokens, which an agent has.
	if home, err := os.UserHomeDir(); err == nil {
		for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
			if signer, err := privateKey(filepath.Join(home, ".ssh", name)); err == nil {
				signers = append(signers, signer)
			}
		}
	}
	if len(signers) == 0 {
		return nil, closer, fault.Input(errors.New("there is no SSH key to log in with: add one to the SSH agent, or name its file with --identity"))
	}
	return []ssh.AuthMethod{ssh.PublicKeys(signers...)}, closer, nil
}

// privateKey reads a key, and asks for its passphrase where somebody can answer.
func privateKey(file string) (ssh.Signer, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fs.ErrNotExist
		}
		return nil, err
	}
	signer, err := ssh.ParsePrivateKey(text)
	var locked *ssh.PassphraseMissingError
	if !errors.As(err, &locked) {
		return signer, err
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return nil, errors.New("it has a passphrase; add it to the SSH agent with ssh-add")
	}
	fmt.Fprintf(os.Stderr, "passphrase of %s: ", strings.TrimSpace(file))
	passphrase, err := term.ReadPassword(int(os.Stdin.Fd()))
	fmt.Fprintln(os.Stderr)
	if err != nil {
		return nil, err
	}
	return ssh.ParsePrivateKeyWithPassphrase(text, passphrase)
}
