package install

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"ingot/fault"
)

// hostKeys judges the key that a machine shows.
type hostKeys struct {
	want  string // a fingerprint, or
	known ssh.HostKeyCallback
	// algorithms are lists to try one after the other: a machine has a key of each
	// kind, and shows only one in a connection.
	algorithms [][]string

	shown    []ssh.PublicKey
	accepted bool
	last     error
}

// Kinds of host keys, with their signatures' names.
var keyKinds = [][]string{
	{ssh.KeyAlgoED25519},
	{ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521},
	{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256},
}

func (t Target) hostKeys() (*hostKeys, error) {
	if t.HostKey != "" {
		if !strings.HasPrefix(t.HostKey, "SHA256:") || len(t.HostKey) != len("SHA256:")+43 {
			return nil, fault.Input(fmt.Errorf("%q is no fingerprint of a host key: it is SHA256: and 43 letters, as ssh-keygen -l shows it", t.HostKey))
		}
		return &hostKeys{want: t.HostKey, algorithms: keyKinds}, nil
	}
	known, err := knownhosts.New(t.knownHosts()...)
	if err != nil {
		return nil, fault.Input(fmt.Errorf("read the known hosts: %w", err))
	}
	k := &hostKeys{known: known, algorithms: [][]string{nil}}
	// Ask for the kind of key that is known, or the machine shows its favourite.
	if kinds := k.knownKinds(t.address()); len(kinds) > 0 {
		k.algorithms = [][]string{kinds, nil}
	}
	return k, nil
}

// knownHosts are the files that exist.
func (t Target) knownHosts() []string {
	if t.KnownHosts != nil {
		return t.KnownHosts
	}
	files := []string{filepath.Join(homeDir(), ".ssh", "known_hosts"), "/etc/ssh/ssh_known_hosts"}
	return slices.DeleteFunc(files, func(f string) bool {
		_, err := os.Stat(f)
		return errors.Is(err, os.ErrNotExist)
	})
}

// noKey is a key that no file knows: asking for it brings the list of those that are
// known.
type noKey struct{ ssh.PublicKey }

func (noKey) Type() string    { return "none" }
func (noKey) Marshal() []byte { return []byte("none") }

func (k *hostKeys) knownKinds(address string) []string {
	var unknown *knownhosts.KeyError
	if !errors.As(k.known(address, noAddress{}, noKey{}), &unknown) {
		return nil
	}
	var kinds []string
	for _, known := range unknown.Want {
		for _, family := range keyKinds {
			name := known.Key.Type()
			if slices.Contains(family, name) {
				kinds = append(kinds, name)
			} else if name == ssh.KeyAlgoRSA && family[0] == ssh.KeyAlgoRSASHA512 {
				kinds = append(kinds, family...)
			}
		}
	}
	return kinds
}

// noAddress is where a machine is before there is a connection.
type noAddress struct{}

func (noAddress) Network() string { return "tcp" }
func (noAddress) String() string  { return "0.0.0.0:0" }

var errHostKey = errors.New("the host key is not the one that was expected")

func (k *hostKeys) check(address string, remote net.Addr, key ssh.PublicKey) error {
	k.shown = append(k.shown, key)
	if k.want != "" {
		if ssh.FingerprintSHA256(key) != k.want {
			return errHostKey
		}
	} else if k.last = k.known(address, remote, key); k.last != nil {
		return errHostKey
	}
	k.accepted = true
	return nil
}

// again reports whether another connection may show another key.
func (k *hostKeys) again(err error) bool {
	if errors.As(err, new(*ssh.AlgorithmNegotiationError)) {
		return true // it has no key of that kind
	}
	return k.want != "" && errors.Is(err, errHostKey)
}

// refused says which keys were shown, nil when none was refused.
func (k *hostKeys) refused(t Target) error {
	if k.accepted || len(k.shown) == 0 {
		return nil
	}
	var shown []string
	for _, key := range k.shown {
		shown = append(shown, fmt.Sprintf("%s (%s)", ssh.FingerprintSHA256(key), key.Type()))
	}
	list := strings.Join(shown, ", ")
	if k.want != "" {
		return fault.Input(fmt.Errorf("the host key of %s is not %s but %s: this may be another machine; compare with what the provider's console shows", t.Host, k.want, list))
	}
	var changed *knownhosts.KeyError
	if errors.As(k.last, &changed) && len(changed.Want) > 0 {
		w := changed.Want[0]
		return fault.Input(fmt.Errorf("the host key of %s has changed: %s:%d has %s, and it shows %s; this may be another machine; when it was installed anew, compare with what the provider's console shows and accept it by --host-key %s",
			t.Host, w.Filename, w.Line, ssh.FingerprintSHA256(w.Key), list, ssh.FingerprintSHA256(k.shown[len(k.shown)-1])))
	}
	if errors.As(k.last, &changed) {
		return fault.Input(fmt.Errorf("the host key of %s is not known: it shows %s; compare with what the provider's console shows and accept it by --host-key %s", t.Host, list, ssh.FingerprintSHA256(k.shown[len(k.shown)-1])))
	}
	return fault.Input(fmt.Errorf("the host key of %s, %s: %w", t.Host, list, k.last))
}
