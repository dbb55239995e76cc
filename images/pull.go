package images

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	ocilayout "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

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
			err = checkPlatform(image)
		}
		if err != nil {
			return nil, imageError(i, err)
		}
		list = append(list, LockedImage{i.Name, digest.String()})
	}
	return list, nil
}

// checkPlatform refuses an image for another kind of machine: where there is one
// only, nobody has chosen it.
func checkPlatform(image v1.Image) error {
	config, err := image.ConfigFile()
	if err != nil {
		return fault.Provider(err)
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
	if errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
		return nil, fault.Input(fmt.Errorf("the registry does not have it, or not any more; look at the name, or run \"ingot lock\": %w", err))
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
		return image, nil
	}
	l, err := ocilayout.FromPath(file)
	if err != nil {
		return nil, fmt.Errorf("%s is no folder in OCI's image layout: %w", file, err)
	}
	index, err := l.ImageIndex()
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, d := range manifest.Manifests {
		if d.MediaType.IsImage() && (len(manifest.Manifests) == 1 || d.Platform != nil && d.Platform.Satisfies(platform)) {
			return l.Image(d.Digest)
		}
	}
	return nil, fmt.Errorf("%s has %d images, and one for linux/amd64 is wanted", file, len(manifest.Manifests))
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
			return fault.Input(fmt.Errorf("it is another one than that of the lock: %s, not %s; run \"ingot lock\"", got, digest))
		}
		kept, err := ocilayout.Write(dir, empty.Index)
		if err != nil {
			return err
		}
		return errors.Join(ctx.Err(), fault.Provider(kept.AppendImage(image)))
	})
	if err != nil {
		return nil, err
	}
	return ocilayout.Path(dir).Image(digest)
}
