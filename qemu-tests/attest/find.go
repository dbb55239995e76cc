package attest

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"ingot/fault"
	"ingot/secrets"
)

// The environment of a key.
const (
	keyVariable      = "INGOT_TEST_KEY"
	fileVariable     = "INGOT_TEST_KEY_FILE"
	identityVariable = "INGOT_AGE_IDENTITY"
)

// KeyFile is the key of a folder, beside its ingot.yaml.
const KeyFile = secrets.Folder + "/test.key"

// maxKeyBytes is the size of the largest key file that is read: an encrypted
// key has some hundred bytes for each recipient.
const maxKeyBytes = 64 << 10

// Places are where a key may come from; empty ones are passed over.
type Places struct {
	PEM      string // the key itself
	File     string // a file with it
	Folder   string // that of ingot.yaml, which may hold KeyFile
	Identity string // a file with identities of age, for a key that is encrypted
	Local    string // this user's local key, which is made when there is no other
}

// PlacesOf are the places for a folder, as the environment has them.
func PlacesOf(folder string) Places {
	p := Places{PEM: os.Getenv(keyVariable), File: os.Getenv(fileVariable), Folder: folder, Identity: os.Getenv(identityVariable)}
	if dir, err := os.UserConfigDir(); err == nil {
		p.Local = filepath.Join(dir, "ingot", "local-test.key")
	}
	return p
}

// FindKey returns the key of the first place that has one. A place with
// something else is an error: the next one would sign with a key that its owner
// did not mean.
func FindKey(p Places) (Key, error) {
	if p.PEM != "" {
		private, err := p.private([]byte(p.PEM))
		return found(private, keyVariable, err)
	}
	if p.File != "" {
		private, err := p.read(p.File)
		return found(private, p.File, err)
	}
	file := filepath.Join(p.Folder, KeyFile)
	private, err := p.read(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return found(private, file, err)
	}
	return p.local()
}

func found(private ed25519.PrivateKey, source string, err error) (Key, error) {
	if err != nil {
		return Key{}, fault.Input(fmt.Errorf("the key in %s: %w", source, err))
	}
	return Key{private: private, Source: source}, nil
}

// local is the local key, made when it is not there yet.
func (p Places) local() (Key, error) {
	if p.Local == "" {
		return Key{}, fault.Machine(fmt.Errorf("nothing to sign with, and no home folder to keep a local key in; put a key of \"ingot keygen\" into %s or %s", keyVariable, KeyFile))
	}
	private, err := p.read(p.Local)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeLocal(p.Local); err != nil {
			return Key{}, fault.Machine(fmt.Errorf("make a local key: %w", err))
		}
		private, err = p.read(p.Local) // perhaps another run's, which was faster
	}
	key, err := found(private, p.Local, err)
	key.Local = err == nil
	return key, err
}

func makeLocal(file string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	_, text, err := newKey()
	if err != nil {
		return err
	}
	_, err = secrets.WriteOnce(file, text)
	return err
}

// LocalKey is the public half of this user's local key, nil when there is none
// that can be used.
func (p Places) LocalKey() ed25519.PublicKey {
	private, err := p.read(p.Local)
	if err != nil {
		return nil
	}
	return Key{private: private}.Public()
}

// read reads a key from a file. In clear it must be readable by its owner only.
func (p Places) read(file string) (ed25519.PrivateKey, error) {
	text, mode, err := readFile(file)
	if err != nil {
		return nil, err
	}
	private, err := p.private(text)
	if err == nil && !secrets.Encrypted(text) {
		err = closed(mode)
	}
	return private, err
}

// private reads a key, encrypted or not.
func (p Places) private(text []byte) (ed25519.PrivateKey, error) {
	if secrets.Encrypted(text) {
		var err error
		if text, err = p.decrypt(text); err != nil {
			return nil, err
		}
	}
	return parsePrivate(text)
}

func (p Places) decrypt(text []byte) ([]byte, error) {
	if p.Identity == "" {
		return nil, fmt.Errorf("it is encrypted with age; name a file with your identity in %s", identityVariable)
	}
	identities, mode, err := readFile(p.Identity)
	if err == nil {
		err = closed(mode)
	}
	if err == nil {
		text, err = secrets.Decrypt(text, identities)
	}
	if err != nil {
		return nil, fmt.Errorf("open it with %s: %w", p.Identity, err)
	}
	return text, nil
}

// closed wants a file that nobody but its owner can read.
func closed(mode fs.FileMode) error {
	if mode.Perm()&0o077 != 0 {
		return fmt.Errorf("others may read it (mode %04o), so that it is no secret; run chmod 600 on the file", mode.Perm())
	}
	return nil
}

func readFile(file string) ([]byte, fs.FileMode, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, 0, unnamed(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, unnamed(err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyBytes+1))
	if err != nil {
		return nil, 0, unnamed(err)
	}
	if len(text) > maxKeyBytes {
		return nil, 0, fmt.Errorf("it is larger than %d KiB, which no key is", maxKeyBytes>>10)
	}
	return text, info.Mode(), nil
}

// unnamed is an error without the path that the message names already.
func unnamed(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
