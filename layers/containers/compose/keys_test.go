package compose

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
)

// Every key that compose-go knows has a fate: a key of a later Compose is not
// dropped without anybody noticing.
func TestEveryKeyHasARule(t *testing.T) {
	t.Parallel()
	service := map[string]bool{}
	keysOf(reflect.TypeFor[types.ServiceConfig](), "", service)
	delete(service, "name") // compose-go's own
	rulesFit(t, service, serviceRules)

	project := map[string]bool{}
	for at, section := range sections {
		project[at] = true
		keysOf(section, at, project)
	}
	root := map[string]bool{}
	keysOf(reflect.TypeFor[types.Project](), "", root)
	for key := range root {
		if !strings.ContainsAny(key, ".[") {
			project[key] = true
		}
	}
	// Of a project's fields these are not of the file.
	for _, own := range []string{"working_dir", "workingdir", "composefiles", "environment", "disabledservices", "profiles"} {
		delete(project, own)
	}
	project["version"], project["include"] = true, true
	rulesFit(t, project, projectRules)
}

// rulesFit compares keys and rules in both directions.
func rulesFit(t *testing.T, keys map[string]bool, rules map[string]rule) {
	t.Helper()
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if _, ok := rules[key]; !ok && !decided(key, rules) {
			t.Errorf("the key %s has no rule: is it translated, left out or refused?", key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(rules)) {
		r := rules[key]
		if !keys[key] && !keys[strings.TrimSuffix(key, "[]")] {
			t.Errorf("there is a rule for %s, which Compose does not have", key)
		}
		if (r.fate == translated) != (r.text == "") {
			t.Errorf("the rule of %s says %q", key, r.text)
		}
	}
}

// decided reports whether a key around one is not translated, or is a list or a
// mapping of single values that is taken as a whole.
func decided(key string, rules map[string]rule) bool {
	for i := len(key) - 1; i > 0; i-- {
		if key[i] != '.' && key[i] != '[' {
			continue
		}
		if r, ok := rules[key[:i]]; ok && r.fate != translated {
			return true
		}
	}
	return false
}

// The check is one: a key that is nobody's is seen.
func TestKeyWithoutRuleIsSeen(t *testing.T) {
	t.Parallel()
	type later struct {
		Logging types.LoggingConfig `yaml:"logging"`
		Novelty map[string]struct {
			Inner string `yaml:"inner"`
		} `yaml:"novelty"`
	}
	keys := map[string]bool{}
	keysOf(reflect.TypeFor[later](), "", keys)
	for _, key := range []string{"novelty", "novelty.*", "novelty.*.inner", "logging.options.*"} {
		if !keys[key] {
			t.Errorf("%s is not found in %v", key, keys)
		}
	}
	if _, ok := serviceRules["novelty"]; ok || decided("novelty.*.inner", serviceRules) {
		t.Error("a novelty is decided")
	}
	if !decided("build.context", serviceRules) || decided("image", serviceRules) {
		t.Error("decided is wrong about build.context or image")
	}
}
