package ignition

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"ingot/layers"
)

// Secrets gives the value of a secret slot: the bytes that the machine gets,
// unchanged.
type Secrets func(slot layers.SecretSlot) ([]byte, error)

// secretsDir is the folder of secrets beside ingot.yaml.
const secretsDir = "secrets"

// SecretsIn reads slots from dir/secrets/SLOT: regular files that only their
// owner may read. A final line break is part of the value. Errors name the
// slot, the path and what to do; one for a missing file wraps fs.ErrNotExist.
func SecretsIn(dir string) Secrets {
	return func(slot layers.SecretSlot) ([]byte, error) {
		p := filepath.Join(dir, secretsDir, filepath.FromSlash(slot.Name))
		value, err := readSecret(filepath.Join(dir, secretsDir), slot.Name, p)
		if err != nil {
			return nil, fmt.Errorf("secret %s (%s): %w", slot.Name, slot.Why, err)
		}
		if slot.Verify != nil {
			if err := slot.Verify(value); err != nil {
				return nil, fmt.Errorf("%s is not what it should be:\n%w", p, err)
			}
		}
		return value, nil
	}
}

// readSecret opens the slot within the folder, so that no link leads outside.
func readSecret(folder, slot, p string) ([]byte, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, unreadable(p, err)
	}
	defer root.Close()
	if info, err := root.Lstat(slot); err != nil {
		return nil, unreadable(p, err)
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file; put the value itself there", p)
	}
	f, err := root.OpenFile(slot, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, unreadable(p, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, unreadable(p, err)
	}
	if open := info.Mode().Perm() & 0o077; open != 0 {
		return nil, fmt.Errorf("%s has mode %04o and others may read it; run chmod 0600 %s", p, info.Mode().Perm(), p)
	}
	if info.Size() == 0 {
		return nil, fmt.Errorf("%s is empty; put the value there", p)
	}
	value, err := io.ReadAll(f)
	if err != nil {
		return nil, unreadable(p, err)
	}
	return value, nil
}

func unreadable(p string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no %s: %w; put the value there with mode 0600", p, fs.ErrNotExist)
	}
	return fmt.Errorf("%s cannot be read: %w", p, err)
}

// fill returns the plan's instance files with the secrets in their places, or
// everything that is missing.
func fill(plan layers.Plan, secrets Secrets) ([]layers.File, error) {
	slots := map[string]layers.SecretSlot{}
	for _, s := range plan.Secrets {
		slots[s.Name] = s
	}
	var files []layers.File
	var missing []error
	for _, f := range plan.Instance.Files {
		if f.SecretSlot != "" {
			slot, declared := slots[f.SecretSlot]
			if !declared {
				missing = append(missing, undeclared(f, plan.Owner))
				continue
			}
			value, err := secrets(slot)
			if err != nil {
				missing = append(missing, err)
				continue
			}
			f.Contents, f.SecretSlot = string(value), ""
		}
		files = append(files, f)
	}
	return files, errors.Join(missing...)
}

func undeclared(f layers.File, owner map[string]string) error {
	what := "file " + f.Path
	return Finding{Layer: owner[what], What: what, Message: fmt.Sprintf("it holds the secret %s, which no layer declares; declare the slot", f.SecretSlot)}
}
