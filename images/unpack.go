package images

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"ingot/fault"
)

// Unpack reads the EROFS file system at byte offset of the file image, with the
// fsck.erofs of a tools tree in the cache, and has visit look at each of its
// files. Names begin with "./". It needs as much room in the cache, for the time
// being, as the files have bytes.
func (c Cache) Unpack(ctx context.Context, image string, offset int64, visit func(*tar.Header, io.Reader) error) error {
	tree, err := c.toolsTree()
	if err != nil {
		return err
	}
	if image, err = filepath.Abs(image); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(filepath.Join(c.Dir, "tmp"), "unpack-")
	if err != nil {
		return err
	}
	// Held while it is in use: what nobody holds was left by a killed process.
	held, err := os.Open(dir)
	if err != nil {
		return errors.Join(err, os.Remove(dir))
	}
	defer held.Close()
	if err := unix.Flock(int(held.Fd()), unix.LOCK_EX); err != nil {
		return errors.Join(err, os.Remove(dir))
	}
	archive, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := c.ns.run(ctx, script{Name: "unpack", Out: out, Env: map[string]string{
			"TOOLS": tree, "IMAGE": image, "OFFSET": fmt.Sprint(offset), "OUT": dir,
		}})
		out.CloseWithError(err)
		ended <- err
	}()
	err = eachFile(archive, visit)
	archive.CloseWithError(err)
	failed := <-ended
	if ctx.Err() != nil {
		return errors.Join(ctx.Err(), c.Remove(dir))
	}
	// When visit fails, tar fails for want of a reader.
	if err == nil || failed != nil && errors.Is(err, failed) {
		err = failed
	}
	return errors.Join(err, c.Remove(dir))
}

func eachFile(archive io.Reader, visit func(*tar.Header, io.Reader) error) error {
	t := tar.NewReader(archive)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			// tar pads its last record.
			_, err = io.Copy(io.Discard, archive)
			return err
		}
		if err != nil {
			return err
		}
		if err := visit(h, t); err != nil {
			return err
		}
	}
}

// toolsTree is a tools tree of any lock: they read each other's images.
func (c Cache) toolsTree() (string, error) {
	found, err := filepath.Glob(filepath.Join(c.Dir, "stages", "tools-*", "tree", "usr/bin/fsck.erofs"))
	if err != nil || len(found) == 0 {
		return "", fault.Machine(errors.New("there is no fsck.erofs in the cache, which reads images; \"ingot build\" of any folder puts it there"))
	}
	return strings.TrimSuffix(found[len(found)-1], "/usr/bin/fsck.erofs"), nil
}
