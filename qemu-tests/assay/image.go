package assay

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"syscall"
)

// sealedImage is an image file as it was when its digest was taken.
type sealedImage struct {
	file             string
	sha256, rootHash string
	stat             syscall.Stat_t
}

// seal takes an image's digest. The file is looked at first, so that a change
// while it is read is noticed as well.
func seal(file string) (sealedImage, error) {
	s := sealedImage{file: file}
	if err := syscall.Stat(file, &s.stat); err != nil {
		return s, fmt.Errorf("the image %s: %w", file, err)
	}
	f, err := os.Open(file)
	if err != nil {
		return s, err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return s, err
	}
	s.sha256 = hex.EncodeToString(sum.Sum(nil))
	s.rootHash, err = RootHash(file)
	return s, err
}

// unchanged fails when the file was written to or replaced since: what was booted
// may then not be what has the digest. The kernel sets the time of the last
// change; only root can set the clock back for it.
func (s sealedImage) unchanged() error {
	var now syscall.Stat_t
	if err := syscall.Stat(s.file, &now); err != nil {
		return fmt.Errorf("the image went away during the assay: %w%w", err, errMachineLacks)
	}
	if now.Ino != s.stat.Ino || now.Dev != s.stat.Dev || now.Size != s.stat.Size || now.Ctim != s.stat.Ctim {
		return fmt.Errorf("%s was changed during the assay: what was booted is not what has the digest; test again%w", s.file, errMachineLacks)
	}
	return nil
}
