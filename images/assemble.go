package images

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
)

// ImageFile is the name of the image in the output directory.
const ImageFile = "image.raw"

// disk makes the image file from the sealed root.
func (b *builder) disk(ctx context.Context, r recipe, t trees, root sealed) (Result, error) {
	dir, err := b.stage(ctx, r.diskStage(root.rootHash), func(dir string) error {
		boot, err := makeBootCode(ctx, t.tools, dir)
		if err != nil {
			return err
		}
		kernel, err := os.ReadFile(filepath.Join(t.base, "vmlinuz"))
		if err != nil {
			return err
		}
		ramdisk, err := os.ReadFile(t.initrd)
		if err != nil {
			return err
		}
		image := filepath.Join(dir, ImageFile)
		err = writeDisk(image, parts{
			rootHash: root.rootHash, slot: r.slot, epoch: r.lock.Epoch, boot: boot,
			esp:  espFiles(boot, root.rootHash, r.arguments, kernel, ramdisk),
			root: filepath.Join(root.dir, "root.erofs"), verity: filepath.Join(root.dir, "root.verity"),
		})
		if err != nil {
			return err
		}
		sum, err := fileDigest(image)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, "sha256"), []byte(sum+"\n"), 0o644)
	})
	if err != nil {
		return Result{}, err
	}
	return b.publish(dir, root.rootHash)
}

// publish puts the finished image into the output directory, unless it is there.
func (b *builder) publish(dir, rootHash string) (Result, error) {
	sum, err := os.ReadFile(filepath.Join(dir, "sha256"))
	if err != nil {
		return Result{}, err
	}
	image, sha256 := filepath.Join(b.opts.Out, ImageFile), string(sum[:64])
	if !b.last.Image.is(image, sha256) {
		if b.last.Image, err = publishImage(filepath.Join(dir, ImageFile), image, sha256); err != nil {
			return Result{}, err
		}
	}
	info, err := os.Stat(image)
	if err != nil {
		return Result{}, err
	}
	r := Result{Image: image, SHA256: sha256, RootHash: rootHash, Bytes: info.Size()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		r.DiskBytes = st.Blocks * 512 // st_blocks counts in 512 bytes, stat(2)
	}
	return r, nil
}
