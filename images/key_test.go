package images

import (
	"fmt"
	"reflect"
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

func TestBaseKey(t *testing.T) {
	t.Parallel()
	type inputs struct {
		Suite    string
		Epoch    int64
		Packages []Package
		Accounts Accounts
	}
	lock := newLock()
	in := inputs{lock.Suite, lock.Epoch, lock.Trees[TreeImage], lock.Accounts}
	wantEveryKeyNew(t, in, func(in inputs) (string, error) {
		return baseKey(Lock{Suite: in.Suite, Epoch: in.Epoch, Trees: map[Tree][]Package{TreeImage: in.Packages}}, in.Accounts)
	})
}

func TestRootKey(t *testing.T) {
	t.Parallel()
	type inputs struct {
		Agent, Base, Tools, Ignition, Config, Compression string
		Epoch                                             int64
		Presets                                           []string
		Validators                                        []layers.Validator
		Taken                                             takenAway
		Share                                             map[string]string
	}
	in := inputs{
		"agent", "base", "tools", "ignition", "{}", FastCompression, 1794475820, []string{"a.service", "b.service"},
		[]layers.Validator{{Layer: "ssh", Argv: []string{"sshd", "-t"}, HostKey: "/var/k"}, {Layer: "nftables", Argv: []string{"nft"}}},
		takenAway{[]layers.SUID{{Layer: "admin", Path: "/usr/bin/sudo", Why: "w"}}, []layers.Removal{{Layer: "system", Pattern: "/usr/bin/dpkg*", Why: "w"}}},
		map[string]string{"sbom.cdx.json": "{}", DescriptionFile: "{}"},
	}
	wantEveryKeyNew(t, in, func(in inputs) (string, error) {
		b := &builder{opts: Options{Compression: in.Compression}}
		share := map[string][]byte{}
		for name, text := range in.Share {
			share[name] = []byte(text)
		}
		return b.rootKey(in.Agent, in.Config, in.Presets, in.Validators, in.Taken, share, Lock{Ignition: in.Ignition, Epoch: in.Epoch}, trees{baseKey: in.Base, toolsKey: in.Tools})
	})
}

func TestContentsKey(t *testing.T) {
	t.Parallel()
	type inputs struct {
		Agent, Base, Initrd, Ignition string
		Boot                          Package
	}
	boot := newPackage("grub-pc-bin")
	wantEveryKeyNew(t, inputs{"agent", "base", "initrd", "ignition", boot}, func(in inputs) (string, error) {
		in.Boot.Name = boot.Name // another name is no boot package
		if in.Boot == boot {
			in.Boot.Name = "grub-efi-amd64-bin"
		}
		return contentsKey(Lock{Ignition: in.Ignition, Trees: map[Tree][]Package{TreeTools: {in.Boot}}}, in.Agent, trees{baseKey: in.Base, initrdKey: in.Initrd})
	})
}

func TestDiskKey(t *testing.T) {
	t.Parallel()
	type inputs struct {
		RootHash            string
		Arguments           []string
		Slot, Epoch         int64
		Initrd, Base, Tools string
	}
	in := inputs{digits("a"), []string{"quiet", "panic=10"}, 512 * mib, 1794475820, "initrd", "base", "tools"}
	wantEveryKeyNew(t, in, func(in inputs) (string, error) {
		return diskKey(sealed{rootHash: in.RootHash, arguments: in.Arguments}, in.Slot, in.Epoch, in.Initrd, trees{baseKey: in.Base, toolsKey: in.Tools})
	})
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
