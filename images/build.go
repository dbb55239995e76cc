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
	"time"

	"ingot/fault"
	"ingot/layers"
)

// Options says where a build works and how it tells of its progress.
type Options struct {
	LockFile string // ingot.lock
	Out      string // directory of the outputs, made when missing
	Mirror   string // base URL of Debian's archives, empty is DefaultMirror
	Agent    string // the ingot-agent program that goes into the image
	Locked   bool   // refuse to make or change the lock
	Cache    Cache
	// Compression is mkfs.erofs' -z argument, empty is FastCompression.
	Compression string
	Log         io.Writer      // output of the programs, nil for none
	Progress    func(Progress) // nil for none
}

// Progress is one step of a running build.
type Progress struct {
	Stage     string
	Done      bool
	Cached    bool
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
	IgnitionSHA256 string        `json:"-"`
	Compression    string        `json:"-"`
	Stages         []StageResult `json:"stages"`
}

type builder struct {
	opts   Options
	ns     namespace
	stages []StageResult
}

// Build makes the image of plan.
func Build(ctx context.Context, plan layers.Plan, opts Options) (Result, error) {
	start := time.Now()
	b := &builder{opts: opts}
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

	// 1. What comes from outside.
	lock, err := b.lock(ctx, plan)
	if err != nil {
		return Result{}, err
	}
	// 2. The trees, and Ignition.
	set, err := b.prepare(ctx, lock)
	if err != nil {
		return Result{}, err
	}
	bill, err := b.bill(ctx, lock, set)
	if err != nil {
		return Result{}, err
	}
	// 3. The layers over the base, sealed.
	root, err := b.seal(ctx, plan, lock, set, bill)
	if err != nil {
		return Result{}, err
	}
	// 4. The disk.
	result, err := b.disk(ctx, plan, lock, set, root)
	if err != nil {
		return Result{}, err
	}
	if err := b.writeBill(bill); err != nil {
		return Result{}, err
	}
	result.Tools, result.Ignition, result.Kernel = set.tools.root, set.ignition, filepath.Join(set.base, "vmlinuz")
	result.IgnitionSHA256, result.Compression = lock.Ignition, b.compression()
	result.Seconds = time.Since(start).Seconds()
	result.Stages = b.stages
	return result, nil
}

// lockOutput waits for another build of the same folder.
func (b *builder) lockOutput(ctx context.Context) (func(), error) {
	quick, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	file := filepath.Join(b.opts.Out, ".lock")
	unlock, err := lockFile(quick, file)
	if errors.Is(err, context.DeadlineExceeded) {
		b.progress(Progress{Stage: "waiting for another build of this folder"})
		return lockFile(ctx, file)
	}
	return unlock, err
}

func (b *builder) progress(p Progress) {
	if b.opts.Progress != nil {
		b.opts.Progress(p)
	}
}

// stage runs or finds a stage and tells of it.
func (b *builder) stage(ctx context.Context, name, key string, make func(dir string) error) (string, error) {
	dir, result, err := b.opts.Cache.stage(ctx, name, key, func(dir string) error {
		b.progress(Progress{Stage: name})
		return make(dir)
	})
	if err != nil {
		return "", err
	}
	b.stages = append(b.stages, result)
	b.progress(Progress{Stage: name, Done: true, Cached: result.Cached, Seconds: result.Seconds})
	return dir, nil
}

// trees are the finished inputs of every image of one lock.
type trees struct {
	base     string // stage with tree/, vmlinuz, kernel-version, var-files, var-folders
	baseKey  string
	tools    tools
	toolsKey string
	ignition string // program

	initrd, initrdTree string // file, and the tree that it was made from
	initrdKey          string
}

// prepare makes everything that depends on the lock alone.
func (b *builder) prepare(ctx context.Context, lock Lock) (trees, error) {
	var t trees
	var err error
	if t.base, t.baseKey, err = b.base(ctx, lock); err != nil {
		return t, err
	}
	toolsDir, toolsKey, err := b.tree(ctx, lock, TreeTools)
	if err != nil {
		return t, err
	}
	t.tools, t.toolsKey = tools{filepath.Join(toolsDir, "tree")}, toolsKey
	compiler, _, err := b.tree(ctx, lock, TreeCompiler)
	if err != nil {
		return t, err
	}
	program, sum, err := b.buildIgnition(ctx, filepath.Join(compiler, "tree"), lock.Trees[TreeCompiler])
	if err != nil {
		return t, err
	}
	if lock.Ignition != "" && sum != lock.Ignition {
		return t, fault.Input(fmt.Errorf("the Ignition built here has SHA-256 %s and the lock names %s; the Go toolchain differs: use the locked one or run \"ingot lock\"", sum, lock.Ignition))
	}
	t.ignition = program
	return t, b.initrd(ctx, lock, &t, sum)
}

// tree installs the packages of one tree that is not shipped.
func (b *builder) tree(ctx context.Context, lock Lock, name Tree) (string, string, error) {
	variant := "essential"
	if name.extracted() {
		variant = "extract"
	}
	key, err := digest([]any{"tree", name, variant, lock.Trees[name], scriptDigest("tree")})
	if err != nil {
		return "", "", err
	}
	dir, err := b.stage(ctx, string(name), key, func(dir string) error {
		return b.install(ctx, lock, name, variant, Accounts{}, dir)
	})
	return dir, key, err
}

// install downloads a tree's packages and runs mmdebstrap on them.
func (b *builder) install(ctx context.Context, lock Lock, name Tree, variant string, accounts Accounts, dir string) error {
	packages := lock.Trees[name]
	if err := b.download(ctx, lock, name); err != nil {
		return err
	}
	repo, err := os.MkdirTemp(filepath.Join(b.opts.Cache.Dir, "tmp"), "repository-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(repo)
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
	return b.ns.run(ctx, script{Name: "tree", Log: b.opts.Log, Env: map[string]string{
		"OUT": dir, "REPO": repo, "SUITE": lock.Suite, "VARIANT": variant, "PACKAGES": strings.Join(names, ","),
		"ACCOUNTS": accountsDir, "SOURCE_DATE_EPOCH": fmt.Sprint(lock.Epoch),
		"TMPDIR": repo, // a killed mmdebstrap leaves its temporary files
	}})
}

// download fetches the packages of a tree that are not in the cache yet, from
// the mirror asked for now or that of the lock: the digests are the same.
func (b *builder) download(ctx context.Context, lock Lock, name Tree) error {
	return b.opts.Cache.debs().fetch(ctx, cmp.Or(b.opts.Mirror, lock.Mirror), lock.Trees[name], func(done, total int64) {
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

// baseKey depends on the accounts, too: they decide who owns what.
func baseKey(lock Lock, accounts Accounts) (string, error) {
	return digest([]any{"base", lock.Suite, lock.Epoch, lock.Trees[TreeImage], accounts, scriptDigest("tree", "base")})
}

// base installs the image's packages and removes what belongs to no machine.
func (b *builder) base(ctx context.Context, lock Lock) (string, string, error) {
	key, err := baseKey(lock, lock.Accounts)
	if err != nil {
		return "", "", err
	}
	dir, err := b.stage(ctx, "base", key, func(dir string) error {
		if err := b.install(ctx, lock, TreeImage, "essential", lock.Accounts, dir); err != nil {
			return err
		}
		return b.ns.run(ctx, script{Name: "base", Log: b.opts.Log, Env: map[string]string{
			"TREE": filepath.Join(dir, "tree"), "OUT": dir, "EPOCH": fmt.Sprint(lock.Epoch),
		}})
	})
	return dir, key, err
}

// initrd depends on the base's kernel, its own tree and our two programs.
func (b *builder) initrd(ctx context.Context, lock Lock, t *trees, ignitionSum string) error {
	tree, treeKey, err := b.tree(ctx, lock, TreeInitrd)
	if err != nil {
		return err
	}
	t.initrdTree = filepath.Join(tree, "tree")
	agent, err := fileDigest(b.opts.Agent)
	if err != nil {
		return fault.Machine(fmt.Errorf("the agent program is missing; run \"make\": %w", err))
	}
	t.initrdKey, err = digest([]any{"initrd", t.baseKey, treeKey, ignitionSum, agent, scriptDigest("initrd"), moduleFiles()})
	if err != nil {
		return err
	}
	version, err := os.ReadFile(filepath.Join(t.base, "kernel-version"))
	if err != nil {
		return err
	}
	dir, err := b.stage(ctx, "initramfs", t.initrdKey, func(dir string) error {
		module := filepath.Join(dir, "module")
		if err := writeModule(module); err != nil {
			return err
		}
		err := b.ns.run(ctx, script{Name: "initrd", Log: b.opts.Log, Env: map[string]string{
			"TREE": t.initrdTree, "BASE": filepath.Join(t.base, "tree"), "MODULE": module,
			"AGENT": b.opts.Agent, "IGNITION": t.ignition, "KERNEL": strings.TrimSpace(string(version)),
			"OUT": dir, "EPOCH": fmt.Sprint(lock.Epoch),
		}})
		if err != nil {
			return err
		}
		return os.RemoveAll(module)
	})
	t.initrd = filepath.Join(dir, "initrd")
	return err
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
	for _, names := range r {
		slices.Sort(names)
	}
	return r
}
