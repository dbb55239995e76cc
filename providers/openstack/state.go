package openstack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"ingot/fault"
	"ingot/providers"
)

const (
	// stateLabel is how the machine finds the file system for its state: docs/image.md.
	stateLabel = "ingot-var"
	// stateBytes is how large the file system is at first. The machine grows it to
	// its volume.
	stateBytes = 64 << 20
	// labelState is on images that are only there for volumes to be made of.
	labelState = "ingot-state"
)

// stateImage uploads the file system that volumes for the state begin as: the
// provider makes volumes empty or of an image, and the machine makes no file system
// on another disk than its own.
func (p *Provider) stateImage(ctx context.Context, m mark, journal *providers.Entry) (image providers.Image, err error) {
	program, err := mke2fs()
	if err != nil {
		return image, err
	}
	dir, err := os.MkdirTemp("", "ingot-state-")
	if err != nil {
		return image, fault.Machine(err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	file := filepath.Join(dir, "state.raw")
	// The block size and the number of inodes are those of a large file system. Without
	// lazy initialisation nothing is left to be written at the first mount.
	cmd := exec.CommandContext(ctx, program, "-q", "-t", "ext4", "-T", "default", "-b", "4096", "-L", stateLabel,
		"-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", file, fmt.Sprintf("%dk", stateBytes>>10))
	if out, err := cmd.CombinedOutput(); err != nil {
		return image, fault.Machine(fmt.Errorf("make the file system for the state: %w: %s", err, strings.TrimSpace(string(out))))
	}
	f, err := os.Open(file)
	if err != nil {
		return image, fault.Machine(err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return image, fault.Machine(err)
	}
	return p.Upload(ctx, providers.Upload{
		Name: m.resourceName() + "-state", Image: f, Bytes: stateBytes, SHA256: hex.EncodeToString(sum.Sum(nil)), Journal: journal,
		Labels: map[string]string{providers.LabelID: m.id, providers.LabelServer: m.server, labelState: "ext4"},
	})
}

// mke2fs is where Debian has it, which is not in the path of ordinary users.
func mke2fs() (string, error) {
	for _, name := range []string{"mke2fs", "/sbin/mke2fs", "/usr/sbin/mke2fs"} {
		if program, err := exec.LookPath(name); err == nil {
			return program, nil
		}
	}
	return "", fault.Machine(errors.New("mke2fs is not here, which makes the file system for the state; install e2fsprogs"))
}
