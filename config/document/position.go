package document

import (
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// Position is a place in a file. Both count from 1; columns count characters.
type Position struct{ Line, Column int }

// Find returns where path leads. Map keys are strings, list positions ints.
// When missing, the last element is a key that should be there and is not, and
// the position is that of its parent; the same when the path ends early.
func (d *Document) Find(path []any, missing bool) Position {
	if missing && len(path) > 0 {
		return d.walk(path[:len(path)-1]).head()
	}
	return d.walk(path).body()
}

// Key returns the position of the key, or of the list item, that path names.
func (d *Document) Key(path []any) Position { return d.walk(path).head() }

// place is a node and the key that led to it.
type place struct {
	key  ast.Node // nil for a list item and for the root
	node ast.Node
}

func (p place) head() Position {
	if p.key != nil {
		return start(p.key)
	}
	return start(p.node)
}

func (p place) body() Position {
	if p.key != nil && empty(p.node) {
		return start(p.key)
	}
	return start(p.node)
}

// walk follows path as far as it leads.
func (d *Document) walk(path []any) place {
	here := place{node: d.root}
	for _, step := range path {
		next, ok := child(here.node, step)
		if !ok {
			break
		}
		here = next
	}
	return here
}

func child(n ast.Node, step any) (place, bool) {
	switch step := step.(type) {
	case string:
		return childByKey(n, step)
	case int:
		if list, ok := n.(*ast.SequenceNode); ok && step >= 0 && step < len(list.Values) {
			return place{node: list.Values[step]}, true
		}
	}
	return place{}, false
}

// childByKey looks a key up in a mapping, or in a list of names where a bare
// name stands for a key without a value.
func childByKey(n ast.Node, key string) (place, bool) {
	for _, e := range entries(n) {
		if keyText(e.key) == key {
			return e, true
		}
	}
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		return place{}, false
	}
	for _, item := range list.Values {
		if text, ok := scalar(item); ok && text == key {
			return place{key: item}, true
		}
		if found, ok := childByKey(item, key); ok {
			return found, true
		}
	}
	return place{}, false
}

// entries returns the key and value pairs of a mapping, nil for anything else.
func entries(n ast.Node) []place {
	m, ok := n.(ast.MapNode)
	if !ok {
		return nil
	}
	var list []place
	for it := m.MapRange(); it.Next(); {
		list = append(list, place{key: it.Key(), node: it.Value()})
	}
	return list
}

func keyText(key ast.Node) string {
	if key == nil || key.GetToken() == nil {
		return ""
	}
	return key.GetToken().Value
}

// start returns where a node begins for a reader: at its first key or dash,
// not at the colon that the parser takes for a mapping's token.
func start(n ast.Node) Position {
	switch n := n.(type) {
	case nil:
		return Position{1, 1}
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return start(n.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return start(n.Key)
	}
	return position(n.GetToken())
}

func position(t *token.Token) Position {
	if t == nil || t.Position == nil {
		return Position{1, 1}
	}
	return Position{max(t.Position.Line, 1), max(t.Position.Column, 1)}
}

// empty reports a node without a value, as after "key:".
func empty(n ast.Node) bool {
	_, null := n.(*ast.NullNode)
	return n == nil || null
}
