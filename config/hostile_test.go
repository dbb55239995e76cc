package config

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"ingot/layers"
	"ingot/layers/system"
)

const complete = "testdata/complete"

// completeTree is complete/ingot.yaml as plain maps and lists.
func completeTree(t *testing.T) map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(complete, FileName))
	if err != nil {
		t.Fatal(err)
	}
	tree := map[string]any{}
	if err := yaml.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestCompleteIsFine(t *testing.T) {
	t.Parallel()
	_, findings, err := Load(complete, system.Layer{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		t.Errorf("%d:%d: %s; %s", f.Line, f.Column, f.Message, f.Advice)
	}
}

// What is not in complete/ingot.yaml is not tried with hostile values.
func TestCompleteHasEveryOption(t *testing.T) {
	t.Parallel()
	for _, path := range lacking(reflect.TypeFor[ingotFile](), completeTree(t), "") {
		t.Errorf("%s is an option that %s/%s does not use; add it there", path, complete, FileName)
	}
}

// lacking returns the options of a type that a value does not have.
func lacking(of reflect.Type, value any, path string) []string {
	for of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	var list []string
	switch v := value.(type) {
	case map[string]any:
		if of.Kind() != reflect.Struct {
			return nil
		}
		for i := range of.NumField() {
			name, _, _ := strings.Cut(of.Field(i).Tag.Get("yaml"), ",")
			field, has := v[name]
			if !has {
				list = append(list, path+name)
				continue
			}
			list = append(list, lacking(of.Field(i).Type, field, path+name+".")...)
		}
	case []any:
		if of.Kind() != reflect.Slice {
			break
		}
		for i, item := range v { // some exclude each other: each item may have others
			lacks := lacking(of.Elem(), item, path)
			list = slices.DeleteFunc(list, func(option string) bool { return !slices.Contains(lacks, option) })
			if i == 0 {
				list = lacks
			}
		}
	}
	return list
}

// hostile are values that would mean something to the languages that options
// end up in: nft, sshd_config, sudoers, ini files, YAML, systemd units, shell.
var hostile = []string{
	"x\nINJECTED x", "x\rINJECTED", "x\x00INJECTED", "x\u2028INJECTED", "x\u0085INJECTED", "\x1b[2JINJECTED", "\u202eINJECTED",
	`x"INJECTED`, "x'INJECTED", `x\INJECTED`, "x;INJECTED", "x`INJECTED`", "$(INJECTED)", "${INJECTED}", "%INJECTED", "{{INJECTED}}",
	"x}INJECTED", "x#INJECTED", "#INJECTED", "../INJECTED", "x INJECTED", "x,INJECTED", "--INJECTED", "*INJECTED", "!INJECTED", "@INJECTED",
}

// Every text of the file, replaced by something hostile, is refused, or stays
// inside a comment or a quoted text of the one file that it goes to.
func TestHostileText(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("loads the file some thousand times")
	}
	places := texts(completeTree(t), nil)
	if len(places) < 8 {
		t.Fatalf("only %d texts in %s", len(places), complete)
	}
	accepted := 0
	for _, place := range places {
		for _, value := range hostile {
			plan, ok := loadWith(t, place, value)
			if !ok {
				continue
			}
			accepted++
			for _, where := range escaped(plan) {
				t.Errorf("%v: %q gets out: %s", place, value, where)
			}
		}
	}
	if accepted == 0 {
		t.Error("everything is refused: the test no longer sees what accepted values become")
	}
}

// texts returns the paths of all strings below a value.
func texts(value any, path []any) [][]any {
	at := func(step any) []any { return append(slices.Clone(path), step) }
	switch v := value.(type) {
	case string:
		return [][]any{path}
	case []any:
		var list [][]any
		for i, e := range v {
			list = append(list, texts(e, at(i))...)
		}
		return list
	case map[string]any:
		var list [][]any
		for k, e := range v {
			list = append(list, texts(e, at(k))...)
		}
		return list
	}
	return nil
}

// loadWith loads the complete file with one text replaced. It is false when
// that is refused.
func loadWith(t *testing.T, place []any, value string) (layers.Plan, bool) {
	t.Helper()
	tree := completeTree(t)
	replace(tree, place, value)
	var text bytes.Buffer
	if err := yaml.NewEncoder(&text).Encode(tree); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(complete)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	loaded, findings := decode(FileName, text.Bytes(), root, []layers.Layer{system.Layer{}})
	for _, f := range findings {
		if f.Advice == "" || f.Line == 0 {
			t.Errorf("%v: %q is refused without a place or advice: %+v", place, value, f)
		}
	}
	return loaded.Plan, len(findings) == 0
}

func replace(tree any, place []any, value string) {
	for _, step := range place[:len(place)-1] {
		switch v := tree.(type) {
		case map[string]any:
			tree = v[step.(string)]
		case []any:
			tree = v[step.(int)]
		}
	}
	switch v := tree.(type) {
	case map[string]any:
		v[place[len(place)-1].(string)] = value
	case []any:
		v[place[len(place)-1].(int)] = value
	}
}

var quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// escaped returns the lines of a plan's files and units in which a hostile
// text is more than a comment or quoted.
func escaped(plan layers.Plan) []string {
	contents := map[string]string{}
	for _, f := range []layers.Fragment{plan.Image, plan.Instance} {
		for _, v := range f.Files {
			contents[v.Path] = v.Contents
		}
		for _, u := range f.Units {
			contents[u.Name] = u.Contents
			for _, d := range u.Dropins {
				contents[u.Name+".d/"+d.Name] = d.Contents
			}
		}
	}
	var list []string
	for name, text := range contents {
		for line := range strings.Lines(text) {
			plain := quoted.ReplaceAllString(strings.TrimSpace(line), "")
			if strings.HasPrefix(name, "/etc/sysctl.d/") { // a value reaches to the end of its line
				plain, _, _ = strings.Cut(plain, "= ")
			}
			if strings.Contains(plain, "INJECTED") && !strings.HasPrefix(plain, "#") || strings.ContainsAny(line, "\r\x00\x1b\u2028\u0085\u202e") {
				list = append(list, fmt.Sprintf("%s: %q", name, line))
			}
		}
	}
	return list
}
