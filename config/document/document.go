// Package document reads one YAML file strictly and remembers where everything
// in it stands, so that every mistake can be shown at its line and column, all
// of them at once.
//
// Anchors, aliases, merge keys and tags are refused: the files are short, and
// without them a file means what it shows and cannot grow when it is read. Only
// [ParseShared] follows them.
package document

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
)

// Document is a parsed file. The zero value is an empty one.
type Document struct {
	file  string
	lines []string // the file's lines with secrets masked, for showing
	root  ast.Node // nil when there is nothing to decode
}

// Parse reads data as the content of file, which is only a name here. The
// document is never nil; when there are findings it holds nothing to decode.
func Parse(file string, data []byte) (*Document, []Finding) { return parse(file, data, false) }

func parse(file string, data []byte, shared bool) (*Document, []Finding) {
	d := &Document{file: file}
	text, problem := d.text(data)
	d.lines = strings.Split(maskFile(text), "\n")
	if problem != nil {
		return d, []Finding{*problem}
	}
	root, problem := d.parse(text, shared)
	if problem != nil {
		return d, []Finding{*problem}
	}
	d.root = root
	return d, nil
}

// parse turns text into the root node of its only document.
func (d *Document) parse(text string, shared bool) (root ast.Node, problem *Finding) {
	defer func() {
		// The parser is a foreign program fed by strangers: a file that
		// trips it is a broken file, not a broken Ingot.
		if recover() != nil {
			root, problem = nil, d.at(Position{1, 1}, "this is not YAML that can be read", adviceSyntax)
		}
	}()
	tokens := lexer.Tokenize(text)
	if problem := d.tokenLimits(tokens, shared); problem != nil {
		return nil, problem
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, d.syntaxError(err)
	}
	root, problem = d.single(file)
	if problem != nil || !shared {
		return root, problem
	}
	return d.expand(root)
}

// single returns the body of the one document that a file may hold.
func (d *Document) single(file *ast.File) (ast.Node, *Finding) {
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if body != nil {
			return nil, d.at(start(doc.Body), "a second YAML document begins here", "keep one document in the file and remove the --- line")
		}
		body = doc.Body
	}
	if body == nil {
		return nil, d.at(Position{1, 1}, "the file is empty", "see the examples folder for a complete file")
	}
	return body, nil
}

const adviceSyntax = "write mappings as key: value and lists as - item, indent with spaces, and put text with special characters in quotes"

func (d *Document) syntaxError(err error) *Finding {
	var syntax *yaml.SyntaxError
	if !errors.As(err, &syntax) || syntax.Token == nil || syntax.Token.Position == nil {
		return d.at(Position{1, 1}, "this is not YAML that can be read", adviceSyntax)
	}
	at := position(syntax.Token)
	advice := adviceSyntax
	if tab := d.tabIndent(at.Line); tab > 0 {
		at.Column, advice = tab, "YAML is indented with spaces; replace the tab"
	}
	return d.at(at, "cannot be read as YAML: "+syntax.Message, advice)
}

// tabIndent returns the column of a tab in the indentation of a line, or 0.
func (d *Document) tabIndent(line int) int {
	text := d.line(line)
	indent := text[:len(text)-len(strings.TrimLeft(text, " \t"))]
	return strings.IndexByte(indent, '\t') + 1
}

// line returns a line of the file, counted from 1, with secrets masked.
func (d *Document) line(n int) string {
	if n < 1 || n > len(d.lines) {
		return ""
	}
	return d.lines[n-1]
}

func (d *Document) at(p Position, message, advice string) *Finding {
	return &Finding{
		File: d.file, Line: p.Line, Column: p.Column, Source: d.line(p.Line),
		Message: mask(message), Advice: advice,
	}
}

func (d *Document) atf(p Position, advice, format string, args ...any) *Finding {
	return d.at(p, fmt.Sprintf(format, args...), advice)
}
