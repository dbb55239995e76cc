package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/mdp/qrterminal/v3"
	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"ingot/clients"
	"ingot/config"
	"ingot/fault"
	"ingot/qemu-tests/attest"
)

// initFlags are what a new folder is made of.
type initFlags struct {
	name, user, endpoint, client string
	keys                         []string
	qr                           bool
}

func initCommand(c *console) *cobra.Command {
	var f initFlags
	cmd := &cobra.Command{
		Use:   "init [DIR]",
		Short: "Begin a server: ingot.yaml, keys and the first client",
		Long: `Write an ingot.yaml that is a good server already, with your SSH key, and make what
only you may have: the server's WireGuard key, the config of the tunnel's first
client, and the key that signs verdicts, all in DIR/secrets. Nothing that is there is
replaced.`,
		Example: `  ingot init my-server --endpoint claw.example.com
  ingot init my-server --key ~/.ssh/work.pub --client phone --qr`,
		Args:              folder,
		ValidArgsFunction: folders,
		RunE: func(_ *cobra.Command, args []string) error {
			if f.qr && c.json {
				return fault.Input(errors.New("--qr shows the private key to a camera and --json writes one document; leave one out"))
			}
			return c.init(folderOf(args), f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.name, "name", "", "the server's name, by default that of the folder")
	flags.StringVar(&f.user, "user", "admin", "the administrator's name")
	flags.StringArrayVar(&f.keys, "key", nil, "file of an administrator's SSH public key, by default those in ~/.ssh; can be repeated")
	flags.StringVar(&f.endpoint, "endpoint", "", "the server's public name or address, when it is known")
	flags.StringVar(&f.client, "client", "laptop", "the name of the first client")
	flags.BoolVar(&f.qr, "qr", false, "show the client's config, with its private key, as a QR code")
	return cmd
}

// started is the JSON document of init.
type started struct {
	File   string         `json:"file"`
	Client clients.Client `json:"client"`
}

// unknownHost stands for an address that only a provider will give; no host has such
// a name (RFC 6761 §6.4).
const unknownHost = ".invalid"

func (c *console) init(dir string, f initFlags) error {
	file := filepath.Join(dir, config.FileName)
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fmt.Errorf("%s is there already; it stays as it is", file)
		}
		return fault.Input(err)
	}
	keys, err := publicSSHKeys(f.keys)
	if err != nil {
		return err
	}
	if f.name == "" {
		if f.name, err = folderName(dir); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fault.Input(err)
	}
	signing, err := signingKey(dir)
	if err != nil {
		return err
	}
	starter := config.Starter{Name: f.name, User: f.user, Keys: keys, SigningKey: signing, Endpoint: f.endpoint}
	if err := ignoreSecrets(dir); err != nil {
		return err
	}
	if err := renameio.WriteFile(file, starter.Text(), 0o644); err != nil {
		return fault.Machine(err)
	}
	endpoint := f.endpoint
	if endpoint == "" {
		endpoint = f.name + unknownHost
	}
	added, err := clients.Add(dir, clients.Options{Name: f.client, Endpoint: endpoint})
	if err != nil {
		// The file is what is wrong: the next try begins where this one did.
		return errors.Join(mistakes(err), os.Remove(file))
	}
	return c.begun(dir, file, added, f)
}

// begun says what there is now and what comes next.
func (c *console) begun(dir, file string, added clients.Added, f initFlags) error {
	for _, r := range added.Remarks {
		c.remark("%s", r)
	}
	c.remark("%s is the tunnel's config for %s; it holds a private key.", added.File, added.Name)
	if f.endpoint == "" {
		c.remark("Nobody knows the server's address yet: \"ingot deploy\" puts it into that file.")
	}
	c.remark("%s signs verdicts. Next: ingot test %s", filepath.Join(dir, attest.KeyFile), dir)
	if c.json {
		return c.document(started{file, added.Client})
	}
	if err := c.write(fmt.Appendf(nil, "%s\n", file)); err != nil || !f.qr {
		return err
	}
	var code strings.Builder
	qrterminal.GenerateHalfBlock(added.Config, qrterminal.L, &code)
	return c.write([]byte(code.String()))
}

// folderName is what a server is called after its folder.
func folderName(dir string) (string, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	name := strings.ToLower(filepath.Base(path))
	for _, r := range name {
		if r != '-' && (r < 'a' || r > 'z') && (r < '0' || r > '9') {
			return "", fault.Input(fmt.Errorf("the folder's name %q cannot be a server's; give one with --name", name))
		}
	}
	return name, nil
}

// publicSSHKeys reads .pub files, or those in ~/.ssh.
func publicSSHKeys(files []string) ([]string, error) {
	asked := len(files) > 0
	if !asked {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, fault.Machine(err)
		}
		if files, err = filepath.Glob(filepath.Join(home, ".ssh", "id_*.pub")); err != nil {
			return nil, err
		}
	}
	var lines []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil && bytes.Contains(text, []byte("PRIVATE KEY")) {
			err = errors.New("this is the private half; name the file that ends in .pub")
		}
		if err == nil {
			_, _, _, _, err = ssh.ParseAuthorizedKey(text)
		}
		if err != nil {
			return nil, fault.Input(fmt.Errorf("the SSH key %s: %w", file, err))
		}
		lines = append(lines, strings.TrimSpace(string(text)))
	}
	if len(lines) == 0 {
		return nil, fault.Input(errors.New("there is no SSH key in ~/.ssh to let you in: make one with ssh-keygen -t ed25519, or name its .pub file with --key"))
	}
	return lines, nil
}

// signingKey makes the key that signs verdicts, or takes the one that an earlier try
// has made, and returns its public half.
func signingKey(dir string) (string, error) {
	file := filepath.Join(dir, attest.KeyFile)
	if text, err := os.ReadFile(file + ".pub"); err == nil {
		key, err := attest.ParsePublic(text)
		if err != nil {
			return "", fault.Input(fmt.Errorf("%s.pub: %w", file, err))
		}
		return attest.Line(key), nil
	}
	key, err := attest.MakeKey(file, nil)
	if err != nil {
		return "", err
	}
	return attest.Line(key), nil
}

// ignoreSecrets keeps what nobody else may have out of version control.
func ignoreSecrets(dir string) error {
	file := filepath.Join(dir, ".gitignore")
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return renameio.WriteFile(file, []byte("# What the build makes, and what nobody else may have.\n/build/\n/secrets/\n"), 0o644)
}
