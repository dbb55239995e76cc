package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"ingot/layers/system"
)

// updating is the flag of the other test package in this folder.
func updating() bool { return flag.Lookup("update").Value.String() == "true" }

func generated(t *testing.T, file string) (*schema, []byte) {
	t.Helper()
	c := &comments{t: t}
	s := newSchema(file, c.of)
	text, err := encode(s)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", "  "); err != nil {
		t.Fatal(err)
	}
	b.WriteByte('\n')
	return s, b.Bytes()
}

func TestSchemaIsCurrent(t *testing.T) {
	for _, file := range SchemaFiles() {
		_, want := generated(t, file)
		if updating() {
			if err := os.WriteFile(schemaName(file), want, 0o644); err != nil {
				t.Fatal(err)
			}
			continue // what is embedded is a run older
		}
		if !bytes.Equal(SchemaJSON(file), want) {
			t.Errorf("%s is not what the option types say now; go test ./config -update writes it", schemaName(file))
		}
	}
}

// An option without a doc comment is one that nobody can look up.
func TestEveryOptionIsDocumented(t *testing.T) {
	t.Parallel()
	for _, file := range SchemaFiles() {
		root, _ := generated(t, file)
		start := file
		if file == FileName {
			start = ""
		}
		walkSchema(root, root, start, func(path string, s *schema) {
			if s.Description == "" && path != start && !strings.HasSuffix(path, "[]") && !strings.HasSuffix(path, "*") {
				t.Errorf("%s has no doc comment", path)
			}
			delete(hintsLeft, path)
		})
	}
	for path := range hintsLeft {
		t.Errorf("hints.go has %s, which is no option", path)
	}
}

var hintsLeft = func() map[string]bool {
	left := map[string]bool{}
	for path := range hints {
		left[path] = true
	}
	return left
}()

// walkSchema visits every node by the path of its option.
func walkSchema(root, s *schema, path string, visit func(string, *schema)) {
	if len(s.AnyOf) > 0 {
		visit(path, s)
		s = root.Definitions["layers"]
	} else {
		visit(path, s)
	}
	for i := range s.Properties {
		p := &s.Properties[i]
		walkSchema(root, &p.schema, strings.TrimPrefix(path+"."+p.name, "."), visit)
	}
	if s.Items != nil {
		walkSchema(root, s.Items, path+"[]", visit)
	}
	if more, ok := s.Additional.(*schema); ok {
		walkSchema(root, more, path+".*", visit)
	}
}

func validator(t *testing.T, file string) *jsonschema.Schema {
	t.Helper()
	_, text := generated(t, file)
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(file, document); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fits asks a validator that is not ours about a file.
func fits(t *testing.T, s *jsonschema.Schema, text []byte) error {
	t.Helper()
	var tree any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(instance)
}

// What Ingot takes, an editor must not underline.
func TestSchemaTakesWhatIngotTakes(t *testing.T) {
	t.Parallel()
	s := validator(t, FileName)
	files, err := filepath.Glob("../examples/*/" + FileName)
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range append(files, filepath.Join(complete, FileName)) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, findings, err := Load(file, system.Layer{}); err != nil || len(findings) > 0 {
			t.Fatal(file, err, findings)
		}
		if err := fits(t, s, text); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	const head = "name: a\nadmin: {user: b, keys: [x]}\nlayers: "
	for _, layers := range []string{"[ssh, nftables]", "[ssh: {port: 22}, nftables, wireguard: {peers: [{name: a, address: b, publicKey: c8rjWkBU97aluuFEv5nHSQpHqLiXjG6ooLm7EOC0pAE=}]}]", "{ssh: , nftables: {allow: }}"} {
		if err := fits(t, s, []byte(head+layers+"\n")); err != nil {
			t.Errorf("%s: %v", layers, err)
		}
	}
}

// Mistakes that a schema can express, of the broken files.
func TestSchemaRefusesBrokenFiles(t *testing.T) {
	t.Parallel()
	s := validator(t, FileName)
	for _, name := range []string{
		"fail2ban-numbers", "fail2ban-misspelt", "fail2ban-types", "kernel-types", "kernel-unknown", "kernel-lockdown", "ssh-expose-lan", "sudo-relative", "wireguard-keepalive",
		"admin-password", "admin-user-shape", "admin-user-injection", "admin-user-long", "admin-keys-text", "allow-comment-key",
		"allow-list-of-numbers", "custom-mapping", "empty-key", "everything-missing", "hostname", "hostname-injection",
		"hostname-newline", "hostname-underscore", "layer-false", "layer-text", "layers-list-nested", "layers-list-number", "misspelt-layer",
		"misspelt-proto", "name-dotdot", "name-long", "name-newline", "name-quote", "newline-key", "on-off-text", "port-empty-why", "port-list",
		"port-negative", "port-range", "port-range-text", "port-without-why", "proto", "proto-injection", "slot-size-list", "slot-size-unit",
		"ssh-port-wireguard", "ssh-unknown-option", "suite", "sysctl-list", "unknown-key", "unknown-key-far", "unknown-layer", "why-backslash",
		"why-long", "why-newline", "why-null", "why-number", "why-quote", "wireguard-allowed-ips", "wireguard-key-length", "wireguard-key-newline",
		"wireguard-peer-misspelt", "wireguard-peer-names", "wireguard-peer-newline", "wireguard-peer-path", "wireguard-peers-mapping",
		"wireguard-port-range", "wireguard-port-text", "wrong-type-bool", "wrong-type-list", "wrong-type-mapping", "wrong-type-port", "yes-no",
		"base-mirrors", "base-mirrors-text", "test-keys-others", "test-keys-pem", "test-keys-private", "test-require", "test-max-age-7w", "test-shape", "test-unknown",
	} {
		text, err := os.ReadFile("testdata/broken/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		if err := fits(t, s, text); err == nil {
			t.Errorf("%s fits", name)
		}
	}
}

// The same for the files of a custom layer.
func TestCustomSchemas(t *testing.T) {
	t.Parallel()
	for file, broken := range map[string][]string{
		"layer.yaml":  {"manifest-missing", "manifest-types", "manifest-unknown", "manifest-values", "manifest-state"},
		"checks.yaml": {"checks-list", "checks-missing", "checks-types", "checks-values", "checks-verbs", "checks-packet", "checks-listeners", "checks-contradictions", "checks-shapes"},
	} {
		s := validator(t, file)
		text, err := os.ReadFile("../examples/web/layers/web/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if err := fits(t, s, text); err != nil {
			t.Errorf("%s of the example: %v", file, err)
		}
		for _, name := range broken {
			text, err := os.ReadFile("testdata/broken/custom/" + name + "/" + file)
			if err != nil {
				t.Fatal(err)
			}
			if err := fits(t, s, text); err == nil {
				t.Errorf("%s of %s fits", file, name)
			}
		}
	}
}

// A default in the schema is the layer's: writing it out changes nothing.
func TestDefaultsAreTheLayers(t *testing.T) {
	t.Parallel()
	want, problems := loadTree(t, sampleTree(t))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	root, _ := generated(t, FileName)
	tried := 0
	walkSchema(root, root, "", func(path string, s *schema) {
		if s.Default == nil || strings.Contains(path, "[]") || strings.Contains(path, "*") {
			return
		}
		tree := sampleTree(t)
		put(tree, strings.Split(path, "."), s.Default)
		got, problems := loadTree(t, tree)
		if len(problems) > 0 {
			t.Errorf("%s: %v: %v", path, s.Default, problems)
			return
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v makes another plan than leaving it out", path, s.Default)
		}
		tried++
	})
	if tried < 8 {
		t.Errorf("only %d defaults were tried", tried)
	}
}

// The bounds in the schema are the validators': one beyond is refused there too.
func TestBoundsAreTheValidators(t *testing.T) {
	t.Parallel()
	root, _ := generated(t, FileName)
	walkSchema(root, root, "", func(path string, s *schema) {
		var beyond []any
		if s.Minimum != nil {
			beyond = append(beyond, *s.Minimum-1, *s.Maximum+1)
		}
		if s.Enum != nil {
			beyond = append(beyond, "something else")
		}
		for _, value := range beyond {
			tree := completeTree(t)
			put(tree, strings.Split(path, "."), value)
			if _, problems := loadTree(t, tree); len(problems) == 0 {
				t.Errorf("the schema refuses %s: %v, and Ingot takes it", path, value)
			}
		}
	})
}

// put sets the option at a path; "x[]" is the first item of the list x.
func put(tree map[string]any, path []string, value any) {
	name, list := strings.CutSuffix(path[0], "[]")
	if len(path) == 1 {
		tree[name] = value
		return
	}
	if list {
		put(tree[name].([]any)[0].(map[string]any), path[1:], value)
		return
	}
	next, ok := tree[name].(map[string]any)
	if !ok {
		next = map[string]any{}
		tree[name] = next
	}
	put(next, path[1:], value)
}

func sampleTree(t *testing.T) map[string]any {
	t.Helper()
	tree := map[string]any{}
	if err := yaml.Unmarshal(sample(), &tree); err != nil {
		t.Fatal(err)
	}
	return tree
}

// loadTree loads a tree as if it were an ingot.yaml beside the complete one.
func loadTree(t *testing.T, tree map[string]any) (any, []string) {
	t.Helper()
	text, err := yaml.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(complete)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	loaded, findings := decode(FileName, text, root, nil)
	var problems []string
	for _, f := range findings {
		problems = append(problems, f.Message)
	}
	loaded.Plan.Owner, loaded.Layers = nil, nil
	return planData(t, loaded), slices.Compact(problems)
}

// planData drops what says where an option stands.
func planData(t *testing.T, loaded Loaded) any {
	t.Helper()
	text, err := json.Marshal(loaded.Plan)
	if err != nil {
		t.Fatal(err)
	}
	var data any
	if err := json.Unmarshal(text, &data); err != nil {
		t.Fatal(err)
	}
	return data
}
