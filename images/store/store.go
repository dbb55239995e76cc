// Package store lays container images out as Podman reads them from an additional
// image store: nothing is pulled, unpacked or copied where the store is.
//
// The layout is that of the overlay driver of Debian 13's Podman, 5.4: what "podman
// import" leaves behind, without what differs from one time to the next. An image's layers are put together into one:
// EROFS without extended attributes has no way to say that a layer hides a folder
// of a lower one. Manifest and configuration stay as they are, and with them the
// digests.
package store

import (
	"archive/tar"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Image is one image and the full references that name it.
type Image struct {
	Names []string
	v1.Image
}

// Write writes the store as a tar below the folder dir, a relative path. Times are
// epoch, in seconds since 1970. The same images give the same bytes.
func Write(w io.Writer, dir string, images []Image, epoch int64) error {
	s := writing{tar: tar.NewWriter(w), dir: dir, epoch: time.Unix(epoch, 0).UTC()}
	if err := s.folders(); err != nil {
		return err
	}
	images, err := merged(images)
	if err != nil {
		return err
	}
	for _, image := range images {
		if err := s.image(image); err != nil {
			return fmt.Errorf("the image %s: %w", image.Names[0], err)
		}
	}
	return errors.Join(s.lists(), s.tar.Close())
}

// merged gives images that are the same one entry.
func merged(images []Image) ([]Image, error) {
	var list []Image
	ids := map[v1.Hash]int{}
	for _, image := range images {
		id, err := image.ConfigName()
		if err != nil {
			return nil, fmt.Errorf("the image %s: %w", image.Names[0], err)
		}
		if i, there := ids[id]; there {
			list[i].Names = slices.Concat(list[i].Names, image.Names)
			continue
		}
		ids[id] = len(list)
		list = append(list, image)
	}
	for _, image := range list {
		slices.Sort(image.Names)
	}
	slices.SortFunc(list, func(a, b Image) int { return cmp.Compare(a.Names[0], b.Names[0]) })
	return list, nil
}

type writing struct {
	tar    *tar.Writer
	dir    string
	epoch  time.Time
	images []imageRecord
	layers []layerRecord
}

// imageRecord is an entry of overlay-images/images.json.
type imageRecord struct {
	ID             string            `json:"id"`
	Digest         string            `json:"digest"`
	Names          []string          `json:"names"`
	Layer          string            `json:"layer"`
	Metadata       string            `json:"metadata"`
	BigDataNames   []string          `json:"big-data-names"`
	BigDataSizes   map[string]int    `json:"big-data-sizes"`
	BigDataDigests map[string]string `json:"big-data-digests"`
	Created        time.Time         `json:"created"`
}

// layerRecord is an entry of overlay-layers/layers.json. From the accounts Podman
// learns how many a container's user namespace must have.
type layerRecord struct {
	ID         string    `json:"id"`
	Created    time.Time `json:"created"`
	DiffDigest string    `json:"diff-digest"`
	DiffSize   int64     `json:"diff-size"` // bytes
	UIDs       []int     `json:"uidset"`
	GIDs       []int     `json:"gidset"`
}

func (s *writing) folders() error {
	// The store is root's: what accounts and modes mean in a container is not what
	// they mean outside of it.
	parts := strings.Split(s.dir, "/")
	for i := range parts {
		mode := int64(0o755)
		if i == len(parts)-1 {
			mode = 0o700
		}
		if err := s.folder(path.Join(parts[:i+1]...), mode); err != nil {
			return err
		}
	}
	for _, name := range []string{"overlay", "overlay/l", "overlay-images", "overlay-layers"} {
		if err := s.folder(path.Join(s.dir, name), 0o700); err != nil {
			return err
		}
	}
	// It is read-only, and Podman still wants to lock it.
	for _, name := range []string{"overlay-images/images.lock", "overlay-layers/layers.lock"} {
		if err := s.file(name, nil); err != nil {
			return err
		}
	}
	return nil
}

func (s *writing) folder(name string, mode int64) error {
	return s.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode, ModTime: s.epoch, Format: tar.FormatPAX})
}

func (s *writing) file(name string, content []byte) error {
	err := s.tar.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: path.Join(s.dir, name), Mode: 0o600, Size: int64(len(content)), ModTime: s.epoch, Format: tar.FormatPAX,
	})
	if err != nil {
		return err
	}
	_, err = s.tar.Write(content)
	return err
}

// image writes what the store has of one image.
func (s *writing) image(image Image) error {
	id, err := image.ConfigName()
	if err != nil {
		return err
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	manifest, err := image.RawManifest()
	if err != nil {
		return err
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return err
	}
	r := imageRecord{
		ID: id.Hex, Digest: digest.String(), Names: image.Names, Layer: digest.Hex, Metadata: "{}", Created: s.epoch,
		BigDataSizes: map[string]int{}, BigDataDigests: map[string]string{},
	}
	if err := s.folder(path.Join(s.dir, "overlay-images", r.ID), 0o700); err != nil {
		return err
	}
	for _, data := range []struct {
		name    string
		digest  v1.Hash
		content []byte
	}{{id.String(), id, config}, {"manifest-" + digest.String(), digest, manifest}, {"manifest", digest, manifest}} {
		r.BigDataNames = append(r.BigDataNames, data.name)
		r.BigDataSizes[data.name], r.BigDataDigests[data.name] = len(data.content), data.digest.String()
		if err := s.file(path.Join("overlay-images", r.ID, dataName(data.name)), data.content); err != nil {
			return err
		}
	}
	s.images = append(s.images, r)
	return s.layer(r.Layer, image)
}

// dataName is the file of an image's data: names with other letters than these are
// in base64 (containers/storage, images.go, makeBigDataBaseName).
func dataName(name string) string {
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.") == "" {
		return name
	}
	return "=" + base64.StdEncoding.EncodeToString([]byte(name))
}

// layer writes an image's layers as one.
func (s *writing) layer(id string, image Image) error {
	if slices.ContainsFunc(s.layers, func(l layerRecord) bool { return l.ID == id }) {
		return nil
	}
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	root, err := flatten(layers)
	if err != nil {
		return err
	}
	// The short name is for the list of lower layers, which has to fit into a page.
	short := strings.ToUpper(id[:26])
	if err := s.folder(path.Join(s.dir, "overlay", id), 0o700); err != nil {
		return err
	}
	if err := s.file(path.Join("overlay", id, "link"), []byte(short)); err != nil {
		return err
	}
	content, err := root.write(s.tar, path.Join(s.dir, "overlay", id, "diff"), layers, s.epoch)
	if err != nil {
		return err
	}
	r := layerRecord{ID: id, Created: s.epoch, DiffDigest: content.digest.String(), DiffSize: content.bytes}
	r.UIDs, r.GIDs = root.accounts()
	s.layers = append(s.layers, r)
	return s.tar.WriteHeader(&tar.Header{
		Typeflag: tar.TypeSymlink, Name: path.Join(s.dir, "overlay/l", short), Linkname: path.Join("..", id, "diff"), Mode: 0o777,
		ModTime: s.epoch, Format: tar.FormatPAX,
	})
}

// accounts are the owners and groups of all that is below a node.
func (n *node) accounts() (uids, gids []int) {
	seenUID, seenGID := map[int]bool{}, map[int]bool{}
	var walk func(*node)
	walk = func(n *node) {
		if n.content != nil {
			n = n.content
		}
		if !seenUID[n.header.Uid] {
			seenUID[n.header.Uid] = true
			uids = append(uids, n.header.Uid)
		}
		if !seenGID[n.header.Gid] {
			seenGID[n.header.Gid] = true
			gids = append(gids, n.header.Gid)
		}
		for _, below := range n.below {
			walk(below)
		}
	}
	walk(n)
	slices.Sort(uids)
	slices.Sort(gids)
	return uids, gids
}

// lists writes the lists of images and layers.
func (s *writing) lists() error {
	images, err := json.Marshal(s.images)
	if err != nil {
		return err
	}
	layers, err := json.Marshal(s.layers)
	if err != nil {
		return err
	}
	return errors.Join(s.file("overlay-images/images.json", images), s.file("overlay-layers/layers.json", layers))
}
