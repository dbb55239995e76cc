// Package images turns a Plan into a sealed, bootable disk image.
//
// The stages are those of the design, each cached by the hash of its inputs:
//
//	lock → packages → base tree → initrd → [tree + layers → EROFS → verity] → disk
package images

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"ingot/fault"
	"ingot/layers"
)

// Options says where a build works and how it tells of its progress.
type Options struct {
	LockFile string // ingot.lock
	Dir      string // the folder of ingot.yaml
	Out      string // directory of the outputs, made when missing
	// Mirrors are base URLs of Debian's archives (http, https, file), asked one
	// after the other and before that of the lock; a lock is made from the
	// first that can be read, DefaultMirror when there are none.
	Mirrors []string
	// Snapshot is the base URL of an archive like DefaultSnapshot, for packages
	// that have left the mirrors; empty for none.
	Snapshot string
	Keyring  string // the archives' keys, empty for Debian's own
	Agent    string // the ingot-agent program that goes into the image
	Locked   bool   // refuse to make or change the lock
	Explain  bool   // say of each stage what changed
	Cache    Cache
	// CacheBytes is what the cache is pruned to after a build that added to it;
	// 0 is Cache.MaxBytes, below it nothing is pruned.
	CacheBytes int64
	// Compression is mkfs.erofs' -z argument, empty is FastCompression.
	Compression string
	Sharing     Sharing
	Log         io.Writer      // output of the programs, nil for none
	Progress    func(Progress) // nil for none
	Remark      func(string)   // what goes wrong and does not matter, nil for none
}

// Progress is one step of a running build, in which stages are made side by side.
type Progress struct {
	Stage     string
	Step      string // what is done about the stage; empty when it begins or ends
	Done      bool
	Cached    bool
	From      string // the shared place that had the stage
	Seconds   float64
	Bytes, Of int64 // of a download
}

// FastCompression is for editing, SmallCompression for a release.
const (
	FastCompression  = "lz4"
	SmallCompression = "zstd,level=12"
)

// Result is a finished image.
type Result struct {
	Image     string  `json:"image"`  // path
	SHA256    string  `json:"sha256"` // of the image file
	RootHash  string  `json:"root_hash"`
	Bytes     int64   `json:"bytes"`      // size of the image
	DiskBytes int64   `json:"disk_bytes"` // what it takes, as it is sparse
	Seconds   float64 `json:"seconds"`
	Tools     string  `json:"-"` // tree with QEMU and its firmware
	Kernel    string  `json:"-"` // the image's kernel, a bzImage
	Ignition  string  `json:"-"` // the program that is in the image
	// IgnitionSHA256 is that of the program, Compression mkfs.erofs' argument.
	IgnitionSHA256 string            `json:"-"`
	Compression    string            `json:"-"`
	Digests        map[string]string `json:"-"` // of container images that are not made here, by name
	Stages         []StageResult     `json:"stages"`
}

type builder struct {
	opts    Options
	ns      namespace
	modules []string          // of the plan
	last    folder            // what is known of the last build
	owner   map[string]string // of inputs, the plan's

	mu     sync.Mutex // stages are made side by side
	stages []StageResult
	now    map[string]inputs // of this build's stages
	used   []used
	broken map[string]bool // places that do not work

	trying sync.Mutex
	tried  bool // that scripts can run here
}

// Build makes the image of plan.
func Build(ctx context.Context, plan layers.Plan, opts Options) (Result, error) {
	start := time.Now()
	b := &builder{opts: opts, modules: plan.Modules, now: map[string]inputs{}, owner: plan.Owner}
	if err := CheckHost(); err != nil {
		return Result{}, err
	}
	if err := checkArguments(plan); err != nil {
		return Result{}, err
	}
	if err := os.MkdirAll(opts.Out, 0o755); err != nil {
		return Result{}, err
	}
	unlock, err := b.lockOutput(ctx)
	if err != nil {
		return Result{}, err
	}
	defer unlock()
	if err := opts.Cache.sweep(); err != nil {
		b.remark("what a killed build left in the cache could not be deleted: %v", err)
	}
	if b.last, err = opts.Cache.folder(opts.Out); err != nil {
		return Result{}, err
	}

	// 1. What comes from outside.
	lock, err := b.lock(ctx, plan)
	if err != nil {
		return Result{}, err
	}
	if err := b.checkArchives(plan, lock); err != nil {
		return Result{}, err
	}
	plan = withoutKept(plan, lock.Trees[TreeImage])
	// 2. What each stage depends on, then the trees, and Ignition.
	recipe, err := b.recipe(plan, lock)
	if err != nil {
		return Result{}, err
	}
	set, err := b.prepare(ctx, recipe)
	if err != nil {
		return Result{}, err
	}
	bill, err := b.bill(ctx, recipe, set)
	if err != nil {
		return Result{}, err
	}
	share, err := recipe.share(plan, bill)
	if err != nil {
		return Result{}, err
	}
	store, err := b.store(ctx, plan, recipe)
	if err != nil {
		return Result{}, err
	}
	// 3. The layers over the base, sealed.
	recipe = recipe.saying(share)
	root, err := b.seal(ctx, plan, recipe, set, store, share)
	if err != nil {
		return Result{}, err
	}
	// 4. The disk.
	result, err := b.disk(ctx, recipe, set, root)
	if err != nil {
		return Result{}, err
	}
	if err := b.writeBill(bill); err != nil {
		return Result{}, err
	}
	result.Tools, result.Ignition, result.Kernel = set.tools.root, set.ignition, filepath.Join(set.base, "vmlinuz")
	result.IgnitionSHA256, result.Compression, result.Digests = lock.Ignition, recipe.compression, lock.digests()
	result.Seconds = time.Since(start).Seconds()
	result.Stages = b.stages
	if err := b.remember(); err != nil {
		b.remark("the next build will do more than it must: %v", err)
	}
	b.push(ctx, lock.Epoch)
	b.prune(ctx)
	return result, nil
}

// remember notes the inputs for the next build of the folder. Those of a stage
// that was not needed now stay.
func (b *builder) remember() error {
	stages := maps.Clone(b.last.Stages)
	if stages == nil {
		stages = map[string]inputs{}
	}
	maps.Copy(stages, b.now)
	b.last.Stages = stages
	return b.last.remember()
}

// prune keeps the cache from growing for ever. What goes has not been used for
// longest, and never what this build used.
func (b *builder) prune(ctx context.Context) {
	if b.opts.CacheBytes < 0 || !slices.ContainsFunc(b.stages, func(s StageResult) bool { return !s.Cached }) {
		return
	}
	pruned, err := b.opts.Cache.Prune(ctx, PruneOptions{MaxBytes: b.opts.CacheBytes})
	if err != nil && ctx.Err() == nil {
		b.remark("the cache could not be pruned: %v", err)
	}
	if len(pruned.Removed) > 0 {
		b.remark("removed %d MiB from the cache that were unused for longest; \"ingot cache\" shows what is left", pruned.Bytes/mib)
	}
}

func (b *builder) recipe(plan layers.Plan, lock Lock) (recipe, error) {
	agent, err := fileDigest(b.opts.Agent)
	if err != nil {
		return recipe{}, fault.Machine(fmt.Errorf("the agent program is missing; run \"make\": %w", err))
	}
	r, err := newRecipe(plan, lock, facts{agent: agent, compression: cmp.Or(b.opts.Compression, FastCompression)})
	return r, fault.Input(err)
}

// lockOutput waits for another build of the same folder.
func (b *builder) lockOutput(ctx context.Context) (func(), error) {
	quick, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	file := filepath.Join(b.opts.Out, ".lock")
	unlock, err := lockFile(quick, file)
	if errors.Is(err, context.DeadlineExceeded) {
		b.progress(Progress{Step: "waiting for another build of this folder"})
		return lockFile(ctx, file)
	}
	return unlock, err
}

func (b *builder) progress(p Progress) {
	if b.opts.Progress != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.opts.Progress(p)
	}
}

func (b *builder) remark(format string, arguments ...any) {
	if b.opts.Remark != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.opts.Remark(fmt.Sprintf(format, arguments...))
	}
}

// stage runs or finds a stage and tells of it.
func (b *builder) stage(ctx context.Context, s stageID, make func(dir string) error) (string, error) {
	from := ""
	dir, result, err := b.opts.Cache.stage(ctx, s.name, s.key(), func(dir string) error {
		var err error
		if from, err = b.pull(ctx, s, dir); from != "" || err != nil {
			return err
		}
		b.progress(Progress{Stage: s.name})
		return make(dir)
	})
	result.From = from
	if err == nil {
		err = ctx.Err() // not all that a stage does can be interrupted
	}
	if err != nil {
		return "", err
	}
	b.mu.Lock()
	b.used = append(b.used, used{s, dir})
	b.mu.Unlock()
	b.done(s, result)
	return dir, nil
}

// done tells of a step that is finished, the first time that it was needed.
func (b *builder) done(s stageID, result StageResult) {
	if b.opts.Explain {
		result.Why = b.why(s, result.Cached)
	}
	b.mu.Lock()
	if b.now != nil {
		b.now[s.name] = s.inputs
	}
	told := slices.ContainsFunc(b.stages, func(r StageResult) bool { return r.Name == s.name })
	if !told {
		b.stages = append(b.stages, result)
	}
	b.mu.Unlock()
	if told {
		return
	}
	b.progress(Progress{Stage: s.name, Done: true, Cached: result.Cached, From: result.From, Seconds: result.Seconds})
}

// trees are the finished inputs of every image of one lock.
type trees struct {
	base     string // stage with tree/, vmlinuz, kernel-version, var-files, var-folders
	tools    tools
	boot     bootCode
	ignition string // program
	initrd   string // file
}

// atOnce is how many stages are made side by side: installing packages keeps one
// processor busy and most of the time waits for a disk.
const atOnce = 2

// prepare makes everything that depends on the lock alone, and the initrd.
func (b *builder) prepare(ctx context.Context, r recipe) (trees, error) {
	var t trees
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	if b.opts.Cache.has(r.base, r.ignition, r.tools, r.boot, r.initramfs) {
		group.SetLimit(1) // one after the other, told in one order
	}
	base := sync.OnceValues(func() (string, error) { return b.base(ctx, r.lock, r.base) })
	ignition := sync.OnceValues(func() (string, error) {
		dir, err := b.ignition(ctx, r.lock, r.ignition)
		return filepath.Join(dir, ignitionFile), err
	})
	// In this order: what takes longest begins first.
	group.Go(func() (err error) {
		t.base, err = base()
		return err
	})
	group.Go(func() (err error) {
		t.ignition, err = ignition()
		return err
	})
	group.Go(func() error {
		dir, err := b.tree(ctx, r.lock, TreeTools)
		if err != nil {
			return err
		}
		t.tools = tools{filepath.Join(dir, "tree")}
		t.boot, err = b.bootCode(ctx, r, t.tools)
		return err
	})
	group.Go(func() (err error) {
		t.initrd, err = b.initrd(ctx, r, base, ignition)
		return err
	})
	// Not in the return: whether t is read before or after Wait is not said.
	err := group.Wait()
	return t, err
}

// tree installs the packages of one tree that is not shipped.
func (b *builder) tree(ctx context.Context, lock Lock, name Tree) (string, error) {
	return b.stage(ctx, treeStage(lock, name), func(dir string) error {
		if name.ofContainer() {
			return b.extract(ctx, lock, name, dir)
		}
		return b.install(ctx, lock, name, Accounts{}, dir)
	})
}

// install downloads a tree's packages and runs mmdebstrap on them.
func (b *builder) install(ctx context.Context, lock Lock, name Tree, accounts Accounts, dir string) error {
	// In an order of their own: that of the lock is no input.
	packages := slices.SortedFunc(slices.Values(lock.Trees[name]), func(a, b Package) int { return strings.Compare(a.Name, b.Name) })
	if err := b.ready(ctx); err != nil {
		return err
	}
	if err := b.download(ctx, lock, name); err != nil {
		return err
	}
	repo, done, err := b.opts.Cache.Scratch("repository-")
	if err != nil {
		return err
	}
	defer done()
	if err := repository(ctx, b.opts.Cache.debs(), repo, lock.Suite, packages); err != nil {
		return err
	}
	accountsDir, err := writeAccounts(repo, accounts)
	if err != nil {
		return err
	}
	names := make([]string, len(packages))
	for i, p := range packages {
		names[i] = p.Name
	}
	return b.run(ctx, script{Name: "tree", Log: b.opts.Log, Env: map[string]string{
		"OUT": dir, "REPO": repo, "SUITE": lock.Suite, "VARIANT": name.variant(), "PACKAGES": strings.Join(names, ","),
		"ACCOUNTS": accountsDir, "SOURCE_DATE_EPOCH": fmt.Sprint(lock.Epoch),
		"TMPDIR": repo, // a killed mmdebstrap leaves its temporary files
	}})
}

// extract downloads a container's packages and unpacks them.
func (b *builder) extract(ctx context.Context, lock Lock, name Tree, dir string) error {
	if err := b.ready(ctx); err != nil {
		return err
	}
	if err := b.download(ctx, lock, name); err != nil {
		return err
	}
	repo, done, err := b.opts.Cache.Scratch("repository-")
	if err != nil {
		return err
	}
	defer done()
	for _, p := range lock.Trees[name] {
		if err := link(b.opts.Cache.debs().path(p), filepath.Join(repo, p.SHA256+".deb")); err != nil {
			return err
		}
	}
	return b.run(ctx, script{Name: "extract", Log: b.opts.Log, Env: map[string]string{"OUT": dir, "REPO": repo}})
}

// download fetches the packages of a tree that are not in the cache yet.
func (b *builder) download(ctx context.Context, lock Lock, name Tree) error {
	return b.fetch(ctx, lock, lock.Trees[name])
}

func (b *builder) fetch(ctx context.Context, lock Lock, packages []Package) error {
	if err := b.opts.Cache.useDebs(ctx); err != nil {
		return err
	}
	return newFetcher(b.opts.Cache.debs(), b.opts.origins(lock)).fetch(ctx, packages, func(done, total int64) {
		b.progress(Progress{Stage: "packages", Bytes: done, Of: total})
	})
}

// writeAccounts lays out the locked passwd and group files, if there are any.
func writeAccounts(dir string, a Accounts) (string, error) {
	if len(a.Passwd) == 0 {
		return "", nil
	}
	dir = filepath.Join(dir, "accounts")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	for name, lines := range map[string][]string{"passwd": a.Passwd, "group": a.Group} {
		// The "x" for "look into the shadow file" would become the password
		// there when that file is made.
		content := strings.ReplaceAll(strings.Join(lines, "\n")+"\n", ":x:", ":*:")
		if err := writeShared(filepath.Join(dir, name), content); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// writeShared writes a file that a script copies into a tree with its mode,
// which must not depend on the user's umask.
func writeShared(file, content string) error {
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		return err
	}
	return os.Chmod(file, 0o644)
}

// base installs the image's packages and removes what belongs to no machine.
func (b *builder) base(ctx context.Context, lock Lock, s stageID) (string, error) {
	return b.stage(ctx, s, func(dir string) error {
		if err := b.install(ctx, lock, TreeImage, lock.Accounts, dir); err != nil {
			return err
		}
		return b.run(ctx, script{Name: "base", Log: b.opts.Log, Env: map[string]string{
			"TREE": filepath.Join(dir, "tree"), "OUT": dir, "EPOCH": fmt.Sprint(lock.Epoch), "MODULES": moduleList(b.modules),
		}})
	})
}

// initrd makes the initramfs in a tree of its own, which is needed for nothing else.
func (b *builder) initrd(ctx context.Context, r recipe, base, ignition func() (string, error)) (string, error) {
	dir, err := b.stage(ctx, r.initramfs, func(dir string) error {
		tree, err := b.tree(ctx, r.lock, TreeInitrd)
		if err != nil {
			return err
		}
		base, err := base()
		if err != nil {
			return err
		}
		ignition, err := ignition()
		if err != nil {
			return err
		}
		version, err := os.ReadFile(filepath.Join(base, "kernel-version"))
		if err != nil {
			return err
		}
		module := filepath.Join(dir, "module")
		if err := writeModule(module); err != nil {
			return err
		}
		err = b.run(ctx, script{Name: "initrd", Log: b.opts.Log, Env: map[string]string{
			"TREE": filepath.Join(tree, "tree"), "BASE": filepath.Join(base, "tree"), "MODULE": module,
			"AGENT": b.opts.Agent, "IGNITION": ignition, "KERNEL": strings.TrimSpace(string(version)),
			"OUT": dir, "EPOCH": fmt.Sprint(r.lock.Epoch),
		}})
		if err != nil {
			return err
		}
		return os.RemoveAll(module)
	})
	return filepath.Join(dir, "initrd"), err
}

// scriptDigest covers the scripts a stage runs.
func scriptDigest(names ...string) string {
	sum := sha256.New()
	for _, n := range append([]string{"lib"}, names...) {
		b, err := scripts.ReadFile("scripts/" + n + ".sh")
		if err != nil {
			panic(err) // embedded at compile time
		}
		sum.Write(b)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

func fileDigest(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// requested is what a plan asks of each tree, sorted.
func requested(plan layers.Plan) map[Tree][]string {
	r := maps.Clone(toolPackages())
	r[TreeImage] = slices.Clone(plan.Packages)
	for _, i := range plan.Images {
		if len(i.Packages) > 0 {
			r[treeOf(i)] = slices.Clone(i.Packages)
		}
	}
	for _, names := range r {
		slices.Sort(names)
	}
	return r
}
