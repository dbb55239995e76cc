package images

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// repository lays out a local Debian repository in dir that holds exactly the
// given packages, so that mmdebstrap has nothing to choose from.
func repository(ctx context.Context, store debs, dir, suite string, packages []Package) error {
	var index strings.Builder
	for _, p := range packages {
		control, err := bound(exec.CommandContext(ctx, "dpkg-deb", "--field", store.path(p))).Output()
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("read %s: %w", p.Name, err)
		}
		// A version's epoch colon and apt's escapes of it differ between
		// apt versions; a digest needs no escape.
		file := p.SHA256 + ".deb"
		if err := link(store.path(p), filepath.Join(dir, file)); err != nil {
			return err
		}
		fmt.Fprintf(&index, "%sFilename: ./%s\nSize: %d\nSHA256: %s\n\n", control, file, p.Size, p.SHA256)
	}
	// mmdebstrap looks for the essential packages of a suite by this name.
	release := fmt.Sprintf("Suite: %s\nCodename: %s\nDate: %s\nArchitectures: all amd64\nSHA256:\n %x %d Packages\n",
		suite, suite, time.Unix(0, 0).UTC().Format(time.RFC1123), sha256.Sum256([]byte(index.String())), index.Len())
	if err := os.WriteFile(filepath.Join(dir, "Release"), []byte(release), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "Packages"), []byte(index.String()), 0o644)
}

// link makes a second name for a file, or a copy on another file system.
func link(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o644)
}
