package ionos

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	sdk "github.com/ionos-cloud/sdk-go/v6"

	"ingot/fault"
	"ingot/providers"
)

const (
	// maxState is how large a volume can be, in GB (IONOS, Block Storage: 4 TB). The file
	// system is made so that it can grow to that.
	maxState = 4096
	// labelState is on volumes for the state, and in the description of the image that
	// they are made of. Its value is the image's digest.
	labelState = "ingot-state"
	// labelBorn is on volumes for the state: the entry of the server that it was made for.
	labelBorn = "ingot-born"
)

// stateDisk is the volume for a server's state; none without a size.
type stateDisk struct {
	image  string // that it is made of
	digest string // of that
	size   int    // in GB
}

// stateName is that of a server's volume for the state.
func stateName(server, id string) string { return server + "-state" + mark(id) }

// stateImageName is that of an image: the digest, the entry, and which try it is.
func stateImageName(digest, id string, n int) string {
	return "ingot-state-" + imageName(digest, id, n)
}

// stateImage finds the image that volumes for the state are made of, or uploads it:
// IONOS makes volumes empty or of an image, and a machine makes no file system on
// another disk than its own.
//
// There is nothing in it but an empty file system, the same every time, so one is
// enough for all servers of a location. It carries the entry's number in its name, so
// that what is left of an upload that was interrupted is found; when it is whole, its
// description says that it is everybody's, and it stays.
func (p *Provider) stateImage(ctx context.Context, m providers.Machine, id string) (s stateDisk, err error) {
	if p.opts.State == 0 {
		return s, nil
	}
	dir, err := os.MkdirTemp("", "ingot-state-*")
	if err != nil {
		return s, fault.Machine(err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	f, err := p.format(ctx, dir)
	if err != nil {
		return s, err
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	if err != nil {
		return s, fault.Machine(fmt.Errorf("read the file system for the state: %w", err))
	}
	digest := hex.EncodeToString(sum.Sum(nil))
	s = stateDisk{digest: providers.LabelDigest(digest), size: p.opts.State}
	list, err := p.images(ctx)
	if err != nil {
		return s, err
	}
	for _, i := range list {
		if onDisk(i) && alive(i) && stateDigest(i) == s.digest {
			s.image = deref(i.Id)
			return s, nil
		}
	}
	name := func(n int) string { return stateImageName(digest, id, n) }
	if err := m.Journal.Creates("image", name(1)); err != nil {
		return s, err
	}
	file, err := p.sendUnlessListed(ctx, list, diskFolder, name, &cargo{image: f, bytes: n, sha256: digest})
	if err != nil {
		return s, err
	}
	image, err := p.adopt(ctx, file, n, diskProperties(describe("state", map[string]string{labelState: s.digest})))
	s.image = image.ID
	return s, err
}

// stateDigest is the digest of an image for the state that is whole, or "".
func stateDigest(i sdk.Image) string {
	_, labels, _ := described(deref(i.Properties.Description))
	return labels[labelState]
}

// StateSize implements [providers.Mover].
func (p *Provider) StateSize(ctx context.Context, s providers.Server) (int, error) {
	dc, _, err := split(s.ID)
	if err != nil {
		return 0, err
	}
	labels, err := p.labels(ctx)
	if err != nil {
		return 0, err
	}
	id := s.Labels[providers.LabelID]
	if err := checkAtRest(labels, id); err != nil {
		return 0, err
	}
	volumes, err := p.volumes(ctx, dc)
	for _, v := range volumes {
		if l := labels[*v.Id]; id != "" && l[labelState] != "" && l[providers.LabelID] == id {
			return int(math.Ceil(float64(deref(v.Properties.Size)))), err
		}
	}
	return 0, err
}

// Taken implements [providers.Mover]: by the labels of the moves, which are there before
// the first change. What was written last may not be in the first lists.
func (p *Provider) Taken(ctx context.Context, s providers.Server) (state, address bool, err error) {
	e, err := endOf(s)
	if err != nil {
		return false, false, err
	}
	_, err = p.look(ctx, func() (bool, error) {
		all, err := p.labels(ctx)
		state = hasTaken(all, e.entry)
		block, _ := took(all[e.server])
		address = block != "" && block != gaveBack
		return state && address, err
	})
	return state, address, err
}

// hasTaken reports whether a server has another's state, or is in a move of one.
func hasTaken(all map[string]map[string]string, entry string) bool {
	for _, l := range all {
		if l[labelState] != "" && l[providers.LabelID] == entry && l[labelBorn] != entry {
			return true
		}
	}
	return checkAtRest(all, entry) != nil
}
