package images

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/compression"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	ocilayout "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"ingot/fault"
	"ingot/images/share"
	"ingot/layers"
)

// LockedImage is a container image that is not made of packages.
type LockedImage struct {
	Name   string `yaml:"name"`   // in full, as the compose file has it
	Digest string `yaml:"digest"` // of the manifest, "sha256:…"
}

// platform is that of every image.
var platform = v1.Platform{OS: "linux", Architecture: "amd64"}

func (l Lock) digestOf(image string) string {
	for _, i := range l.Images {
		if i.Name == image {
			return i.Digest
		}
	}
	return ""
}

// digests are those of all images, by their names.
func (l Lock) digests() map[string]string {
	all := map[string]string{}
	for _, i := range l.Images {
		all[i.Name] = i.Digest
	}
	return all
}

// resolveImages asks the registries and archives for the digests of now.
func (b *builder) resolveImages(ctx context.Context, plan layers.Plan) ([]LockedImage, error) {
	var list []LockedImage
	for _, i := range plan.Images {
		if len(i.Packages) > 0 {
			continue
		}
		b.progress(Progress{Stage: "lock", Step: "image " + i.Name})
		image, err := b.source(ctx, i, i.Name)
		if err != nil {
			return nil, imageError(i, err)
		}
		digest, err := image.Digest()
		if err == nil {
			err = checkPlatform(i, image)
		}
		if err != nil {
			return nil, imageError(i, err)
		}
		list = append(list, LockedImage{i.Name, digest.String()})
	}
	return list, nil
}

// ofSource says whose an error is: that of who keeps the archive, or of a registry.
func ofSource(i layers.ContainerImage, err error) error {
	if i.Archive != "" {
		return fault.Input(err)
	}
	return fault.Provider(err)
}

// checkBlobs wants every blob of a layout to be what its name says: an archive's are
// copied by their names.
func checkBlobs(dir string) error {
	blobs, err := filepath.Glob(filepath.Join(dir, "blobs", "sha256", "*"))
	for _, file := range blobs {
		got, failed := fileDigest(file)
		if failed != nil {
			return failed
		}
		if name := filepath.Base(file); got != name {
			return fault.Input(fmt.Errorf("the blob %s has the SHA-256 %s", name, got))
		}
	}
	return err
}

// checkArchives looks whether archives are still those of the lock: what was read
// once is in the cache, by its digest.
func (b *builder) checkArchives(plan layers.Plan, lock Lock) error {
	for _, i := range plan.Images {
		if i.Archive == "" {
			continue
		}
		image, err := readArchive(filepath.Join(b.opts.Dir, i.Archive))
		if err != nil {
			return fault.Input(imageError(i, err))
		}
		got, err := image.Digest()
		if err != nil {
			return fault.Input(imageError(i, err))
		}
		if want := lock.digestOf(i.Name); got.String() != want {
			return imageError(i, otherImage(got, want))
		}
	}
	return nil
}

func otherImage(got v1.Hash, want string) error {
	return fault.Input(fmt.Errorf("it is another one than that of the lock: %s, not %s; run \"ingot lock\"", got, want))
}

// checkPlatform refuses an image for another kind of machine: where there is one
// only, nobody has chosen it.
func checkPlatform(i layers.ContainerImage, image v1.Image) error {
	config, err := image.ConfigFile()
	if err != nil {
		return ofSource(i, err)
	}
	if config.Architecture != "" && config.Architecture != platform.Architecture || config.OS != "" && config.OS != platform.OS {
		return fault.Input(fmt.Errorf("it is for %s/%s and the machine is %s", config.OS, config.Architecture, platform))
	}
	return nil
}

func imageError(i layers.ContainerImage, err error) error {
	return fmt.Errorf("the container image %s: %w", i.Name, err)
}

// source is an image where it comes from, by a reference that may be a tag.
func (b *builder) source(ctx context.Context, i layers.ContainerImage, reference string) (v1.Image, error) {
	if i.Archive != "" {
		image, err := readArchive(filepath.Join(b.opts.Dir, i.Archive))
		return image, fault.Input(err)
	}
	ref, err := name.ParseReference(reference)
	if err != nil {
		return nil, fault.Input(err)
	}
	image, err := remote.Image(ref, append(share.RegistryOptions(ctx), remote.WithPlatform(platform))...)
	var answer *transport.Error
	if errors.As(err, &answer) {
		switch answer.StatusCode {
		case http.StatusNotFound:
			return nil, fault.Input(fmt.Errorf("the registry does not have it, or not any more; look at the name, or run \"ingot lock\": %w", err))
		case http.StatusUnauthorized, http.StatusForbidden: // of what is not there, too
			return nil, fault.Input(fmt.Errorf("the registry does not give it; look at the name, or run \"docker login\": %w", err))
		}
	}
	// The library has no type for it; a test holds the words.
	if err != nil && strings.Contains(err.Error(), "no child with platform") {
		return nil, fault.Input(fmt.Errorf("it is for other machines only, not for %s: %w", platform, err))
	}
	return image, errors.Join(ctx.Err(), fault.Provider(err))
}

// readArchive reads the one image of a docker archive or of an OCI layout.
func readArchive(file string) (v1.Image, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		image, err := tarball.ImageFromPath(file, nil)
		if err != nil {
			return nil, fmt.Errorf("%s is no archive of docker save with one image: %w", file, err)
		}
		return uncompressed(image)
	}
	l, err := ocilayout.FromPath(file)
	if err != nil {
		return nil, fmt.Errorf("%s is no folder in OCI's image layout: %w", file, err)
	}
	index, err := l.ImageIndex()
	if err != nil {
		return nil, err
	}
	image, err := forPlatform(index)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return image, nil
}

// forPlatform is the one image of an index, or that for this platform. An index may
// hold another: docker buildx writes one with its attestations.
func forPlatform(index v1.ImageIndex) (v1.Image, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, d := range manifest.Manifests {
		switch {
		case d.MediaType.IsImage() && (len(manifest.Manifests) == 1 || d.Platform != nil && d.Platform.Satisfies(platform)):
			return index.Image(d.Digest)
		case d.MediaType.IsIndex() && len(manifest.Manifests) == 1:
			below, err := index.ImageIndex(d.Digest)
			if err != nil {
				return nil, err
			}
			return forPlatform(below)
		}
	}
	return nil, fmt.Errorf("it has %d images, and one for %s is wanted", len(manifest.Manifests), platform)
}

// uncompressed is an image whose digest does not depend on who compresses: a docker
// archive has no manifest, and the library would make one of its own layers.
func uncompressed(image v1.Image) (v1.Image, error) {
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	list, err := image.Layers()
	if err != nil {
		return nil, err
	}
	out := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, l := range list {
		plain, err := tarball.LayerFromOpener(l.Uncompressed, tarball.WithCompression(compression.None), tarball.WithMediaType(types.OCIUncompressedLayer))
		if err == nil {
			out, err = mutate.AppendLayers(out, plain)
		}
		if err != nil {
			return nil, err
		}
	}
	return mutate.ConfigFile(out, config)
}

// pulledStage is an image as it was in its registry or archive.
func pulledStage(lock Lock, i layers.ContainerImage) stageID {
	in := inputs{}
	in.add("digest", lock.digestOf(i.Name))
	return stageID{string(treeOf(i)), in}
}

// pulled is a locked image, with every blob of the digest that the manifest names.
func (b *builder) pulled(ctx context.Context, lock Lock, i layers.ContainerImage) (v1.Image, error) {
	digest, err := v1.NewHash(lock.digestOf(i.Name))
	if err != nil {
		return nil, err
	}
	dir, err := b.stage(ctx, pulledStage(lock, i), func(dir string) error {
		ref, err := name.ParseReference(i.Name)
		if err != nil {
			return fault.Input(err)
		}
		image, err := b.source(ctx, i, ref.Context().Digest(digest.String()).String())
		if err != nil {
			return err
		}
		if got, err := image.Digest(); err != nil {
			return err
		} else if got != digest {
			return otherImage(got, digest.String())
		}
		kept, err := ocilayout.Write(dir, empty.Index)
		if err != nil {
			return err
		}
		if err := kept.AppendImage(image); err != nil {
			return errors.Join(ctx.Err(), ofSource(i, err))
		}
		return checkBlobs(dir)
	})
	if err != nil {
		return nil, err
	}
	return ocilayout.Path(dir).Image(digest)
}
