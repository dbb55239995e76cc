package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// An identity directory holds everything that makes this machine itself and
// not another of the same image. It is replaced as a whole by one rename:
//
//	etc/          what lies over the image's /etc
//	instance.ign  the config it was made from
//	stamp.json    for which image and config; written last
const (
	identityEtc    = "etc"
	identityConfig = "instance.ign"
	identityStamp  = "stamp.json"
)

// stamp says what an identity was made for.
type stamp struct {
	RootHash     string `json:"root_hash"`
	ConfigSHA256 string `json:"config_sha256"`
}

func newStamp(rootHash string, config []byte) stamp {
	sum := sha256.Sum256(config)
	return stamp{RootHash: rootHash, ConfigSHA256: hex.EncodeToString(sum[:])}
}

// readStamp returns the zero stamp for an identity that is missing, was never
// completed or has lost its etc.
func readStamp(dir string) stamp {
	if etc, err := os.Lstat(filepath.Join(dir, identityEtc)); err != nil || !etc.IsDir() {
		return stamp{}
	}
	b, err := readBounded(filepath.Join(dir, identityStamp))
	if err != nil {
		return stamp{}
	}
	return parseStamp(b)
}

// parseStamp returns the zero stamp for what is not a whole one.
func parseStamp(b []byte) stamp {
	var s stamp
	if json.Unmarshal(b, &s) != nil || s.RootHash == "" || s.ConfigSHA256 == "" {
		return stamp{}
	}
	return s
}

// allowlist is the set of paths an identity may hold.
type allowlist []string

func readAllowlist(file string) (allowlist, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseAllowlist(f)
}

// parseAllowlist takes one path.Match pattern a line; empty lines count for
// nothing.
func parseAllowlist(r io.Reader) (allowlist, error) {
	var a allowlist
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if l := strings.TrimSpace(lines.Text()); l != "" {
			a = append(a, l)
		}
	}
	return a, lines.Err()
}

// file reports whether a regular file may be at the absolute path p.
func (a allowlist) file(p string) bool {
	for _, pattern := range a {
		if ok, _ := path.Match(pattern, p); ok {
			return true
		}
	}
	return false
}

// dir reports whether p may be a directory: it is on the way to something
// allowed.
func (a allowlist) dir(p string) bool {
	depth := strings.Count(p, "/")
	for _, pattern := range a {
		parts := strings.Split(pattern, "/")
		if len(parts) <= depth+1 {
			continue
		}
		if ok, _ := path.Match(strings.Join(parts[:depth+1], "/"), p); ok {
			return true
		}
	}
	return false
}

// foreign lists what is below etcDir and not allowed there, as absolute paths
// of the machine. Anything but plain files and directories is foreign: a link
// or a device could stand for something else.
func (a allowlist) foreign(etcDir string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(etcDir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == etcDir {
			return err
		}
		rel, err := filepath.Rel(etcDir, p)
		if err != nil {
			return err
		}
		abs := "/etc/" + rel
		switch {
		case d.IsDir() && a.dir(abs):
			return nil
		case d.Type().IsRegular() && a.file(abs):
			return nil
		}
		found = append(found, abs)
		if d.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
	return found, err
}

// sweep removes what does not belong into an identity and returns what it
// removed.
func (a allowlist) sweep(etcDir string) ([]string, error) {
	unpin(etcDir)
	foreign, err := a.foreign(etcDir)
	if err != nil {
		return nil, err
	}
	for _, abs := range foreign {
		if err := os.RemoveAll(filepath.Join(etcDir, strings.TrimPrefix(abs, "/etc/"))); err != nil {
			return nil, err
		}
	}
	return foreign, nil
}

// copyTree copies plain files and directories with owner and mode. Extended
// attributes stay behind: the overlay's own would change its meaning as a
// lower layer.
func copyTree(src, dst string) error {
	return filepath.WalkDir(src, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, p)
		if err != nil {
			return err
		}
		to := filepath.Join(dst, rel)
		info, err := d.Info()
		if err != nil {
			return err
		}
		if d.IsDir() {
			err = os.MkdirAll(to, 0o700)
		} else {
			err = copyFile(p, to)
		}
		if err != nil {
			return err
		}
		return copyMeta(info, to)
	})
}

func copyFile(src, dst string) error {
	b, err := os.ReadFile(src)
	if err != nil {
		return err
	}
	return os.WriteFile(dst, b, 0o600)
}

func copyMeta(info fs.FileInfo, dst string) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s has no owner", dst)
	}
	if err := os.Chown(dst, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	return os.Chmod(dst, info.Mode().Perm())
}

// replace puts the finished directory next in the place of current in one
// step and removes the old one. Everything in next is on the disk before.
func replace(next, current string) error {
	if err := syncFS(next); err != nil {
		return err
	}
	err := unix.Renameat2(unix.AT_FDCWD, next, unix.AT_FDCWD, current, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.ENOENT) {
		err = os.Rename(next, current)
	}
	if err != nil {
		return fmt.Errorf("put %s in place: %w", current, err)
	}
	if err := syncFS(current); err != nil {
		return err
	}
	return os.RemoveAll(next) // the old identity, after an exchange
}

// syncFS flushes the file system that holds path.
func syncFS(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("flush %s: %w", path, err)
	}
	return nil
}
