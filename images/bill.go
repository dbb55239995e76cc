package images

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"

	"ingot/images/sbom"
	"ingot/layers"
)

// DescriptionFile says what an image was built from. It is in the image's
// sbom.Folder.
const DescriptionFile = "build.json"

// billRules decide what is listed, with those of package sbom.
//
//go:embed bill.go
var billRules string

// bill is what the image holds, by file name: the same in the image and beside
// it. Reading trees takes a second, so that what was read is a stage; writing it
// down takes none, and is done by the program that runs.
func (b *builder) bill(ctx context.Context, r recipe, t trees) (map[string][]byte, error) {
	const name = "contents.json"
	dir, err := b.stage(ctx, r.contents, func(dir string) error {
		list, err := b.contents(ctx, r, t)
		if err != nil {
			return fmt.Errorf("list what the image holds: %w", err)
		}
		text, err := json.Marshal(list)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, name), text, 0o644)
	})
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	bill := sbom.Bill{Suite: r.lock.Suite, Epoch: r.lock.Epoch}
	if err := json.Unmarshal(text, &bill.Components); err != nil {
		return nil, err
	}
	return bill.Files()
}

// contents are the packages, Go programs and modules of an image, and what its
// containers are made of.
func (b *builder) contents(ctx context.Context, r recipe, t trees) ([]sbom.Component, error) {
	lock := r.lock
	version, err := os.ReadFile(filepath.Join(t.base, "kernel-version"))
	if err != nil {
		return nil, err
	}
	kernel := "linux-image-" + strings.TrimSpace(string(version))
	list, err := components(lock.Trees[TreeImage], filepath.Join(t.base, "tree"), func(p Package) []string {
		if p.Name == kernel {
			return []string{sbom.InBoot, sbom.InInitrd, sbom.InRoot}
		}
		return []string{sbom.InRoot}
	})
	if err != nil {
		return nil, err
	}
	made, err := b.tree(ctx, lock, TreeInitrd)
	if err != nil {
		return nil, err
	}
	initrdTree := filepath.Join(made, "tree")
	used, err := sbom.UsedInInitrd(t.initrd, initrdTree)
	if err != nil {
		return nil, err
	}
	copied := slices.DeleteFunc(slices.Clone(lock.Trees[TreeInitrd]), func(p Package) bool { return !slices.Contains(used, p.Name) })
	initrd, err := components(copied, initrdTree, func(Package) []string { return []string{sbom.InInitrd} })
	if err != nil {
		return nil, err
	}
	boot, err := components(bootPackages(lock), t.tools.root, func(Package) []string { return []string{sbom.InBoot} })
	if err != nil {
		return nil, err
	}
	agent, err := sbom.ReadProgram(b.opts.Agent, "ingot-agent", sbom.InInitrd, sbom.InRoot)
	if err != nil {
		return nil, err
	}
	ignition, err := sbom.ReadProgram(t.ignition, "ignition", sbom.InInitrd)
	if err != nil {
		return nil, err
	}
	containers, err := b.containerContents(ctx, r)
	if err != nil {
		return nil, err
	}
	return sbom.Sorted(slices.Concat(list, initrd, boot, agent, ignition, containers)), nil
}

// containerContents are the packages of container images. Of what is in the image
// of a registry, its name and digest is all that is known.
func (b *builder) containerContents(ctx context.Context, r recipe) ([]sbom.Component, error) {
	var all []sbom.Component
	for _, i := range r.images {
		part := string(treeOf(i))
		if len(i.Packages) == 0 {
			name, version, _ := strings.Cut(i.Name, "@")
			if at := strings.LastIndexByte(name, ':'); at > strings.LastIndexByte(name, '/') {
				name, version = name[:at], name[at+1:]
			}
			all = append(all, sbom.Component{
				Kind: sbom.Container, Name: name, Version: version, SHA256: strings.TrimPrefix(r.lock.digestOf(i.Name), "sha256:"), Parts: []string{part},
			})
			continue
		}
		dir, err := b.tree(ctx, r.lock, treeOf(i))
		if err != nil {
			return nil, err
		}
		list, err := components(r.lock.Trees[treeOf(i)], filepath.Join(dir, "tree"), func(Package) []string { return []string{part} })
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

// bootPackages are those whose code is before the kernel: see makeBootCode.
func bootPackages(lock Lock) []Package {
	return slices.DeleteFunc(slices.Clone(lock.Trees[TreeTools]), func(p Package) bool {
		return p.Name != "grub-pc-bin" && p.Name != "grub-efi-amd64-bin"
	})
}

// Components are the packages of a lock's image and of its containers, as a scan takes them. What the
// copyright files say is not known without the tree.
func (l Lock) Components() []sbom.Component {
	list := make([]sbom.Component, 0, len(l.Trees[TreeImage]))
	for _, p := range l.Trees[TreeImage] {
		list = append(list, component(p, sbom.InRoot))
	}
	for tree, packages := range l.Trees {
		for _, p := range packages {
			if tree.ofContainer() {
				list = append(list, component(p, string(tree)))
			}
		}
	}
	return sbom.Sorted(list)
}

func component(p Package, parts ...string) sbom.Component {
	return sbom.Component{
		Kind: sbom.Debian, Name: p.Name, Version: p.Version, SHA256: p.SHA256,
		Arch: p.Arch, Source: p.Source, SourceVersion: p.SourceVersion, Parts: parts,
	}
}

// components are packages with the licences that their tree has.
func components(packages []Package, tree string, parts func(Package) []string) ([]sbom.Component, error) {
	root, err := os.OpenRoot(tree)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var list []sbom.Component
	for _, p := range packages {
		c := component(p, parts(p)...)
		if c.Licence, err = sbom.Licence(root, p.Name); err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

// Description is DescriptionFile: what an image's root was built from. It has
// only what decides its bytes: a comment in ingot.yaml does not, nor does where
// the packages came from.
type Description struct {
	Suite       string   `json:"suite"`
	Epoch       int64    `json:"epoch"` // the lock's clock, seconds since 1970
	Compression string   `json:"compression"`
	Layers      []string `json:"layers"`
	Inputs      Inputs   `json:"inputs"`
}

// Inputs are SHA-256 digests, in hex.
type Inputs struct {
	Packages string `json:"packages"` // of names, versions and digests
	Config   string `json:"config"`   // of the image's Ignition config
	Agent    string `json:"agent"`    // of the program
	Ignition string `json:"ignition"` // of the program
}

// share is what an image says about itself, by file name below sbom.Folder.
func (r recipe) share(plan layers.Plan, bill map[string][]byte) (map[string][]byte, error) {
	packages := inputs{}
	packages.addPackages(r.lock.Trees[TreeImage])
	share := maps.Clone(bill)
	var err error
	share[DescriptionFile], err = described(Description{
		Suite: r.lock.Suite, Epoch: r.lock.Epoch, Compression: r.compression, Layers: plan.LayerNames,
		Inputs: Inputs{packages.key("packages"), r.config, r.agent, r.lock.Ignition},
	})
	return share, err
}

// described is a description as a file.
func described(d Description) ([]byte, error) {
	text, err := json.MarshalIndent(d, "", "  ")
	return append(text, '\n'), err
}

// writeBill puts the bill beside the image.
func (b *builder) writeBill(files map[string][]byte) error {
	var errs []error
	for name, text := range files {
		errs = append(errs, renameio.WriteFile(filepath.Join(b.opts.Out, name), text, 0o644))
	}
	return errors.Join(errs...)
}
