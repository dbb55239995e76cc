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
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/renameio/v2"
)

// LockFile is the lock's name, beside ingot.yaml.
const LockFile = "ingot.lock"

// Lock pins everything a build takes from outside.
type Lock struct {
	Version int    `yaml:"version"`
	Suite   string `yaml:"suite"`
	Mirror  string `yaml:"mirror"`
	// Snapshot is a time at which a snapshot archive has every package of the
	// lock: what has left the mirrors is found there.
	Snapshot string `yaml:"snapshot"`
	// Epoch is when the newest package of the image was built, in seconds
	// since 1970. It is the only clock a build knows (SOURCE_DATE_EPOCH).
	Epoch int64 `yaml:"epoch"`
	// Requested holds the package names that were asked for, per tree: when
	// ingot.yaml asks for others, the lock is out of date.
	Requested map[Tree][]string  `yaml:"requested"`
	Ignition  string             `yaml:"ignition"` // SHA-256 of the binary
	Accounts  Accounts           `yaml:"accounts"`
	Trees     map[Tree][]Package `yaml:"trees"`
	// Images are the container images that are not made of packages.
	Images []LockedImage `yaml:"images,omitempty"`
}

// lockVersion changes when an old lock can no longer be read. 1 had no
// sources, 2 no snapshot.
const lockVersion = 3

// Package is one .deb, and one line of the lock.
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

// spec names a package to apt.
func (p Package) spec() string { return p.Name + "=" + p.Version }

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
		return Lock{}, fmt.Errorf("%s %w", file, err)
	}
	return l, nil
}

// Advice about a lock that no build takes. A new one keeps the account numbers
// of the old one, so nobody should begin by deleting it.
const (
	anew    = "run \"ingot lock\", which keeps its account numbers"
	restore = "restore it from version control, or " + anew
)

func parseLock(b []byte) (Lock, error) {
	version, err := versionOf(b)
	if err != nil {
		return Lock{}, err
	}
	if version != lockVersion {
		return Lock{}, fmt.Errorf("has version %d and this ingot writes %d; %s", version, lockVersion, anew)
	}
	var l Lock
	if err := yaml.UnmarshalWithOptions(b, &l, yaml.Strict()); err != nil {
		return Lock{}, fmt.Errorf("cannot be read; %s: %w", restore, err)
	}
	if err := l.check(); err != nil {
		return Lock{}, fmt.Errorf("is not whole; %s: %w", restore, err)
	}
	return l, nil
}

func versionOf(b []byte) (int, error) {
	var l struct {
		Version int `yaml:"version"`
	}
	if err := yaml.Unmarshal(b, &l); err != nil {
		return 0, fmt.Errorf("cannot be read; %s: %w", restore, err)
	}
	if l.Version > lockVersion {
		return 0, fmt.Errorf("has version %d, and this ingot knows those up to %d; use the newer ingot that made it", l.Version, lockVersion)
	}
	return l.Version, nil
}

// readOldLock reads what a new lock starts from, of any version there was: the
// accounts must be there, the rest is for telling what changed. It is empty
// when there is no lock.
func readOldLock(file string) (Lock, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return Lock{}, nil
	}
	if err != nil {
		return Lock{}, err
	}
	l, err := parseOldLock(b)
	if err != nil {
		return Lock{}, fmt.Errorf("%s %w", file, err)
	}
	return l, nil
}

func parseOldLock(b []byte) (Lock, error) {
	const lost = "restore it from version control; deleting it gives up its account numbers"
	if _, err := versionOf(b); err != nil {
		return Lock{}, err
	}
	var l Lock
	if err := yaml.Unmarshal(b, &l); err != nil {
		return Lock{}, fmt.Errorf("cannot be read; %s: %w", lost, err)
	}
	if err := l.Accounts.check(); err != nil {
		return Lock{}, fmt.Errorf("has accounts that cannot be understood; %s: %w", lost, err)
	}
	return l, nil
}

// check wants lines of passwd(5) and group(5), root's among them.
func (a Accounts) check() error {
	for _, list := range []struct {
		name   string
		lines  []string
		fields int
	}{{"passwd", a.Passwd, 7}, {"group", a.Group, 4}} {
		root := false
		for _, line := range list.lines {
			f := strings.Split(line, ":")
			if len(f) != list.fields || f[0] == "" || !number.MatchString(f[2]) || list.fields == 7 && !number.MatchString(f[3]) {
				return fmt.Errorf("%q is no line of %s", line, list.name)
			}
			root = root || f[0] == "root" && f[2] == "0"
		}
		if !root {
			return fmt.Errorf("root is missing in %s", list.name)
		}
	}
	return nil
}

var number = regexp.MustCompile(`^[0-9]{1,10}$`)

// check finds a lock that lost a part, in a copy or a merge: the build would
// take what is left for all there is.
func (l Lock) check() error {
	if l.Suite == "" || l.Epoch <= 0 || !hexDigest.MatchString(l.Ignition) || !snapshotTime.MatchString(l.Snapshot) {
		return errors.New("a part of it is missing")
	}
	if err := l.Accounts.check(); err != nil {
		return err
	}
	for tree, names := range l.Requested {
		for _, name := range names {
			if !slices.ContainsFunc(l.Trees[tree], func(p Package) bool { return p.Name == name }) {
				return fmt.Errorf("the package %s of the %s tree is missing", name, tree)
			}
		}
	}
	for _, i := range l.Images {
		if _, err := v1.NewHash(i.Digest); err != nil || i.Name == "" {
			return fmt.Errorf("the entry of the container image %q is not complete", i.Name)
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

var (
	hexDigest    = regexp.MustCompile(`^[0-9a-f]{64}$`)
	snapshotTime = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}Z$`)
)

// MarshalYAML writes a package as one line: that is what a diff shows of it.
func (p Package) MarshalYAML() ([]byte, error) {
	type fields Package // without this method
	return yaml.MarshalWithOptions(fields(p), yaml.Flow(true))
}

// Bytes is the lock as written to disk.
func (l Lock) Bytes() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# Made by \"ingot lock\": what a build takes from outside. Keep it with ingot.yaml.\n")
	if err := yaml.NewEncoder(&b, yaml.Indent(2)).Encode(l); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Write replaces file in one step, whoever else writes it at the time.
func (l Lock) Write(file string) error {
	b, err := l.Bytes()
	if err != nil {
		return err
	}
	return renameio.WriteFile(file, b, 0o644)
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
