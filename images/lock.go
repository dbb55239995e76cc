package images

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// LockFile is the lock's name, beside ingot.yaml.
const LockFile = "ingot.lock"

// Lock pins everything a build takes from outside.
type Lock struct {
	Version int    `yaml:"version"`
	Suite   string `yaml:"suite"`
	Mirror  string `yaml:"mirror"`
	// Epoch is when the newest package of the image was built, in seconds
	// since 1970. It is the only clock a build knows (SOURCE_DATE_EPOCH).
	Epoch int64 `yaml:"epoch"`
	// Requested holds the package names that were asked for, per tree: when
	// ingot.yaml asks for others, the lock is out of date.
	Requested map[Tree][]string  `yaml:"requested"`
	Ignition  string             `yaml:"ignition"` // SHA-256 of the binary
	Accounts  Accounts           `yaml:"accounts"`
	Trees     map[Tree][]Package `yaml:"trees"`
}

// lockVersion changes when an old lock can no longer be read.
const lockVersion = 2

// Package is one .deb.
type Package struct {
	Name    string `yaml:"name"`
	Version string `yaml:"version"`
	Arch    string `yaml:"arch"`
	// Source and SourceVersion are what it was built from: Debian's bugs and
	// vulnerabilities are those of source packages.
	Source        string `yaml:"source"`
	SourceVersion string `yaml:"sourceVersion"`
	SHA256        string `yaml:"sha256"`
	Size          int64  `yaml:"size"` // bytes
	// Path is the last: half a file is known by its missing end.
	Path string `yaml:"path"` // below the mirror, "debian/pool/…"
}

// Accounts are the numbers that packages' maintainer scripts gave out. State
// under /var outlives images, so a number is never given to somebody else.
type Accounts struct {
	Passwd []string `yaml:"passwd"` // lines of passwd(5)
	Group  []string `yaml:"group"`  // lines of group(5)
}

// ErrNoLock is returned by ReadLock when there is no lock yet.
var ErrNoLock = errors.New("there is no ingot.lock; run \"ingot lock\"")

// ReadLock reads the lock from file.
func ReadLock(file string) (Lock, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return Lock{}, ErrNoLock
	}
	if err != nil {
		return Lock{}, err
	}
	l, err := parseLock(b)
	if err != nil {
		return Lock{}, fmt.Errorf("%s cannot be read; delete it and run \"ingot lock\": %w", file, err)
	}
	return l, nil
}

func parseLock(b []byte) (Lock, error) {
	var version struct {
		Version int `yaml:"version"`
	}
	if err := yaml.Unmarshal(b, &version); err != nil {
		return Lock{}, err
	}
	if version.Version != lockVersion {
		return Lock{}, fmt.Errorf("it has version %d and this ingot writes %d", version.Version, lockVersion)
	}
	var l Lock
	if err := yaml.UnmarshalWithOptions(b, &l, yaml.Strict()); err != nil {
		return Lock{}, err
	}
	return l, l.check()
}

// check finds a lock that lost a part, in a copy or a merge: the build would
// take what is left for all there is.
func (l Lock) check() error {
	if l.Suite == "" || l.Epoch <= 0 || !hexDigest.MatchString(l.Ignition) || len(l.Accounts.Passwd) == 0 || len(l.Accounts.Group) == 0 {
		return errors.New("a part of it is missing")
	}
	for tree, names := range l.Requested {
		for _, name := range names {
			if !slices.ContainsFunc(l.Trees[tree], func(p Package) bool { return p.Name == name }) {
				return fmt.Errorf("the package %s of the %s tree is missing", name, tree)
			}
		}
	}
	for _, packages := range l.Trees {
		for _, p := range packages {
			if p.Name == "" || p.Version == "" || p.Arch == "" || p.Source == "" || p.SourceVersion == "" || p.Size <= 0 || !filepath.IsLocal(p.Path) || !strings.HasSuffix(p.Path, ".deb") || !hexDigest.MatchString(p.SHA256) {
				return fmt.Errorf("the entry of the package %q is not complete", p.Name)
			}
		}
	}
	return nil
}

var hexDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Bytes is the lock as written to disk.
func (l Lock) Bytes() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# Made by \"ingot lock\": what a build takes from outside. Keep it with ingot.yaml.\n")
	if err := yaml.NewEncoder(&b, yaml.Indent(2)).Encode(l); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Write replaces file in one step.
func (l Lock) Write(file string) error {
	b, err := l.Bytes()
	if err != nil {
		return err
	}
	next := file + ".new"
	if err := os.WriteFile(next, b, 0o644); err != nil {
		return errors.Join(err, os.RemoveAll(next))
	}
	return os.Rename(next, file)
}

// Digest is the SHA-256 of the lock, in hex.
func (l Lock) Digest() (string, error) {
	b, err := l.Bytes()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}
