package clients

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"

	"ingot/config"
	"ingot/secrets"
)

// folder is that of an ingot.yaml, open for a change.
type folder struct {
	dir  string
	edit *config.Edit
	lock *os.File
}

// writer changes files; in tests it can fail.
type writer interface {
	// write replaces a file, whole or not at all.
	write(file string, content []byte, mode fs.FileMode) error
	remove(file string) error
}

type disk struct{}

func (disk) write(file string, content []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return renameio.WriteFile(file, content, mode, renameio.IgnoreUmask())
}

func (disk) remove(file string) error { return os.Remove(file) }

// open reads a folder for a change. Another change of the same folder waits
// until close: the second would undo the first.
func open(dir string) (*folder, error) {
	f, err := read(dir)
	if err != nil {
		return nil, err
	}
	kept := filepath.Join(f.dir, secrets.Folder)
	if err := secrets.MakeFolder(kept); err != nil {
		return nil, err
	}
	lock, err := os.Open(kept)
	if err != nil {
		return nil, err
	}
	if err := flock(lock); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", kept, err), lock.Close())
	}
	if f, err = read(dir); err != nil { // it may have changed while this one waited
		return nil, errors.Join(err, lock.Close())
	}
	f.lock = lock
	return f, nil
}

func flock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

func (f *folder) close() { f.lock.Close() }

func (f *folder) clients() string { return filepath.Join(f.dir, secrets.Folder, "clients") }

func (f *folder) slot(name string) string { return filepath.Join(f.dir, secrets.Folder, name) }

// configOf is the config of a client, empty when it is not there.
func (f *folder) configOf(name string) string {
	for _, file := range f.configs(name) {
		if _, err := os.Lstat(file); err == nil {
			return file
		}
	}
	return ""
}

func (f *folder) configs(name string) []string {
	plain := filepath.Join(f.clients(), name+".conf")
	return []string{plain, plain + ".age"}
}

// save writes ingot.yaml with the permissions that it has, through links.
func (f *folder) save(d writer) error {
	file, err := filepath.EvalSymlinks(f.edit.File())
	if err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	return d.write(file, f.edit.Text(), info.Mode().Perm())
}

// forget removes what belongs to a client that is no peer. What is left over
// does no harm: the next one of that name replaces it.
func (f *folder) forget(name string, d writer) {
	for _, file := range append(f.configs(name), f.slot("wireguard/preshared-key-"+name)) {
		_ = d.remove(file)
	}
}
