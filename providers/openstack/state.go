package openstack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"

	"ingot/fault"
	"ingot/providers"
)

// labelState is on images that are only there for volumes to be made of.
const labelState = "ingot-state"

// stateImage uploads the file system that volumes for the state begin as: the
// provider makes volumes empty or of an image, and the machine makes no file system
// on another disk than its own.
func (p *Provider) stateImage(ctx context.Context, m mark, journal *providers.Entry) (image providers.Image, err error) {
	dir, err := os.MkdirTemp("", "ingot-state-")
	if err != nil {
		return image, fault.Machine(err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	f, err := providers.StateFile(ctx, dir)
	if err != nil {
		return image, err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return image, fault.Machine(err)
	}
	return p.Upload(ctx, providers.Upload{
		Name: m.resourceName() + "-state", Image: f, Bytes: providers.StateBytes, SHA256: hex.EncodeToString(sum.Sum(nil)), Journal: journal,
		Labels: map[string]string{providers.LabelID: m.id, providers.LabelServer: m.server, labelState: "ext4"},
	})
}
