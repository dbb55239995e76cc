package config_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ingot/config"
	"ingot/layers"
	"ingot/layers/system"
)

// Everything in examples/ is what a reader starts from: it must be right.
func TestExamples(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../examples/*/" + config.FileName)
	if err != nil || len(files) < 2 {
		t.Fatalf("examples: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			t.Parallel()
			_, findings, err := config.Load(file, system.Layer{})
			if err != nil || len(findings) > 0 {
				t.Fatal(err, rendered(t, findings))
			}
		})
	}
}

// The web example's service is behind the tunnel, and checked.
func TestWebExample(t *testing.T) {
	t.Parallel()
	loaded, findings := load(t, "../examples/web")
	if len(findings) > 0 {
		t.Fatal(rendered(t, findings))
	}
	plan := loaded.Plan
	for _, p := range plan.Ports {
		if p.Layer == "custom/web" && (p.From != layers.FromWireGuard || p.Port != 8080) {
			t.Errorf("port %+v", p)
		}
	}
	ruleset := content(t, plan.Image, "/etc/nftables.conf")
	if _, internet, _ := strings.Cut(ruleset, "chain from_internet"); strings.Count(internet, "dport 8080") != 1 || !strings.Contains(internet[strings.Index(internet, "chain from_tunnel"):], "dport 8080") {
		t.Errorf("the ruleset does not open 8080 to the tunnel alone:\n%s", ruleset)
	}
	if !slices.Contains(plan.Packages, "busybox") {
		t.Errorf("packages %v", plan.Packages)
	}
	verbs := map[string]bool{}
	for _, c := range plan.Checks {
		if c.Layer != "custom/web" {
			continue
		}
		if c.Sabotage == "" || !strings.HasPrefix(c.ID, "web.") {
			t.Errorf("check %+v", c)
		}
		verbs["http"] = verbs["http"] || c.HTTP != nil
		verbs["reach"] = verbs["reach"] || c.Reach != nil
		verbs["unit"] = verbs["unit"] || c.Unit != nil
		verbs["file"] = verbs["file"] || c.File != nil
	}
	if len(verbs) != 4 || !verbs["http"] || !verbs["reach"] || !verbs["unit"] || !verbs["file"] {
		t.Errorf("verbs %v", verbs)
	}
	if !slices.ContainsFunc(plan.Validators, func(v layers.Validator) bool { return v.Layer == "custom/web" }) {
		t.Errorf("validators %+v", plan.Validators)
	}
}
