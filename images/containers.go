package images

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"ingot/fault"
	"ingot/images/share"
	"ingot/images/store"
	"ingot/layers"
)

// storeRules decide how the store is laid out, and what an image of packages has
// beside them.
//
//go:embed containers.go share/pack.go share/whole.go store/flatten.go store/store.go
var storeRules embed.FS

func storeRulesText() string {
	var b strings.Builder
	for _, name := range []string{"containers.go", "share/pack.go", "share/whole.go", "store/flatten.go", "store/store.go"} {
		text, err := storeRules.ReadFile(name)
		if err != nil {
			panic(err) // embedded at compile time
		}
		b.Write(text)
	}
	return b.String()
}

// storeStage depends on the images alone.
func (r recipe) storeStage() stageID {
	in := inputs{}
	for _, i := range r.images {
		if len(i.Packages) > 0 {
			in.add("container image "+i.Name, treeStage(r.lock, treeOf(i)).key())
		} else {
			in.add("container image "+i.Name, r.lock.digestOf(i.Name))
		}
	}
	in.add("clock", r.lock.Epoch)
	in.add("account and folder", []string{layers.ImageUser, layers.ImageStore})
	in.add("Ingot's own steps", storeRulesText())
	return stageID{"store", in}
}

// store is the tree with the containers' images, which lies over the base. It is
// empty when there are none.
func (b *builder) store(ctx context.Context, plan layers.Plan, r recipe) (string, error) {
	if len(plan.Images) == 0 {
		return "", nil
	}
	dir, err := b.stage(ctx, r.store, func(dir string) error {
		work, done, err := b.opts.Cache.Scratch("images-")
		if err != nil {
			return err
		}
		defer done()
		var list []store.Image
		for _, i := range plan.Images {
			image, err := b.containerImage(ctx, r.lock, i, work)
			if err != nil {
				return fmt.Errorf("the container image %s: %w", i.Name, err)
			}
			list = append(list, store.Image{Names: []string{i.Name}, Image: image})
		}
		return b.writeStore(ctx, list, r.lock.Epoch, dir)
	})
	return filepath.Join(dir, "tree"), err
}

// writeStore unpacks the store where the ids of all accounts can be had.
func (b *builder) writeStore(ctx context.Context, list []store.Image, epoch int64, dir string) error {
	if err := b.ready(ctx); err != nil {
		return err
	}
	archive, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := store.Write(w, filepath.Join("tree", layers.ImageStore), list, epoch)
		w.CloseWithError(err)
		written <- err
	}()
	err := b.ns.unpack(ctx, archive, dir)
	archive.CloseWithError(cmp.Or(err, io.ErrClosedPipe))
	wrong := <-written
	if ctx.Err() != nil {
		return ctx.Err()
	}
	// When unpacking fails, the writer fails of that.
	if wrong != nil && !errors.Is(wrong, io.ErrClosedPipe) && (err == nil || !errors.Is(wrong, err)) {
		return fault.Input(wrong)
	}
	if errors.Is(err, share.ErrRefused) {
		return fault.Input(err)
	}
	return err
}

// containerImage makes or reads one image.
func (b *builder) containerImage(ctx context.Context, lock Lock, i layers.ContainerImage, work string) (v1.Image, error) {
	if len(i.Packages) == 0 {
		return b.pulled(ctx, lock, i)
	}
	tree, err := b.tree(ctx, lock, treeOf(i))
	if err != nil {
		return nil, err
	}
	return b.packageImage(ctx, filepath.Join(tree, "tree"), filepath.Join(work, string(treeOf(i))+".tar"), lock.Epoch)
}

// packageImage is the image of a tree. archive is a file for its layer.
func (b *builder) packageImage(ctx context.Context, tree, archive string, epoch int64) (v1.Image, error) {
	f, err := os.Create(archive)
	if err != nil {
		return nil, err
	}
	packed, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := b.ns.pack(ctx, w, tree, epoch)
		w.CloseWithError(err)
		ended <- err
	}()
	err = share.Whole(f, packed)
	packed.CloseWithError(err)
	if err := errors.Join(err, <-ended, f.Close()); err != nil {
		return nil, err
	}
	packages, err := tarball.LayerFromFile(archive, tarball.WithCompression(compression.None), tarball.WithMediaType(types.OCIUncompressedLayer))
	if err != nil {
		return nil, err
	}
	own, err := ownFiles(tree, epoch)
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if image, err = mutate.AppendLayers(image, packages, static.NewLayer(own, types.OCIUncompressedLayer)); err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", "amd64", v1.Time{Time: time.Unix(epoch, 0).UTC()}
	config.Config = v1.Config{User: layers.ImageUser, Env: []string{"PATH=/usr/sbin:/usr/bin"}, WorkingDir: "/"}
	return mutate.ConfigFile(image, config)
}

// bundle is where programs look for certificate authorities, which a maintainer
// script of ca-certificates would write.
const bundle = "etc/ssl/certs/ca-certificates.crt"

// ownFiles is the layer over the packages: what their maintainer scripts, none of
// which runs, leave on every system.
func ownFiles(tree string, epoch int64) ([]byte, error) {
	uid, gid, _ := strings.Cut(layers.ImageUser, ":")
	files := map[string]string{
		"etc/passwd":        fmt.Sprintf("root:*:0:0:root:/:/usr/sbin/nologin\napp:*:%s:%s::/:/usr/sbin/nologin\n", uid, gid),
		"etc/group":         fmt.Sprintf("root:*:0:\napp:*:%s:\n", gid),
		"etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
	}
	certificates, err := filepath.Glob(filepath.Join(tree, "usr/share/ca-certificates/*/*.crt"))
	if err != nil {
		return nil, err
	}
	slices.Sort(certificates)
	for _, file := range certificates {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		files[bundle] += string(text)
	}
	var b bytes.Buffer
	t := tar.NewWriter(&b)
	at := time.Unix(epoch, 0)
	// Debian's merged /usr, which is of the package base-files and its scripts. The
	// kernel looks for the dynamic linker there.
	for _, name := range []string{"bin", "lib", "lib64", "sbin"} {
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: "usr/" + name, Mode: 0o777, ModTime: at}); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"tmp", "var/tmp"} {
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o1777, ModTime: at}); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(files[name])), ModTime: at}); err != nil {
			return nil, err
		}
		if _, err := t.Write([]byte(files[name])); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), t.Close()
}
