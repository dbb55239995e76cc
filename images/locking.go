package images

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"ingot/fault"
	"ingot/layers"
)

// Relocked is what making a lock came to.
type Relocked struct {
	Lock    Lock
	Diff    Diff
	Written bool // false when the lock was up to date, and in a dry run
}

// MakeLock resolves everything anew and writes the lock when that changes it.
// A dry run tells the packages that would change, and neither downloads nor
// writes any: its lock has no epoch, accounts and Ignition of its own.
func MakeLock(ctx context.Context, plan layers.Plan, opts Options, dryRun bool) (Relocked, error) {
	if err := CheckHost(); err != nil {
		return Relocked{}, err
	}
	b := &builder{opts: opts, modules: plan.Modules}
	old, err := readOldLock(opts.LockFile)
	if err != nil {
		return Relocked{}, fault.Input(err)
	}
	if !dryRun {
		if err := b.ready(ctx); err != nil {
			return Relocked{}, err
		}
	}
	resolved, err := b.resolve(ctx, plan, old)
	if err != nil {
		return Relocked{}, err
	}
	if dryRun {
		return Relocked{Lock: resolved.lock, Diff: compare(old, resolved)}, nil
	}
	if resolved.lock, err = b.complete(ctx, resolved.lock, old); err != nil {
		return Relocked{}, err
	}
	r := Relocked{Lock: resolved.lock, Diff: compare(old, resolved)}
	if r.Written, err = r.Lock.differs(opts.LockFile); err != nil || !r.Written {
		return r, err
	}
	return r, r.Lock.Write(opts.LockFile)
}

// differs reports whether file holds another lock, or none.
func (l Lock) differs(file string) (bool, error) {
	b, err := l.Bytes()
	if err != nil {
		return false, err
	}
	there, err := os.ReadFile(file)
	return err != nil || !bytes.Equal(b, there), nil
}

// lock reads the lock, or makes it when there is none or it is for other
// packages than the plan's.
func (b *builder) lock(ctx context.Context, plan layers.Plan) (Lock, error) {
	lock, err := ReadLock(b.opts.LockFile)
	var mismatch []string
	if err == nil {
		mismatch = lock.mismatch(plan)
	}
	switch {
	case err == nil && len(mismatch) == 0:
		return lock, nil
	case err == nil && b.opts.Locked:
		return Lock{}, fault.Input(fmt.Errorf("%s is not the one of this ingot.yaml: %s; run \"ingot lock\"", b.opts.LockFile, strings.Join(mismatch, "; ")))
	case errors.Is(err, ErrNoLock) && b.opts.Locked, err != nil && !errors.Is(err, ErrNoLock):
		return Lock{}, fault.Input(err)
	}
	if err := b.ready(ctx); err != nil {
		return Lock{}, err
	}
	resolved, err := b.resolve(ctx, plan, lock)
	if err != nil {
		return Lock{}, err
	}
	if lock, err = b.complete(ctx, resolved.lock, lock); err != nil {
		return Lock{}, err
	}
	return lock, lock.Write(b.opts.LockFile)
}

// mismatch says how the lock is for something else than the plan.
func (l Lock) mismatch(plan layers.Plan) []string {
	var list []string
	if l.Suite != plan.Site.Suite {
		list = append(list, fmt.Sprintf("it is for Debian %s, not %s", l.Suite, plan.Site.Suite))
	}
	want := requested(plan)
	for _, tree := range treesOf(l.Requested, want) {
		if missing := without(want[tree], l.Requested[tree]); len(missing) > 0 {
			list = append(list, fmt.Sprintf("it does not pin %s (%s)", strings.Join(missing, ", "), tree))
		}
		if more := without(l.Requested[tree], want[tree]); len(more) > 0 {
			list = append(list, fmt.Sprintf("it is also for %s (%s)", strings.Join(more, ", "), tree))
		}
	}
	for _, i := range plan.Images {
		if len(i.Packages) == 0 && l.digestOf(i.Name) == "" {
			list = append(list, "it does not pin the container image "+i.Name)
		}
	}
	for _, i := range l.Images {
		if !slices.ContainsFunc(plan.Images, func(p layers.ContainerImage) bool { return p.Name == i.Name && len(p.Packages) == 0 }) {
			list = append(list, "it is also for the container image "+i.Name)
		}
	}
	return list
}

// without are the elements of a that are not in b.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

// resolution is a lock whose packages are known, and nothing else yet.
type resolution struct {
	lock     Lock
	archives map[string]string // by spec, see apt.archives
}

// resolve asks the first mirror that can be read.
func (b *builder) resolve(ctx context.Context, plan layers.Plan, old Lock) (resolution, error) {
	start := time.Now()
	b.progress(Progress{Stage: "lock"})
	mirrors := b.opts.Mirrors
	if len(mirrors) == 0 {
		mirrors = []string{DefaultMirror}
	}
	dir, done, err := b.opts.Cache.Scratch("apt-")
	if err != nil {
		return resolution{}, err
	}
	defer done()
	a, err := firstMirror(ctx, dir, mirrors, plan.Site.Suite, cmp.Or(b.opts.Keyring, keyring))
	if err != nil {
		return resolution{}, err
	}
	lock := Lock{
		Version: lockVersion, Suite: a.suite, Mirror: a.mirror,
		Requested: requested(plan), Accounts: old.Accounts, Trees: map[Tree][]Package{},
	}
	for tree, names := range lock.Requested {
		if lock.Trees[tree], err = a.resolve(ctx, names, tree); err != nil {
			return resolution{}, err
		}
	}
	if lock.Images, err = b.resolveImages(ctx, plan); err != nil {
		return resolution{}, err
	}
	archives, err := a.archives(ctx, lock)
	if err != nil {
		return resolution{}, err
	}
	lock.Snapshot = old.Snapshot
	if lock.Snapshot == "" || !samePackages(old, lock) {
		if lock.Snapshot, err = a.snapshotTime(); err != nil {
			return resolution{}, err
		}
	}
	b.progress(Progress{Stage: "lock", Done: true, Seconds: time.Since(start).Seconds()})
	return resolution{lock, archives}, nil
}

// firstMirror sets up apt for the first of the mirrors that can be read.
func firstMirror(ctx context.Context, dir string, mirrors []string, suite, keyring string) (apt, error) {
	var failed []error
	for i, m := range mirrors {
		a := apt{dir: filepath.Join(dir, fmt.Sprint(i)), mirror: strings.TrimSuffix(m, "/"), suite: suite, keyring: keyring}
		err := a.update(ctx)
		if err == nil || ctx.Err() != nil {
			return a, err
		}
		failed = append(failed, err)
	}
	return apt{}, errors.Join(failed...)
}

func samePackages(a, b Lock) bool { return reflect.DeepEqual(a.Trees, b.Trees) && a.Suite == b.Suite }

// complete adds what only the packages and building tell: the clock, the
// accounts that maintainer scripts made, and the digest of Ignition. The stages
// stay in the cache.
func (b *builder) complete(ctx context.Context, lock, old Lock) (Lock, error) {
	lock.Ignition = ""
	group, ctx := errgroup.WithContext(ctx)
	digest, made := "", lock
	group.Go(func() (err error) {
		digest, err = b.ignitionDigest(ctx, lock)
		return err
	})
	if samePackages(old, lock) && old.Epoch > 0 {
		made.Epoch, made.Accounts = old.Epoch, old.Accounts // the same packages make the same
	} else {
		group.Go(func() (err error) {
			made, err = b.clockAndAccounts(ctx, lock)
			return err
		})
	}
	err := group.Wait()
	made.Ignition = digest
	return made, err
}

// ignitionDigest builds Ignition: what comes out is known only then.
func (b *builder) ignitionDigest(ctx context.Context, lock Lock) (string, error) {
	toolchain, err := goEnv(ctx, "GOVERSION")
	if err != nil {
		return "", err
	}
	unnamed := ignitionStage(lock, toolchain)
	program, err := b.ignition(ctx, lock, unnamed)
	if err != nil {
		return "", err
	}
	digest, err := fileDigest(filepath.Join(program, ignitionFile))
	if err != nil {
		return "", err
	}
	lock.Ignition = digest
	return digest, b.opts.Cache.alias("ignition", unnamed.key(), ignitionStage(lock, "").key())
}

// clockAndAccounts makes the base tree and looks.
func (b *builder) clockAndAccounts(ctx context.Context, lock Lock) (Lock, error) {
	if err := b.download(ctx, lock, TreeImage); err != nil {
		return Lock{}, err
	}
	var err error
	if lock.Epoch, err = newestPackage(b.opts.Cache.debs(), lock.Trees[TreeImage]); err != nil {
		return Lock{}, err
	}
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
	return lock, b.opts.Cache.alias("base", before.key(), baseStage(lock, lock.Accounts, b.modules).key())
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
