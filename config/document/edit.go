package document

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// Field is a key and a value of an item that [Append] writes. The value is
// written as it is: the caller quotes what needs it.
type Field struct{ Key, Value string }

// ErrShape is the error of an edit that would have to write a part of the file
// anew, comments included.
var ErrShape = errors.New("the file is written in a way that cannot be edited line by line")

// Append returns data, the bytes that d was parsed from, with one more item in
// the list that path names. Nothing else changes, comments included. The list
// may be missing when its parent is a mapping. The caller has to read the
// result again: this is an edit of text.
func (d *Document) Append(data []byte, path []any, item []Field) ([]byte, error) {
	at, ok := d.exact(path)
	if list, isList := at.node.(*ast.SequenceNode); ok && isList {
		if list.IsFlowStyle {
			return d.appendInBrackets(data, list, item)
		}
		return d.appendBelow(data, list, item)
	}
	if ok && !empty(at.node) || len(path) == 0 {
		return nil, ErrShape
	}
	key, isText := path[len(path)-1].(string)
	if !isText {
		return nil, ErrShape
	}
	if ok { // "peers:" with nothing behind it
		return insertLine(data, start(at.key).Line, indent(start(at.key).Column+2)+"- "+Inline(item)), nil
	}
	return d.appendKey(data, path[:len(path)-1], key, item)
}

// Remove returns data without the item of the list that path names.
func (d *Document) Remove(data []byte, path []any, i int) ([]byte, error) {
	at, _ := d.exact(path)
	list, ok := at.node.(*ast.SequenceNode)
	if !ok || i < 0 || i >= len(list.Values) {
		return nil, ErrShape
	}
	if list.IsFlowStyle {
		return d.removeInBrackets(data, list, i)
	}
	if len(list.Entries) != len(list.Values) {
		return nil, ErrShape
	}
	first, last := list.Entries[i].Start.Position.Line, lastLine(list.Values[i])
	lines := strings.SplitAfter(string(data), "\n")
	if last > len(lines) || !strings.HasPrefix(strings.TrimSpace(lines[first-1]), "-") {
		return nil, ErrShape
	}
	return []byte(strings.Join(slices.Delete(lines, first-1, last), "")), nil
}

// exact is walk for paths that must lead to their end.
func (d *Document) exact(path []any) (place, bool) {
	here := place{node: d.root}
	for _, step := range path {
		next, ok := child(here.node, step)
		if !ok {
			return place{}, false
		}
		here = next
	}
	return here, true
}

// appendBelow adds an item after the last one, in that one's style.
func (d *Document) appendBelow(data []byte, list *ast.SequenceNode, item []Field) ([]byte, error) {
	if len(list.Values) == 0 || list.Start == nil {
		return nil, ErrShape
	}
	last := list.Values[len(list.Values)-1]
	column := list.Start.Position.Column
	text := indent(column) + "- " + Inline(item)
	if m, ok := last.(*ast.MappingNode); ok && !m.IsFlowStyle {
		text = indent(column) + "- " + below(item, column+2)
	}
	return insertLine(data, lastLine(last), text), nil
}

// appendInBrackets adds an item before the closing bracket.
func (d *Document) appendInBrackets(data []byte, list *ast.SequenceNode, item []Field) ([]byte, error) {
	end, ok := offset(data, list.End)
	if !ok || data[end] != ']' {
		return nil, ErrShape
	}
	at := len(strings.TrimRight(string(data[:end]), " \t\r\n"))
	comma := ", "
	switch data[at-1] {
	case '[':
		comma = ""
	case ',':
		comma = " "
	}
	return slices.Concat(data[:at], []byte(comma+Inline(item)), data[at:]), nil
}

// appendKey adds a list to a mapping that has none, before the mapping's first
// key; or below a key without a value.
func (d *Document) appendKey(data []byte, parent []any, key string, item []Field) ([]byte, error) {
	at, ok := d.exact(parent)
	if !ok {
		return nil, ErrShape
	}
	if m, isMap := at.node.(*ast.MappingNode); isMap && !m.IsFlowStyle && len(m.Values) > 0 {
		column := start(m).Column
		return insertLine(data, start(m).Line-1, indent(column)+key+":", indent(column+2)+"- "+Inline(item)), nil
	}
	if at.key != nil && empty(at.node) && position(at.key.GetToken().Next).Line == start(at.key).Line {
		column := start(at.key).Column + 2
		return insertLine(data, start(at.key).Line, indent(column)+key+":", indent(column+2)+"- "+Inline(item)), nil
	}
	return nil, ErrShape
}

// removeInBrackets takes an item and the comma that belongs to it.
func (d *Document) removeInBrackets(data []byte, list *ast.SequenceNode, i int) ([]byte, error) {
	m, ok := list.Values[i].(*ast.MappingNode)
	if !ok || !m.IsFlowStyle {
		return nil, ErrShape
	}
	from, ok1 := offset(data, m.Start)
	to, ok2 := offset(data, m.End)
	if !ok1 || !ok2 || data[to] != '}' {
		return nil, ErrShape
	}
	to++
	if rest := strings.TrimLeft(string(data[to:]), " \t\r\n"); strings.HasPrefix(rest, ",") {
		rest = strings.TrimLeft(rest[1:], " \t")
		return append(slices.Clone(data[:from]), rest...), nil
	}
	before := strings.TrimRight(string(data[:from]), " \t\r\n")
	return append([]byte(strings.TrimSuffix(before, ",")), data[to:]...), nil
}

// lastLine is the last line that a node's tokens are on.
func lastLine(n ast.Node) int {
	last := 0
	ast.Walk(visitor(func(n ast.Node) {
		var tokens []*token.Token
		switch n := n.(type) {
		case *ast.MappingNode:
			tokens = []*token.Token{n.Start, n.End}
		case *ast.SequenceNode:
			tokens = []*token.Token{n.Start, n.End}
		default:
			tokens = []*token.Token{n.GetToken()}
		}
		for _, t := range tokens {
			if t != nil && t.Position != nil {
				last = max(last, t.Position.Line+strings.Count(strings.TrimSpace(t.Origin), "\n"))
			}
		}
	}), n)
	return last
}

type visitor func(ast.Node)

func (v visitor) Visit(n ast.Node) ast.Visitor {
	if _, comment := n.(*ast.CommentGroupNode); !comment {
		v(n)
	}
	return v
}

// insertLine adds lines after the given one, counted from 1, with the file's
// ends of lines.
func insertLine(data []byte, after int, text ...string) []byte {
	lines := strings.SplitAfter(string(data), "\n")
	end := "\n"
	if strings.HasSuffix(lines[0], "\r\n") {
		end = "\r\n"
	}
	after = min(after, len(lines))
	if before := lines[after-1]; !strings.HasSuffix(before, "\n") { // the file's last
		lines[after-1] = before + end
	}
	added := strings.ReplaceAll(strings.Join(text, "\n")+"\n", "\n", end)
	return []byte(strings.Join(slices.Insert(lines, after, added), ""))
}

// offset is where a token is in data, in bytes.
func offset(data []byte, t *token.Token) (int, bool) {
	if t == nil || t.Position == nil {
		return 0, false
	}
	text := string(data)
	at := 0
	if strings.HasPrefix(text, byteOrderMark) {
		at = len(byteOrderMark)
	}
	for range t.Position.Line - 1 {
		i := strings.IndexByte(text[at:], '\n')
		if i < 0 {
			return 0, false
		}
		at += i + 1
	}
	for range t.Position.Column - 1 {
		_, size, ok := firstRune(text[at:])
		if !ok {
			return 0, false
		}
		at += size
	}
	return at, at < len(data)
}

func firstRune(s string) (rune, int, bool) {
	for i, r := range s {
		return r, len(string(r)), i == 0
	}
	return 0, 0, false
}

func indent(column int) string { return strings.Repeat(" ", column-1) }

// Inline writes an item in braces.
func Inline(item []Field) string {
	var parts []string
	for _, f := range item {
		parts = append(parts, fmt.Sprintf("%s: %s", f.Key, f.Value))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// below writes an item with a key a line; the first follows the dash.
func below(item []Field, column int) string {
	var parts []string
	for _, f := range item {
		parts = append(parts, fmt.Sprintf("%s: %s", f.Key, f.Value))
	}
	return strings.Join(parts, "\n"+indent(column))
}
