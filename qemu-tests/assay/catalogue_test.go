package assay

import (
	"errors"
	"slices"
	"testing"

	"ingot/layers"
	"ingot/qemu-tests/verdict"
)

func TestChoose(t *testing.T) {
	t.Parallel()
	list := []check{
		{id: "a.one", layer: "a"}, {id: "a.two", layer: "a", stage: rebooted}, {id: "b.one", layer: "b"},
		{id: "depth.one", layer: "depth", stage: deep}, {id: "scenarios.one", layer: "scenarios", stage: scenarios}, {id: "scenarios.two", layer: "scenarios", stage: scenarios},
	}
	ids := func(list []check) (ids []string) {
		for _, c := range list {
			ids = append(ids, c.id)
		}
		return ids
	}
	standard := []string{"a.one", "a.two", "b.one"}
	for name, c := range map[string]struct {
		selection               Selection
		chosen, skipped, suites []string
	}{
		"nothing said":     {Selection{}, standard, nil, []string{"standard"}},
		"full":             {Selection{Suites: []string{verdict.Full}}, append(slices.Clone(standard), "scenarios.one", "scenarios.two"), nil, []string{"standard", "full"}},
		"required suite":   {Selection{Also: []string{verdict.Deep}}, append(slices.Clone(standard), "depth.one"), nil, []string{"standard", "depth"}},
		"required check":   {Selection{Also: []string{"scenarios.two", "a.one"}}, append(slices.Clone(standard), "scenarios.two"), nil, []string{"standard"}},
		"skip a layer":     {Selection{Skip: []string{"a"}}, []string{"b.one"}, []string{"a.one", "a.two"}, nil},
		"skip a pattern":   {Selection{Skip: []string{"*.one"}}, []string{"a.two"}, []string{"a.one", "b.one"}, nil},
		"only":             {Selection{Only: []string{"a.two"}}, []string{"a.two"}, []string{"a.one", "b.one"}, nil},
		"only and skip":    {Selection{Only: []string{"a"}, Skip: []string{"a.one"}}, []string{"a.two"}, []string{"a.one", "b.one"}, nil},
		"only a scenario":  {Selection{Only: []string{"scenarios.one"}}, []string{"scenarios.one"}, standard, nil},
		"skipped scenario": {Selection{Suites: []string{verdict.Full}, Skip: []string{"scenarios.one"}}, append(slices.Clone(standard), "scenarios.two"), []string{"scenarios.one"}, []string{"standard"}},
	} {
		made, err := c.selection.choose(list)
		if err != nil || !slices.Equal(ids(made.chosen), c.chosen) || !slices.Equal(ids(made.skipped), c.skipped) || !slices.Equal(made.suites, c.suites) {
			t.Errorf("%s: chosen %v, skipped %v, suites %v, %v", name, ids(made.chosen), ids(made.skipped), made.suites, err)
		}
	}
	for _, s := range []Selection{{Only: []string{"c"}}, {Skip: []string{"a.o"}}, {Also: []string{"z*"}}, {Only: []string{"[a"}}} {
		if _, err := s.choose(list); !errors.As(err, new(UnknownCheckError)) {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

// Names are unique, and the checks of a layer stand together.
func TestCatalogue(t *testing.T) {
	t.Parallel()
	plan := layers.Plan{Checks: []layers.Check{{ID: "x.one", Layer: "x"}, {ID: "system.one", Layer: "system"}}}
	seen, layer, done := map[string]bool{}, "", map[string]bool{}
	for _, c := range catalogue(plan) {
		if seen[c.id] {
			t.Errorf("%s is there twice", c.id)
		}
		seen[c.id] = true
		if c.layer != layer {
			if done[c.layer] {
				t.Errorf("%s: the checks of its layer are apart", c.id)
			}
			layer = c.layer
			done[layer] = true
		}
	}
	if !seen["x.one"] || !seen["system.one"] || !seen["internet.tcp-ipv4"] || !seen["scenarios.flood"] {
		t.Errorf("not all is there: %v", seen)
	}
}
