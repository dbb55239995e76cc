package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// ImageFile is the name of the image in the output directory.
const ImageFile = "image.raw"

// disk writes the image to the output directory, unless it is there. It is no
// stage of the cache, which would have every image twice: its parts are.
func (b *builder) disk(ctx context.Context, r recipe, t trees, root sealed) (Result, error) {
	start := time.Now()
	s, image := r.diskStage(root.rootHash), filepath.Join(b.opts.Out, ImageFile)
	there := b.last.Image.is(image, s.key())
	if !there {
		b.progress(Progress{Stage: s.name})
		kernel, err := os.ReadFile(filepath.Join(t.base, "vmlinuz"))
		if err != nil {
			return Result{}, err
		}
		initrd, err := os.ReadFile(t.initrd)
		if err != nil {
			return Result{}, err
		}
		b.last.Image, err = publishImage(ctx, image, s.key(), parts{
			rootHash: root.rootHash, slot: r.slot, epoch: r.lock.Epoch, boot: t.boot,
			esp:  espFiles(t.boot, root.rootHash, r.arguments, kernel, initrd),
			root: filepath.Join(root.dir, "root.erofs"), verity: filepath.Join(root.dir, "root.verity"),
		})
		if err != nil {
			return Result{}, fmt.Errorf("write %s: %w", image, err)
		}
	}
	b.done(s, StageResult{Name: s.name, Cached: there, Seconds: time.Since(start).Seconds()})
	info, err := os.Stat(image)
	if err != nil {
		return Result{}, err
	}
	result := Result{Image: image, SHA256: b.last.Image.SHA256, RootHash: root.rootHash, Bytes: info.Size()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		result.DiskBytes = st.Blocks * 512 // st_blocks counts in 512 bytes, stat(2)
	}
	return result, nil
}

// publishImage makes an image beside its place and puts it there in one step.
func publishImage(ctx context.Context, image, key string, p parts) (published, error) {
	next := image + ".new"
	if err := os.Remove(next); err != nil && !os.IsNotExist(err) {
		return published{}, err
	}
	f, err := create(next)
	if err != nil {
		return published{}, err
	}
	sum := ""
	err = writeDisk(f.File, p)
	if err == nil {
		sum, err = digestAndSync(f.File)
	}
	if err := f.finish(errors.Join(err, ctx.Err())); err != nil {
		return published{}, err
	}
	then := time.Now().Add(-back)
	err = os.Chtimes(next, then, then)
	if err == nil {
		err = os.Rename(next, image)
	}
	if err != nil {
		return published{}, errors.Join(err, os.Remove(next))
	}
	return stateOf(image, key, sum)
}

// digestAndSync is a file's SHA-256, which is taken while the file is written to
// its disk.
func digestAndSync(f *os.File) (string, error) {
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	synced := make(chan error, 1)
	go func() { synced <- f.Sync() }()
	sum := sha256.New()
	_, err = io.Copy(sum, io.NewSectionReader(f, 0, info.Size()))
	return hex.EncodeToString(sum.Sum(nil)), errors.Join(err, <-synced)
}
