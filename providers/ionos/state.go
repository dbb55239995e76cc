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
	"os/exec"
	"path/filepath"
	"strings"

	sdk "github.com/ionos-cloud/sdk-go/v6"

	"ingot/fault"
	"ingot/providers"
)

const (
	// stateLabel is how a machine finds the file system for its state: docs/image.md.
	stateLabel = "ingot-var"
	// stateBytes is how large that is at first. The machine grows it to its volume.
	stateBytes = 64 << 20
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

// Taken implements [providers.Mover]. The address of a server that has none of another's
// stays where it is when it is moved back.
func (p *Provider) Taken(ctx context.Context, s providers.Server) (state, address bool, err error) {
	all, err := p.labels(ctx)
	entry := s.Labels[providers.LabelID]
	for _, l := range all {
		from, to, moves := onItsWay(l)
		state = state || moves && (from == entry || to == entry) ||
			l[labelState] != "" && l[providers.LabelID] == entry && l[labelBorn] != entry
	}
	return state, true, err
}

// makeState makes the file system in a file below a folder. Its bytes depend on nothing
// but the version of mke2fs: what that would draw by lot, or take from the clock or this
// system's mke2fs.conf, is given.
func makeState(ctx context.Context, dir string) (*os.File, error) {
	program, err := mke2fs()
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "mke2fs.conf")
	if err := os.WriteFile(config, []byte(stateConfig), 0o600); err != nil {
		return nil, fault.Machine(err)
	}
	file := filepath.Join(dir, "state.raw")
	const id = "1f4cbb5f-0c0d-4ac3-a9f4-5d1c8b5e2a46" // two are never on one machine
	cmd := exec.CommandContext(ctx, program, "-q", "-t", "ext4", "-T", "default", "-L", stateLabel, "-U", id,
		"-b", "4096",
		// The one group of blocks that there is is half as large as the others will be, and
		// all get as many inodes: one for 16 KiB.
		"-i", "8192",
		// A journal does not grow.
		"-J", "size=16",
		// Without lazy initialisation nothing is left to be written at the first mount.
		"-E", fmt.Sprintf("nodiscard,lazy_itable_init=0,lazy_journal_init=0,hash_seed=%s,resize=%d", id, int64(maxState)*gib/4096),
		file, fmt.Sprintf("%dk", stateBytes>>10))
	cmd.Env = append(os.Environ(), "MKE2FS_CONFIG="+config, "E2FSPROGS_FAKE_TIME=1767225600") // 2026-01-01
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fault.Machine(fmt.Errorf("make the file system for the state: %w: %s", err, strings.TrimSpace(string(out))))
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fault.Machine(err)
	}
	return f, nil
}

// stateConfig is what Debian's mke2fs.conf says of ext4 (e2fsprogs 1.47.0).
const stateConfig = `[defaults]
	base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
	default_mntopts = acl,user_xattr
	enable_periodic_fsck = 0
	inode_size = 256
[fs_types]
	ext4 = {
		features = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
	}
`

// mke2fs is where Debian has it, which is not in the path of ordinary users.
func mke2fs() (string, error) {
	for _, name := range []string{"mke2fs", "/sbin/mke2fs", "/usr/sbin/mke2fs"} {
		if program, err := exec.LookPath(name); err == nil {
			return program, nil
		}
	}
	return "", fault.Machine(errors.New("mke2fs is not here, which makes the file system for the state; install e2fsprogs"))
}
