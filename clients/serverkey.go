package clients

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"ingot/fault"
	"ingot/layers/wireguard"
	"ingot/secrets"
)

// ServerKey is the server's key pair in the tunnel.
type ServerKey struct {
	File   string // of the private half
	Public string
	Made   bool // by this call
}

// MakeServerKey makes the server's key in a folder that has none: its owner
// must know the public half beforehand, or the new machine would lock its owner
// out. The public half is empty when the private one, which was there, is no
// key of WireGuard's or cannot be read: whoever needs it says so.
func MakeServerKey(dir string) (ServerKey, error) {
	key := ServerKey{File: filepath.Join(dir, secrets.Folder, wireguard.PrivateKeySlot)}
	if _, err := os.Lstat(key.File); !errors.Is(err, fs.ErrNotExist) {
		if private, err := os.ReadFile(key.File); err == nil {
			key.Public, _ = wireguard.PublicKey(string(private))
		}
		return key, nil
	}
	private, public, err := wireguard.NewKeyPair(rand.Reader)
	if err != nil {
		return key, err
	}
	if err := os.MkdirAll(filepath.Dir(key.File), 0o700); err != nil {
		return key, err
	}
	if key.Made, err = secrets.WriteOnce(key.File, []byte(private+"\n")); err != nil || key.Made {
		key.Public = public
		return key, err
	}
	return MakeServerKey(dir) // somebody was faster
}

// serverKey is the server's public key.
func (f *folder) serverKey() (ServerKey, error) {
	key, err := MakeServerKey(f.dir)
	if err == nil && key.Public == "" {
		err = fault.Input(fmt.Errorf("%s is not what wg genkey prints: 32 bytes in base64; put the server's key there, or remove the file and a new one is made", key.File))
	}
	return key, err
}
