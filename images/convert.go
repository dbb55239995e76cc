package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"ingot/fault"
	"ingot/images/format"
)

// Converted is the image in one container format.
type Converted struct {
	Format    format.Format `json:"format"`
	File      string        `json:"path"`
	SHA256    string        `json:"sha256"` // of this file
	Bytes     int64         `json:"bytes"`
	DiskBytes int64         `json:"disk_bytes"` // what it takes, as it may be sparse
	Cached    bool          `json:"cached"`
	Seconds   float64       `json:"seconds"`
}

// Convert writes the image in opts.Out in other formats, beside it. Of opts it
// reads LockFile, Out, Mirrors, Snapshot, Cache, Log and Progress. An image whose SHA256 is
// not given is read for it.
func Convert(ctx context.Context, opts Options, image format.Image, formats []format.Format) ([]Converted, error) {
	b := &builder{opts: opts}
	unlock, err := b.lockOutput(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if image.SHA256 == "" {
		if image, err = format.Open(ctx, image.File); err != nil {
			return nil, err
		}
	}
	var qemuImg format.QEMUImg
	toolsKey := ""
	if slices.ContainsFunc(formats, format.Format.Tools) {
		if qemuImg, toolsKey, err = b.qemuImg(ctx); err != nil {
			return nil, err
		}
	}
	var all []Converted
	for _, f := range formats {
		c, err := b.convert(ctx, f, image, qemuImg, toolsKey)
		if err != nil {
			return nil, explainDisk(err)
		}
		all = append(all, c)
	}
	return all, nil
}

// qemuImg is that of the locked tools tree, with the tree's key.
func (b *builder) qemuImg(ctx context.Context) (format.QEMUImg, string, error) {
	lock, err := ReadLock(b.opts.LockFile)
	if err != nil {
		return nil, "", fault.Input(err)
	}
	if err := CheckHost(); err != nil {
		return nil, "", err
	}
	dir, err := b.tree(ctx, lock, TreeTools)
	t := tools{filepath.Join(dir, "tree")}
	return func(ctx context.Context, args ...string) error {
		_, err := t.run(ctx, "usr/bin/qemu-img", args...)
		return err
	}, treeStage(lock, TreeTools).key(), err
}

// convert makes one file, or finds it in the cache by what it is made of.
func (b *builder) convert(ctx context.Context, f format.Format, image format.Image, qemuImg format.QEMUImg, toolsKey string) (Converted, error) {
	start := time.Now()
	c := Converted{Format: f, File: image.File, SHA256: image.SHA256, Cached: true}
	if f != format.Raw {
		if !f.Tools() {
			toolsKey = ""
		}
		in := inputs{}
		in.add("image", image.SHA256)
		in.add("stage tools", toolsKey)
		in.add("Ingot's own steps", []any{formatVersion, libraries()})
		dir, err := b.stage(ctx, stageID{string(f), in}, func(dir string) error {
			if err := format.Write(ctx, f, image, qemuImg, dir); err != nil {
				return err
			}
			made, err := format.Open(ctx, filepath.Join(dir, f.File()))
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, "sha256"), []byte(made.SHA256+"\n"), 0o644)
		})
		if err != nil {
			return c, err
		}
		c.Cached = b.stages[len(b.stages)-1].Cached
		c.File = filepath.Join(b.opts.Out, f.File())
		if c.SHA256, err = publishFormat(ctx, dir, f, c.File, c.Cached); err != nil {
			return c, err
		}
	}
	info, err := os.Stat(c.File)
	if err != nil {
		return c, err
	}
	c.Bytes = info.Size()
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		c.DiskBytes = st.Blocks * 512 // st_blocks counts in 512 bytes, stat(2)
	}
	c.Seconds = time.Since(start).Seconds()
	return c, nil
}

// formatVersion changes when this program writes a format otherwise than before.
const formatVersion = 1

// libraries are the versions of what writes the formats: another one may write
// other bytes.
func libraries() []string {
	var versions []string
	info, ok := debug.ReadBuildInfo()
	for i := 0; ok && i < len(info.Deps); i++ {
		switch m := info.Deps[i]; m.Path {
		case "github.com/klauspost/compress", "github.com/ulikunitz/xz":
			versions = append(versions, m.Path+" "+m.Version)
		}
	}
	return versions
}

// publishFormat puts the file into the output directory in one step. One that was
// not made just now is read once more: the cache is not believed.
func publishFormat(ctx context.Context, dir string, f format.Format, to string, cached bool) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "sha256"))
	if err != nil {
		return "", err
	}
	sum, next := strings.TrimSpace(string(text)), to+".new"
	if err := os.Remove(next); err != nil && !os.IsNotExist(err) {
		return "", err
	}
	if err := reflink(filepath.Join(dir, f.File()), next); err != nil {
		return "", fmt.Errorf("write %s: %w", to, err)
	}
	if cached {
		published, err := format.Open(ctx, next)
		if err == nil && published.SHA256 != sum {
			err = fault.Machine(fmt.Errorf("%s in the cache is damaged; delete that folder and try again", dir))
		}
		if err != nil {
			return "", errors.Join(err, os.Remove(next))
		}
	}
	return sum, os.Rename(next, to)
}

// explainDisk says what to do when there is no room; qemu-img says it in words.
func explainDisk(err error) error {
	if errors.Is(err, syscall.ENOSPC) || strings.Contains(err.Error(), fullDisk) {
		return fault.Machine(fmt.Errorf("the disk is full; make room where the outputs and the cache are: %w", err))
	}
	return err
}
