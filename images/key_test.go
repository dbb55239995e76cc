package images

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"ingot/layers"
)

// mutants calls f with a copy of v for every single change of a string, a
// number, a flag or a length anywhere in it.
func mutants(v any, f func(where string, changed any)) {
	original := reflect.ValueOf(v)
	for n := 0; ; n++ {
		m := mutation{at: n}
		copied := m.copy(original, original.Type().Name())
		if m.where == "" {
			return
		}
		f(m.where, copied.Interface())
	}
}

// mutation copies a value deeply, changing its at-th leaf.
type mutation struct {
	at    int
	where string
}

func (m *mutation) leaf(where string) bool {
	m.at--
	if m.at == -1 {
		m.where = where
	}
	return m.at == -1
}

func (m *mutation) copy(v reflect.Value, where string) reflect.Value {
	c := reflect.New(v.Type()).Elem()
	switch v.Kind() {
	case reflect.Struct:
		c.Set(v)
		for i := range v.NumField() {
			if c.Field(i).CanSet() {
				c.Field(i).Set(m.copy(v.Field(i), where+"."+v.Type().Field(i).Name))
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			c.Set(reflect.Append(c, m.copy(v.Index(i), fmt.Sprintf("%s[%d]", where, i))))
		}
		if m.leaf(where + " longer by one") {
			c.Set(reflect.Append(c, reflect.Zero(v.Type().Elem())))
		}
	case reflect.Map:
		c.Set(reflect.MakeMap(v.Type()))
		for _, k := range v.MapKeys() {
			c.SetMapIndex(k, m.copy(v.MapIndex(k), fmt.Sprintf("%s[%v]", where, k)))
		}
	case reflect.String:
		c.Set(v)
		if m.leaf(where) {
			c.SetString(v.String() + "x")
		}
	case reflect.Int, reflect.Int64:
		c.Set(v)
		if m.leaf(where) {
			c.SetInt(v.Int() + 1)
		}
	case reflect.Bool:
		c.Set(v)
		if m.leaf(where) {
			c.SetBool(!v.Bool())
		}
	default:
		panic("a kind the keys do not hold yet: " + v.Kind().String())
	}
	return c
}

// wantEveryKeyNew wants key to differ for every mutant of v, from the original
// and from each other.
func wantEveryKeyNew[T any](t *testing.T, v T, key func(T) (string, error)) {
	t.Helper()
	first, err := key(v)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := key(v); err != nil || again != first {
		t.Fatalf("the key of equal inputs differs: %s and %s (%v)", first, again, err)
	}
	seen := map[string]string{first: "nothing changed"}
	mutants(v, func(where string, changed any) {
		k, err := key(changed.(T))
		if err != nil {
			t.Fatal(err)
		}
		if same, ok := seen[k]; ok {
			t.Errorf("%s has the key of %s", where, same)
		}
		seen[k] = where
	})
	if len(seen) < 5 {
		t.Errorf("only %d mutants", len(seen)-1)
	}
}

// content is what decides a package's bytes.
type content struct{ Name, Version, Arch, SHA256 string }

func packagesOf(list []content) []Package {
	var packages []Package
	for _, c := range list {
		p := newPackage("of no importance")
		p.Name, p.Version, p.Arch, p.SHA256 = c.Name, c.Version, c.Arch, c.SHA256
		packages = append(packages, p)
	}
	return packages
}

var twoPackages = []content{{"bash", "5", "amd64", digits("a")}, {"zsh", "6", "all", digits("b")}}

func TestBaseKey(t *testing.T) {
	t.Parallel()
	type inputs struct {
		Suite    string
		Epoch    int64
		Packages []content
		Accounts Accounts
		Modules  []string
	}
	in := inputs{"trixie", 1794475820, twoPackages, newLock().Accounts, []string{"xfs"}}
	wantEveryKeyNew(t, in, func(in inputs) (string, error) {
		return baseStage(Lock{Suite: in.Suite, Epoch: in.Epoch, Trees: map[Tree][]Package{TreeImage: packagesOf(in.Packages)}}, in.Accounts, in.Modules).key(), nil
	})
}

// Where a package comes from, and how a lock sorts them, is not what it holds.
func TestKeysAreOfContent(t *testing.T) {
	t.Parallel()
	lock := newLock()
	want := baseStage(lock, lock.Accounts, nil).key()
	packages := lock.Trees[TreeImage]
	slices.Reverse(packages)
	for i := range packages {
		p := &packages[i]
		p.Path, p.Source, p.SourceVersion = "debian/pool/elsewhere.deb", "other", "7"
	}
	lock.Mirror, lock.Requested = "http://mirror.example", nil
	if got := baseStage(lock, lock.Accounts, nil).key(); got != want {
		t.Error("the base has another key")
	}
}

func TestTreeKey(t *testing.T) {
	t.Parallel()
	wantEveryKeyNew(t, twoPackages, func(list []content) (string, error) {
		return treeStage(Lock{Trees: map[Tree][]Package{TreeTools: packagesOf(list)}}, TreeTools).key(), nil
	})
	seen := map[string]Tree{}
	for _, name := range []Tree{TreeTools, TreeCompiler, TreeInitrd, TreeAudit} {
		key := treeStage(Lock{}, name).key()
		if seen[key] != "" {
			t.Errorf("%s has the key of %s", name, seen[key])
		}
		seen[key] = name
	}
}

func TestIgnitionKey(t *testing.T) {
	t.Parallel()
	type inputs struct {
		Packages         []content
		Locked, Compiler string
	}
	wantEveryKeyNew(t, inputs{twoPackages, digits("c"), "go1.26.3"}, func(in inputs) (string, error) {
		return ignitionStage(Lock{Ignition: in.Locked, Trees: map[Tree][]Package{TreeCompiler: packagesOf(in.Packages)}}, in.Compiler).key(), nil
	})
}

// aPlan has something of everything that a root depends on.
func aPlan() layers.Plan {
	enabled := true
	return layers.Plan{
		Site: layers.Site{SlotBytes: 512 * mib},
		Image: layers.Fragment{
			Files:           []layers.File{{Path: "/etc/a", Mode: 0o644, Contents: "a"}, {Path: "/etc/b", Mode: 0o600, User: "root", Contents: strings.Repeat("b", 2*longestInput)}},
			Units:           []layers.Unit{{Name: "a.service", Enabled: &enabled, Contents: "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"}},
			KernelArguments: []string{"quiet", "panic=10"},
		},
		State:      []layers.State{{Path: "/var/lib/a"}},
		Validators: []layers.Validator{{Layer: "ssh", Argv: []string{"sshd", "-t"}, HostKey: "/var/k"}, {Layer: "nftables", Argv: []string{"nft"}}},
		SUID:       []layers.SUID{{Path: "/usr/bin/sudo"}},
		Removed:    []layers.Removal{{Pattern: "/usr/bin/dpkg*"}},
	}
}

func TestRootKey(t *testing.T) {
	t.Parallel()
	type inputs struct {
		Agent, Compression, Suite, Tool, Ignition, Contents, State, SUID, Removed string
		Epoch                                                                     int64
		Mode                                                                      int
		Disabled                                                                  bool
		Validators                                                                []layers.Validator
	}
	plan := aPlan()
	in := inputs{
		"agent", FastCompression, "trixie", "erofs", digits("c"), "a", "/var/lib/a", "/usr/bin/sudo", "/usr/bin/dpkg*",
		1794475820, 0o644, false, plan.Validators,
	}
	wantEveryKeyNew(t, in, func(in inputs) (string, error) {
		plan := aPlan()
		enabled := !in.Disabled
		plan.Image.Files[0].Contents, plan.Image.Files[0].Mode, plan.Image.Units[0].Enabled = in.Contents, in.Mode, &enabled
		plan.State[0].Path, plan.SUID[0].Path, plan.Removed[0].Pattern, plan.Validators = in.State, in.SUID, in.Removed, in.Validators
		lock := Lock{Suite: in.Suite, Epoch: in.Epoch, Ignition: in.Ignition, Trees: map[Tree][]Package{TreeTools: {newPackage(in.Tool)}}}
		r, err := newRecipe(plan, lock, facts{in.Agent, in.Compression})
		return r.root.key(), err
	})
}

func TestInitramfsKey(t *testing.T) {
	t.Parallel()
	type inputs struct {
		Agent, Suite, Tool, Ignition string
		Epoch                        int64
	}
	in := inputs{"agent", "trixie", "dracut", digits("c"), 1794475820}
	wantEveryKeyNew(t, in, func(in inputs) (string, error) {
		lock := Lock{Suite: in.Suite, Epoch: in.Epoch, Ignition: in.Ignition, Trees: map[Tree][]Package{TreeInitrd: {newPackage(in.Tool)}}}
		r, err := newRecipe(aPlan(), lock, facts{agent: in.Agent})
		return r.initramfs.key(), err
	})
}

func TestDiskKey(t *testing.T) {
	t.Parallel()
	type inputs struct {
		RootHash, Agent, Suite, Tool string
		Arguments                    []string
		Slot, Epoch                  int64
	}
	in := inputs{digits("a"), "agent", "trixie", "grub", []string{"quiet", "panic=10"}, 512 * mib, 1794475820}
	wantEveryKeyNew(t, in, func(in inputs) (string, error) {
		plan := aPlan()
		plan.Image.KernelArguments, plan.Site.SlotBytes = in.Arguments, in.Slot
		lock := Lock{Suite: in.Suite, Epoch: in.Epoch, Trees: map[Tree][]Package{TreeTools: {newPackage(in.Tool)}}}
		r, err := newRecipe(plan, lock, facts{agent: in.Agent})
		return r.diskStage(in.RootHash).key(), err
	})
	// The order of arguments counts: the last of two wins.
	r := recipe{arguments: []string{"a=1", "a=2"}, slot: 512 * mib}
	other := recipe{arguments: []string{"a=2", "a=1"}, slot: 512 * mib}
	if r.diskStage(digits("a")).key() == other.diskStage(digits("a")).key() {
		t.Error("the arguments in another order have the same key")
	}
}

// Two inputs of one name both count.
func TestInputsOfOneName(t *testing.T) {
	t.Parallel()
	keys := map[string]bool{}
	for _, values := range [][]string{{"a"}, {"b"}, {"a", "b"}, {"b", "a"}, {"a", "a"}, {"b", "b"}} {
		in := inputs{}
		for _, v := range values {
			in.add("x", v)
		}
		if len(in) != len(values) || keys[in.key("s")] {
			t.Errorf("%q give %v, which is taken", values, in)
		}
		keys[in.key("s")] = true
	}
}

// What this program itself does in a stage is an input of it.
func TestKeysCoverThisProgram(t *testing.T) {
	t.Parallel()
	r, err := newRecipe(aPlan(), newLock(), facts{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		stage   stageID
		scripts []string
		others  []string
	}{
		{r.base, []string{"tree", "base"}, nil},
		{r.tools, []string{"tree"}, nil},
		{r.compiler, []string{"tree"}, nil},
		{r.initrd, []string{"tree"}, nil},
		{r.ignition, []string{"ignition"}, []string{"Ignition's version", "Ignition's go.mod and go.sum", "linker flags", "stage compiler"}},
		{r.initramfs, []string{"initrd"}, []string{"dracut module's module-setup.sh", "stage base", "stage initrd"}},
		{r.root, []string{"seal"}, []string{wholeConfig, "presets", "unit a.service", "file /etc/b", "stage base", "stage tools"}},
		{r.diskStage(digits("a")), nil, []string{"Ingot's own steps", wholeBoot, "kernel argument quiet", "stage tools", "stage boot", "stage base", "stage initramfs"}},
	} {
		if tc.scripts != nil {
			in := inputs{}
			in.addScripts(tc.scripts...)
			for name, want := range in {
				if tc.stage.inputs[name] != want {
					t.Errorf("%s has not the scripts %q among its inputs", tc.stage.name, tc.scripts)
				}
			}
		}
		for _, name := range tc.others {
			if tc.stage.inputs[name] == "" {
				t.Errorf("%s has no input %q", tc.stage.name, name)
			}
		}
	}
}

// The stages key on the text of the scripts they run.
func TestScriptDigests(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, name := range []string{"tree", "base", "ignition", "initrd", "seal", "remove"} {
		d := scriptDigest(name)
		if other, ok := seen[d]; ok {
			t.Errorf("%s and %s have one digest", name, other)
		}
		seen[d] = name
	}
	if scriptDigest("tree", "base") == scriptDigest("tree") {
		t.Error("the second script is not in the digest")
	}
}
