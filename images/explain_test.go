package images

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestDifferences(t *testing.T) {
	t.Parallel()
	plan := aPlan()
	plan.Owner = map[string]string{"file /etc/a": "nftables", "unit a.service": "custom/app"}
	build := func(change func(*Lock, *facts)) recipe {
		lock, f := newLock(), facts{agent: digits("a"), compression: FastCompression}
		change(&lock, &f)
		r, err := newRecipe(plan, lock, f)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	before := build(func(*Lock, *facts) {})
	upgraded := build(func(l *Lock, f *facts) {
		l.Epoch++
		p := l.Trees[TreeImage]
		p[0].Version, p[1].SHA256 = "2", digits("f")
		l.Trees[TreeImage] = append(p, newPackage("new"))
		f.agent, f.compression = digits("b"), SmallCompression
	})
	plan.Image.Files[0].Contents, plan.Image.Files[1].Mode, plan.Image.Units = "changed", 0o644, nil
	plan.Image.KernelArguments, plan.Site.SlotBytes = []string{"panic=10", "ia32_emulation=0"}, 1<<30
	edited := build(func(*Lock, *facts) {})
	plan = aPlan()
	plan.Image.KernelArguments = []string{"panic=10", "quiet"}
	turned := build(func(*Lock, *facts) {})
	for _, tc := range []struct {
		name        string
		before, now stageID
		want        []string
	}{
		{"nothing", before.root, before.root, nil},
		{"packages", before.base, upgraded.base, []string{
			"clock 1794475820 → 1794475821", "package bash 1:2.3~rc1-4+b1 → 2", "package new is new", "package zsh 1:2.3~rc1-4+b1 has other bytes",
		}},
		{"packages less", upgraded.base, before.base, []string{
			"clock 1794475821 → 1794475820", "package bash 2 → 1:2.3~rc1-4+b1", "package new is gone", "package zsh 1:2.3~rc1-4+b1 has other bytes",
		}},
		{"the agent and the base", before.root, upgraded.root, []string{
			"clock 1794475820 → 1794475821", "compression lz4 → zstd,level=12", "ingot-agent differs", "stage base differs",
		}},
		{"files", before.root, edited.root, []string{
			"layer nftables: file /etc/a differs", "file /etc/b differs", "presets differs", "layer custom/app: unit a.service is gone",
		}},
		{"the disk", before.diskStage(digits("a")), edited.diskStage(digits("b")), []string{
			"kernel argument ia32_emulation=0 is new", "kernel argument quiet is gone", "root hash differs", "slot size 536870912 → 1073741824",
		}},
		{"an order", before.diskStage(digits("a")), turned.diskStage(digits("a")), []string{"partitions and boot menu as a whole differs"}},
	} {
		owner := map[string]string{"file /etc/a": "nftables", "unit a.service": "custom/app"}
		if got := differences(tc.before.inputs, tc.now.inputs, owner); !slices.Equal(got, tc.want) {
			t.Errorf("%s:\n got %q\nwant %q", tc.name, got, tc.want)
		}
		if same := tc.before.key() == tc.now.key(); same != (len(tc.want) == 0) {
			t.Errorf("%s: the keys are the same: %t", tc.name, same)
		}
	}
}

// A folder remembers what its stages were made from.
func TestWhy(t *testing.T) {
	t.Parallel()
	cache, out := newCache(t), t.TempDir()
	build := func(value string) StageResult {
		last, err := cache.folder(out)
		if err != nil {
			t.Fatal(err)
		}
		b := &builder{opts: Options{Cache: cache, Explain: true}, last: last, now: map[string]inputs{}}
		in := inputs{}
		in.add("suite", value)
		if _, err := b.stage(t.Context(), stageID{"s", in}, put(value)); err != nil {
			t.Fatal(err)
		}
		if err := b.remember(); err != nil {
			t.Fatal(err)
		}
		return b.stages[0]
	}
	for i, tc := range []struct {
		value  string
		before func() error
		cached bool
		want   []string
	}{
		{"a", nil, false, []string{"first build of this folder"}},
		{"a", nil, true, nil},
		{"b", nil, false, []string{"suite a → b"}},
		{"a", nil, true, []string{"suite b → a"}},
		{"a", func() error {
			stages, _ := filepath.Glob(filepath.Join(cache.Dir, "stages", "s-*[0-9a-f]"))
			for _, s := range stages {
				if err := os.RemoveAll(s); err != nil {
					return err
				}
			}
			return nil
		}, false, []string{"it was not in the cache any more"}},
	} {
		if tc.before != nil {
			if err := tc.before(); err != nil {
				t.Fatal(err)
			}
		}
		if got := build(tc.value); got.Cached != tc.cached || !slices.Equal(got.Why, tc.want) {
			t.Errorf("build %d: %+v, want %t and %q", i, got, tc.cached, tc.want)
		}
	}
	b := &builder{last: folder{Stages: map[string]inputs{"s": {}}}}
	if got := b.why(stageID{"t", inputs{}}, false); !slices.Equal(got, []string{"no build of this folder needed it before"}) {
		t.Errorf("a stage that is new: %q", got)
	}
}
