package providers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"ingot/fault"
)

const (
	// StateLabel is how a machine finds the file system for its state: docs/image.md.
	StateLabel = "ingot-var"
	// StateBytes is how large that of [StateFile] is. The machine grows it to its volume.
	StateBytes = 64 << 20
	// maxState is what it can grow to, in GiB.
	maxState = 4 << 10
)

// StateFile makes an empty file system for a server's state in a file below dir, of
// [StateBytes] and with the label [StateLabel]: a machine makes none on another disk
// than its own, and providers make none with a label. Its bytes depend on nothing but
// the version of mke2fs: what that would draw by lot, or take from the clock or this
// system's mke2fs.conf, is given.
func StateFile(ctx context.Context, dir string) (*os.File, error) {
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
	cmd := exec.CommandContext(ctx, program, "-q", "-t", "ext4", "-T", "default", "-L", StateLabel, "-U", id,
		"-b", "4096",
		// The one group of blocks that there is is half as large as the others will be, and
		// all get as many inodes: one for 16 KiB.
		"-i", "8192",
		// A journal does not grow.
		"-J", "size=16",
		// Without lazy initialisation nothing is left to be written at the first mount.
		"-E", fmt.Sprintf("nodiscard,lazy_itable_init=0,lazy_journal_init=0,hash_seed=%s,resize=%d", id, int64(maxState)<<30/4096),
		file, fmt.Sprintf("%dk", StateBytes>>10))
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
