package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"ingot/fault"
	"ingot/layers"
)

// MakeLock resolves everything anew and writes the lock.
func MakeLock(ctx context.Context, plan layers.Plan, opts Options) (Lock, error) {
	if err := CheckHost(); err != nil {
		return Lock{}, err
	}
	b := &builder{opts: opts, modules: plan.Modules}
	old, err := ReadLock(opts.LockFile)
	if err != nil && !errors.Is(err, ErrNoLock) {
		return Lock{}, fault.Input(err)
	}
	return b.makeLock(ctx, plan, old)
}

// lock reads the lock, or makes it when there is none or it is for other
// packages than the plan's.
func (b *builder) lock(ctx context.Context, plan layers.Plan) (Lock, error) {
	lock, err := ReadLock(b.opts.LockFile)
	switch {
	case err == nil && lock.Suite == plan.Site.Suite && reflect.DeepEqual(lock.Requested, requested(plan)):
		return lock, nil
	case err == nil && b.opts.Locked:
		return Lock{}, fault.Input(fmt.Errorf("%s is for other packages than ingot.yaml asks for; run \"ingot lock\"", b.opts.LockFile))
	case errors.Is(err, ErrNoLock) && b.opts.Locked, err != nil && !errors.Is(err, ErrNoLock):
		return Lock{}, fault.Input(err)
	}
	return b.makeLock(ctx, plan, lock)
}

func (b *builder) makeLock(ctx context.Context, plan layers.Plan, old Lock) (Lock, error) {
	start := time.Now()
	b.progress(Progress{Stage: "lock"})
	lock := Lock{
		Version: lockVersion, Suite: plan.Site.Suite, Mirror: b.opts.Mirror,
		Requested: requested(plan), Accounts: old.Accounts, Trees: map[Tree][]Package{},
	}
	if lock.Mirror == "" {
		lock.Mirror = DefaultMirror
	}
	dir, done, err := b.opts.Cache.scratch("apt-")
	if err != nil {
		return Lock{}, err
	}
	defer done()
	a, err := newApt(ctx, dir, lock.Mirror, lock.Suite)
	if err != nil {
		return Lock{}, err
	}
	for tree, names := range lock.Requested {
		lock.Trees[tree], err = a.resolve(ctx, names, !tree.extracted())
		if err != nil {
			return Lock{}, err
		}
	}
	b.progress(Progress{Stage: "lock", Done: true, Seconds: time.Since(start).Seconds()})
	if err := b.download(ctx, lock, TreeImage); err != nil {
		return Lock{}, err
	}
	if lock.Epoch, err = newestPackage(b.opts.Cache.debs(), lock.Trees[TreeImage]); err != nil {
		return Lock{}, err
	}
	return b.completeLock(ctx, lock)
}

// completeLock adds what only building tells: the accounts that maintainer
// scripts made, and the digest of Ignition. The stages stay in the cache.
func (b *builder) completeLock(ctx context.Context, lock Lock) (Lock, error) {
	before := baseStage(lock, lock.Accounts, b.modules)
	base, err := b.base(ctx, lock, before)
	if err != nil {
		return Lock{}, err
	}
	if lock.Accounts, err = readAccounts(base); err != nil {
		return Lock{}, err
	}
	// base.sh writes the accounts in one order however they came about, so
	// the tree made without the numbers is the tree made with them.
	if err := b.opts.Cache.alias("base", before.key(), baseStage(lock, lock.Accounts, b.modules).key()); err != nil {
		return Lock{}, err
	}
	toolchain, err := goEnv(ctx, "GOVERSION")
	if err != nil {
		return Lock{}, err
	}
	unnamed := ignitionStage(lock, toolchain)
	program, err := b.ignition(ctx, lock, unnamed)
	if err != nil {
		return Lock{}, err
	}
	if lock.Ignition, err = fileDigest(filepath.Join(program, ignitionFile)); err != nil {
		return Lock{}, err
	}
	if err := b.opts.Cache.alias("ignition", unnamed.key(), ignitionStage(lock, "").key()); err != nil {
		return Lock{}, err
	}
	return lock, lock.Write(b.opts.LockFile)
}

func readAccounts(dir string) (Accounts, error) {
	passwd, err := os.ReadFile(filepath.Join(dir, "passwd"))
	if err != nil {
		return Accounts{}, err
	}
	group, err := os.ReadFile(filepath.Join(dir, "group"))
	if err != nil {
		return Accounts{}, err
	}
	lines := func(b []byte) []string { return strings.Split(strings.TrimSpace(string(b)), "\n") }
	return Accounts{Passwd: lines(passwd), Group: lines(group)}, nil
}
