package images

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ingot/ignition"
	"ingot/ignition/source"
	"ingot/images/sbom"
	"ingot/layers"
)

// inputs are all that decides what a stage holds, each under a name that people
// know. Their digest is the stage's key; when a key changes, "ingot build
// --explain" says which of them differ.
type inputs map[string]string

// longestInput is how much of an input is kept as it is; of a longer one, its
// SHA-256. A package is kept with its version.
const longestInput = 100

// add takes an input as JSON. A name that is taken gets a mark: two inputs of
// one name must not hide each other.
func (in inputs) add(name string, value any) {
	b, err := json.Marshal(value)
	if err != nil {
		panic(err) // plain data only
	}
	text := string(b)
	if len(text) > longestInput && !strings.HasPrefix(name, packageInput) {
		sum := sha256.Sum256(b)
		text = "sha256:" + hex.EncodeToString(sum[:])
	}
	for in[name] != "" {
		name += "'"
	}
	in[name] = text
}

// addPackages takes what decides a package's content, and not where it comes
// from: the mirror's path and the name of the source may change.
func (in inputs) addPackages(packages []Package) {
	for _, p := range packages {
		in.add(packageInput+p.Name, fmt.Sprintf("%s %s %s", p.Version, p.Arch, p.SHA256))
	}
}

// packageInput begins the names of packages among the inputs.
const packageInput = "package "

// addScripts takes what Ingot itself does in a stage.
func (in inputs) addScripts(names ...string) { in.add("Ingot's own steps", scriptDigest(names...)) }

func (in inputs) key(stage string) string {
	b, err := json.Marshal([]any{stage, in}) // maps are sorted
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// stageID is a stage by its name and all of its inputs.
type stageID struct {
	name   string
	inputs inputs
}

func (s stageID) key() string { return s.inputs.key(s.name) }

// recipe is what an image is made of: a pure function of its plan, its lock and
// two facts about this build. The disk is apart: it depends on the root hash.
type recipe struct {
	base, tools, boot, compiler, ignition, initrd, initramfs, contents, store, root stageID

	lock      Lock
	slot      int64
	arguments []string // of the kernel
	images    []layers.ContainerImage
	config    string // SHA-256 of the image's Ignition config
	facts
}

// facts are the inputs that are neither in the plan nor in the lock.
type facts struct {
	agent       string // SHA-256 of ingot-agent
	compression string // mkfs.erofs' -z
}

func newRecipe(plan layers.Plan, lock Lock, f facts) (recipe, error) {
	config, err := ignition.Image(plan)
	if err != nil {
		return recipe{}, err
	}
	r := recipe{
		base: baseStage(lock, lock.Accounts, plan.Modules), tools: treeStage(lock, TreeTools), compiler: treeStage(lock, TreeCompiler),
		initrd: treeStage(lock, TreeInitrd), ignition: ignitionStage(lock, ""),
		lock: lock, slot: plan.Site.SlotBytes, arguments: plan.Image.KernelArguments, images: plan.Images,
		config: fmt.Sprintf("%x", sha256.Sum256(config.JSON)), facts: f,
	}
	r.boot = r.bootStage()
	r.initramfs = r.initramfsStage(f)
	r.store = r.storeStage()
	r.contents = r.contentsStage(f)
	r.root = r.rootStage(plan, config, f)
	return r, nil
}

// bootStage is what GRUB's modules become.
func (r recipe) bootStage() stageID {
	in := inputs{}
	in.add("stage tools", r.tools.key())
	in.add("Ingot's own steps", fmt.Sprintf("%q %q", grubImages, grubModules))
	return stageID{"boot", in}
}

// treeStage is a tree that is not shipped.
func treeStage(lock Lock, name Tree) stageID {
	in := inputs{}
	in.addPackages(lock.Trees[name])
	if name.ofContainer() {
		in.addScripts("extract")
	} else {
		in.addScripts("tree")
	}
	return stageID{string(name), in}
}

// baseStage depends on the accounts, too: they decide who owns what.
func baseStage(lock Lock, accounts Accounts, modules []string) stageID {
	in := inputs{}
	in.add("kernel modules", moduleList(modules))
	in.add("suite", lock.Suite)
	in.add("clock", lock.Epoch)
	in.add("accounts", accounts)
	in.addPackages(lock.Trees[TreeImage])
	in.addScripts("tree", "base")
	return stageID{"base", in}
}

// ignitionStage depends on the toolchain only where the lock does not know what
// comes out.
func ignitionStage(lock Lock, toolchain string) stageID {
	in := inputs{}
	in.add(lockedDigest, lock.Ignition)
	in.add("Go toolchain", toolchain)
	in.add("Ignition's version", source.Version())
	in.add("Ignition's go.mod and go.sum", source.GoMod+source.GoSum)
	in.add("stage compiler", treeStage(lock, TreeCompiler).key())
	in.add("linker flags", ignitionFlags())
	in.addScripts("ignition")
	return stageID{"ignition", in}
}

// lockedDigest is the input of Ignition's stage that says what it must hold.
const lockedDigest = "digest in the lock"

// initramfsStage depends on the base's kernel, its own tree and our two programs.
func (r recipe) initramfsStage(f facts) stageID {
	in := inputs{}
	in.add("stage base", r.base.key())
	in.add("stage initrd", r.initrd.key())
	in.add("Ignition", r.lock.Ignition)
	in.add("ingot-agent", f.agent)
	in.add("clock", r.lock.Epoch)
	in.addScripts("initrd")
	for name, content := range moduleFiles() {
		in.add("dracut module's "+name, content)
	}
	return stageID{"initramfs", in}
}

// contentsStage depends on the packages and on what our programs were linked from.
func (r recipe) contentsStage(f facts) stageID {
	in := inputs{}
	in.add("stage base", r.base.key())
	in.add("stage initramfs", r.initramfs.key())
	in.add("Ignition", r.lock.Ignition)
	in.add("ingot-agent", f.agent)
	in.addPackages(bootPackages(r.lock))
	if len(r.images) > 0 {
		in.add("stage store", r.store.key())
	}
	in.add("Ingot's own steps", billRules+sbom.Rules)
	return stageID{"contents", in}
}

// saying is the recipe with what the root says about itself.
func (r recipe) saying(share map[string][]byte) recipe {
	r.root.inputs = maps.Clone(r.root.inputs)
	for name, text := range share {
		r.root.inputs.add("what the image says in "+name, text)
	}
	return r
}

// rootStage is the layers over the base. The folders that packages have under
// /var, which the config names too, are the base's.
func (r recipe) rootStage(plan layers.Plan, config ignition.Config, f facts) stageID {
	in := inputs{}
	in.add("stage base", r.base.key())
	in.add("stage tools", r.tools.key())
	in.add("Ignition", r.lock.Ignition)
	in.add("ingot-agent", f.agent)
	in.add("clock", r.lock.Epoch)
	in.add("compression", f.compression)
	in.addScripts("seal")
	in.add(wholeConfig, string(config.JSON))
	in.addConfig(config.JSON)
	in.add("presets", presets(plan))
	for i, v := range plan.Validators {
		in.add(fmt.Sprintf("validator %d, %s", i, strings.Join(v.Argv, " ")), v)
	}
	if len(plan.Images) > 0 {
		in.add("stage store", r.store.key())
	}
	suid, removed := takenAway{plan.SUID, plan.Removed}.lists()
	in.add("files with a set-ID bit", string(suid))
	in.add("files that are removed", string(removed))
	var state []string
	for _, s := range plan.State {
		state = append(state, s.Path)
	}
	in.add("state folders", state)
	return stageID{"root", in}
}

// presets are the units that presets are for, those to enable first.
func presets(plan layers.Plan) []string {
	enable, disable := ignition.PresetUnits(plan)
	return slices.Concat(enable, disable)
}

// wholeConfig is an input that says no more than the ones of its parts.
const wholeConfig = "the configuration as a whole"

// addConfig takes an Ignition config by its parts, under the names that a plan
// has for them.
func (in inputs) addConfig(config []byte) {
	type part struct{ Path, Name string }
	var sections map[string]map[string]json.RawMessage
	if json.Unmarshal(config, &sections) != nil {
		return
	}
	for section, kinds := range map[string]map[string]string{
		"storage": {"files": "file ", "directories": "directory ", "links": "file "},
		"systemd": {"units": "unit "},
		"passwd":  {"users": "user ", "groups": "group "},
	} {
		for list, kind := range kinds {
			var parts []json.RawMessage
			if json.Unmarshal(sections[section][list], &parts) != nil {
				continue
			}
			for _, raw := range parts {
				var p part
				if json.Unmarshal(raw, &p) == nil {
					in.add(kind+p.Path+p.Name, raw)
				}
			}
		}
	}
}

const diskName = "disk"

// diskStage covers what this program itself writes, too: another version of it
// must not find this one's disk.
func (r recipe) diskStage(rootHash string) stageID {
	in := inputs{}
	in.add("root hash", rootHash)
	in.add("slot size", r.slot)
	in.add("clock", r.lock.Epoch)
	in.add("stage initramfs", r.initramfs.key())
	in.add("stage base", r.base.key())
	in.add("stage tools", r.tools.key())
	in.add("stage boot", r.boot.key())
	for _, argument := range r.arguments {
		in.add("kernel argument "+argument, argument)
	}
	in.add("Ingot's own steps", fmt.Sprintf("%q", espFiles(bootCode{}, "", nil, nil, nil)))
	in.add(wholeBoot, []any{newLayout(rootHash, r.slot, 0).table, string(slotCfg(rootHash, r.arguments))})
	return stageID{diskName, in}
}

// wholeBoot is an input that says no more than the others of a disk.
const wholeBoot = "partitions and boot menu as a whole"
