// Package docs holds no program: only the tests that keep these pages true.
package docs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ingot/layers"
	"ingot/layers/kernel"
	"ingot/layers/sysctl"
)

// option is what the structs say about one key of ingot.yaml.
type option struct{ instance, required bool }

// TestOptions compares the tables of configuration.md with the structs that
// the decoder fills.
func TestOptions(t *testing.T) {
	t.Parallel()
	documented := documentedOptions(t)
	want := map[string]option{}
	collect(t, "../config", "ingotFile", "", want)
	if len(want) < 20 {
		t.Fatalf("only %d options were found in the structs", len(want))
	}
	for _, path := range slices.Sorted(maps.Keys(want)) {
		switch got, ok := documented[path]; {
		case !ok:
			t.Errorf("%s is not in configuration.md", path)
		case got != want[path]:
			t.Errorf("configuration.md says %+v about %s, the struct %+v", got, path, want[path])
		}
		delete(documented, path)
	}
	for path := range documented {
		t.Errorf("configuration.md has %s, which is no option", path)
	}
}

// documentedOptions reads the rows | `path` | type | default | of | meaning |.
func documentedOptions(t *testing.T) map[string]option {
	found := map[string]option{}
	row := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([^|]*) \\|[^|]*\\| (image|instance) \\|")
	for _, m := range row.FindAllStringSubmatch(read(t, "configuration.md"), -1) {
		found[m[1]] = option{instance: m[3] == "instance", required: strings.Contains(m[2], "required")}
	}
	return found
}

// collect adds the fields of a struct, and of those in it, by their YAML path.
func collect(t *testing.T, dir, name, prefix string, into map[string]option) {
	for _, f := range fields(t, dir, name) {
		tag := reflect.StructTag(strings.Trim(f.Tag.Value, "`"))
		flags := strings.Split(tag.Get("ingot"), ",")
		path := prefix + tag.Get("yaml")
		o := option{instance: slices.Contains(flags, "instance"), required: slices.Contains(flags, "required")}
		if list, ok := f.Type.(*ast.ArrayType); ok {
			into[path] = o
			collectType(t, dir, list.Elt, path+"[]", into)
			continue
		}
		if !collectType(t, dir, f.Type, path, into) || slices.Contains(flags, "names") {
			into[path] = o
		}
	}
}

// collectType reports whether a type is a struct, whose fields it adds.
func collectType(t *testing.T, dir string, e ast.Expr, path string, into map[string]option) bool {
	if pointer, ok := e.(*ast.StarExpr); ok {
		e = pointer.X
	}
	name := fmt.Sprint(e)
	if selector, ok := e.(*ast.SelectorExpr); ok {
		dir, name = filepath.Join("../layers", fmt.Sprint(selector.X)), selector.Sel.Name
	}
	if fields(t, dir, name) == nil {
		return false
	}
	collect(t, dir, name, path+".", into)
	return true
}

// fields returns those of a struct in the package at dir, nil for other types.
func fields(t *testing.T, dir, name string) []*ast.Field {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no Go files in %s: %v", dir, err)
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			group, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, s := range group.Specs {
				if spec, ok := s.(*ast.TypeSpec); ok && spec.Name.Name == name {
					if structure, ok := spec.Type.(*ast.StructType); ok {
						return structure.Fields.List
					}
				}
			}
		}
	}
	return nil
}

// TestSysctlDefaults compares the list in configuration.md with the layer's.
func TestSysctlDefaults(t *testing.T) {
	t.Parallel()
	var got, want []string
	line := regexp.MustCompile(`(?m)^    ([a-z0-9_.]+ = .+)$`)
	for _, m := range line.FindAllStringSubmatch(read(t, "configuration.md"), -1) {
		got = append(got, m[1])
	}
	for _, c := range (sysctl.Layer{}).Contribute(layers.Site{}).Checks {
		if c.Sysctl != nil {
			want = append(want, c.Sysctl.Key+" = "+c.Sysctl.Value)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("configuration.md has\n%s\nthe layer has\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestKernelDefaults wants every argument and module in configuration.md.
func TestKernelDefaults(t *testing.T) {
	t.Parallel()
	_, section, _ := strings.Cut(read(t, "configuration.md"), "\n## layers.kernel\n")
	section, _, _ = strings.Cut(section, "\n## ")
	image := (kernel.Layer{}).Contribute(layers.Site{}).Image
	names := slices.Clone(image.KernelArguments)
	for _, m := range regexp.MustCompile(`(?m)^install (\S+) `).FindAllStringSubmatch(image.Files[0].Contents, -1) {
		names = append(names, m[1])
	}
	if len(names) < 100 {
		t.Fatalf("only %d names were found", len(names))
	}
	for _, name := range names {
		if !regexp.MustCompile(`(^|[ |])` + regexp.QuoteMeta(name) + `([ ,\n]|$)`).MatchString(section) {
			t.Errorf("%s is not in the section layers.kernel", name)
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
