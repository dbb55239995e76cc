package images

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Stock is a plain Debian system as a provider offers it, for proving the
// renderings that configure such a system. The kernel is booted directly; the
// disk is one ext4 file system.
type Stock struct {
	Disk, Kernel, Initrd string // files, not to be written to
	Tree                 string // the same system as a folder, as root sees it
}

// StockOptions says which Debian system to make.
type StockOptions struct {
	LockFile string
	Cache    Cache
	// Packages are names beside those of a bare system with apt.
	Packages []string
	// Source is the line of the system's own sources.list.
	Source string
	// Ignition is the program and IgnitionModule the folder of its dracut
	// module, for a system that runs it at its first boot. Packages must have
	// dracut then.
	Ignition, IgnitionModule string
}

// stockBytes is the size of the system's file system: the packages of an image
// and their archives fit with room to spare.
const stockBytes = 4 << 30

// stockMirror: the system's own packages are today's, those that the lock
// names excepted, so that what the lock adds later fits.
const stockMirror = DefaultMirror

// MakeStock installs the system from Debian's mirror, with the locked version
// of every package that the lock names. It is for tests: nothing else of it is
// locked.
func MakeStock(ctx context.Context, o StockOptions) (Stock, error) {
	lock, err := ReadLock(o.LockFile)
	if err != nil {
		return Stock{}, err
	}
	dir, _, err := o.Cache.stage(ctx, "stock", stockStage(lock, o).key(), func(dir string) error {
		repo := filepath.Join(dir, "repository")
		if err := Repository(ctx, lock, o.Cache, repo); err != nil {
			return err
		}
		err := o.Cache.ns.run(ctx, script{Name: "stock", Online: true, Env: map[string]string{
			"OUT": dir, "REPO": repo, "SUITE": lock.Suite, "MIRROR": stockMirror, "SOURCE": o.Source,
			"PACKAGES": strings.Join(o.Packages, ","), "BYTES": fmt.Sprint(int64(stockBytes)), "TMPDIR": repo,
			"IGNITION": o.Ignition, "MODULE": o.IgnitionModule,
		}})
		if err != nil {
			return err
		}
		return os.RemoveAll(repo)
	})
	return Stock{
		Disk: filepath.Join(dir, "disk.raw"), Kernel: filepath.Join(dir, "vmlinuz"), Initrd: filepath.Join(dir, "initrd"),
		Tree: filepath.Join(dir, "tree"),
	}, err
}

func stockStage(lock Lock, o StockOptions) stageID {
	in := inputs{}
	in.add("suite", lock.Suite)
	in.addPackages(lock.Trees[TreeImage])
	in.add("packages", o.Packages)
	in.add("source", o.Source)
	in.add("Ignition", o.Ignition)
	in.add("bytes", stockBytes)
	in.addScripts("stock")
	return stageID{"stock", in}
}

// Repository lays out in dir a Debian repository of exactly the packages that
// the lock names for the image: "deb [trusted=yes] URL ./".
func Repository(ctx context.Context, lock Lock, cache Cache, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	packages := lock.Trees[TreeImage]
	if err := cache.useDebs(ctx); err != nil {
		return err
	}
	origins := Options{Snapshot: DefaultSnapshot}.origins(lock)
	if err := newFetcher(cache.debs(), origins).fetch(ctx, packages, func(int64, int64) {}); err != nil {
		return err
	}
	return repository(ctx, cache.debs(), dir, lock.Suite, packages)
}
