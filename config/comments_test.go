package config

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// comments reads the doc comments of this module's source.
type comments struct {
	t        *testing.T
	mutex    sync.Mutex
	packages map[string]*doc.Package
}

// of implements commentsOf. The options of a layer are explained by the
// package's comment.
func (c *comments) of(typ reflect.Type, field string) string {
	p := c.read(typ.PkgPath())
	if field == "" && typ.Name() == "Options" && strings.HasPrefix(typ.PkgPath(), "ingot/layers/") {
		return told("Package "+p.Name, text(p, p.Doc))
	}
	for _, t := range p.Types {
		if t.Name != typ.Name() {
			continue
		}
		if field == "" {
			return told(t.Name, text(p, t.Doc))
		}
		return c.field(p, t, field)
	}
	return ""
}

func (c *comments) field(p *doc.Package, t *doc.Type, name string) string {
	structure, ok := t.Decl.Specs[0].(*ast.TypeSpec).Type.(*ast.StructType)
	if !ok {
		return ""
	}
	for _, f := range structure.Fields.List {
		if len(f.Names) == 1 && f.Names[0].Name == name {
			return told(name, text(p, f.Doc.Text()))
		}
	}
	return ""
}

// told turns "Port is where sshd listens" into "Where sshd listens": readers
// know an option by its name in the file, which stands beside it.
func told(name, comment string) string {
	rest, ok := strings.CutPrefix(comment, name+" ")
	if !ok {
		return comment
	}
	for _, verb := range []string{"is ", "are "} {
		rest = strings.TrimPrefix(rest, verb)
	}
	return strings.ToUpper(rest[:1]) + rest[1:]
}

// text is a comment as paragraphs of one line each, links as plain words.
func text(p *doc.Package, comment string) string {
	comment = strings.TrimSpace(string(p.Text(comment)))
	var paragraphs []string
	for _, s := range regexp.MustCompile(`\n\n+`).Split(comment, -1) {
		paragraphs = append(paragraphs, strings.Join(strings.Fields(s), " "))
	}
	return strings.Join(paragraphs, "\n\n")
}

func (c *comments) read(pkgPath string) *doc.Package {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if p := c.packages[pkgPath]; p != nil {
		return p
	}
	dir := path.Join("..", strings.TrimPrefix(pkgPath, "ingot/"))
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(names) == 0 {
		c.t.Fatalf("no source of %s in %s: %v", pkgPath, dir, err)
	}
	set := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		source, err := os.ReadFile(name)
		if err != nil {
			c.t.Fatal(err)
		}
		f, err := parser.ParseFile(set, name, source, parser.ParseComments)
		if err != nil {
			c.t.Fatal(err)
		}
		files = append(files, f)
	}
	p, err := doc.NewFromFiles(set, files, pkgPath, doc.AllDecls)
	if err != nil {
		c.t.Fatal(err)
	}
	if c.packages == nil {
		c.packages = map[string]*doc.Package{}
	}
	c.packages[pkgPath] = p
	return p
}
