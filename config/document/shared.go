package document

import (
	"slices"

	"github.com/goccy/go-yaml/ast"
)

// maxExpanded is how many nodes a file may have once its aliases are followed.
// The largest compose files have some thousands.
const maxExpanded = 50_000

// ParseShared is [Parse] for files in a format whose users are used to anchors
// (&name), aliases (*name) and merge keys (<<): those are followed, and what
// they stand for has the position where it is written. A file that grows beyond
// reason by them is refused.
func ParseShared(file string, data []byte) (*Document, []Finding) {
	return parse(file, data, true)
}

// expand replaces aliases and merge keys with what they stand for. Nodes are
// shared, so that this takes no more memory than the file does.
func (d *Document) expand(root ast.Node) (ast.Node, *Finding) {
	e := expander{doc: d, anchors: map[string]ast.Node{}, sizes: map[ast.Node]int{}}
	root = e.node(root)
	if e.problem == nil && e.size(root) > maxExpanded {
		e.refuse(root, "the file grows beyond reason when its aliases are followed", "write the values out where they are used")
	}
	return root, e.problem
}

type expander struct {
	doc     *Document
	anchors map[string]ast.Node
	sizes   map[ast.Node]int
	merged  int // entries that merge keys brought
	problem *Finding
}

func (e *expander) refuse(n ast.Node, message, advice string) {
	if e.problem == nil {
		e.problem = e.doc.at(start(n), message, advice)
	}
}

func (e *expander) node(n ast.Node) ast.Node {
	switch n := n.(type) {
	case *ast.AnchorNode:
		// The name is known only behind its value: an anchor cannot hold itself.
		value := e.node(n.Value)
		e.anchors[n.Name.GetToken().Value] = value
		return value
	case *ast.AliasNode:
		value, known := e.anchors[n.Value.GetToken().Value]
		if !known {
			e.refuse(n, "there is no anchor &"+n.Value.GetToken().Value+" before this alias", "define the anchor above, or write the value out")
			return ast.Null(n.GetToken())
		}
		return value
	case *ast.MappingNode:
		e.mapping(n)
	case *ast.MappingValueNode:
		// A mapping of one entry, which a merge may make longer.
		m := ast.Mapping(n.Start, false, n)
		e.mapping(m)
		return m
	case *ast.SequenceNode:
		for i := range n.Values {
			n.Values[i] = e.node(n.Values[i])
		}
	}
	return n
}

func (e *expander) mapping(m *ast.MappingNode) {
	var own, merged []*ast.MappingValueNode
	for _, v := range m.Values {
		v.Value = e.node(v.Value)
		if _, merge := v.Key.(*ast.MergeKeyNode); !merge {
			own = append(own, v)
			continue
		}
		sources := []ast.Node{v.Value}
		if list, ok := v.Value.(*ast.SequenceNode); ok {
			sources = list.Values
		}
		for _, s := range sources {
			from, ok := s.(*ast.MappingNode)
			if !ok {
				e.refuse(v.Key, "only a mapping can be merged here", "write <<: *name with the anchor of a mapping")
				continue
			}
			if e.merged += len(from.Values); e.merged > maxExpanded {
				e.refuse(v.Key, "the file grows beyond reason when its merge keys are followed", "write the values out where they are used")
				return
			}
			merged = append(merged, from.Values...)
		}
	}
	keys := map[string]bool{}
	for _, v := range own {
		keys[keyText(v.Key)] = true
	}
	for _, v := range merged { // the first to name a key wins, YAML's merge key draft
		if key := keyText(v.Key); !keys[key] {
			keys[key] = true
			own = append(own, v)
		}
	}
	m.Values = own
}

// size counts nodes as if no two were shared, up to a bound.
func (e *expander) size(n ast.Node) int {
	if n == nil {
		return 0
	}
	if known, ok := e.sizes[n]; ok {
		return known
	}
	total := 1
	for _, c := range children(n) {
		total = min(total+e.size(c), maxExpanded+1)
	}
	e.sizes[n] = total
	return total
}

func children(n ast.Node) []ast.Node {
	var list []ast.Node
	for _, entry := range entries(n) {
		list = append(list, entry.node)
	}
	if s, ok := n.(*ast.SequenceNode); ok {
		list = append(list, s.Values...)
	}
	return list
}

// Walk visits everything below the node that path leads to, parents before
// their children, with the path from the root. A list item that is text is
// visited as itself. The visitor says whether to go on below.
func (d *Document) Walk(path []any, visit func(path []any) (below bool)) {
	at, ok := d.exact(path)
	if ok {
		walk(at.node, slices.Clone(path), visit)
	}
}

func walk(n ast.Node, path []any, visit func([]any) bool) {
	step := func(key any, node ast.Node) {
		here := append(slices.Clip(path), key)
		if visit(here) {
			walk(node, here, visit)
		}
	}
	for _, e := range entries(n) {
		step(keyText(e.key), e.node)
	}
	if list, ok := n.(*ast.SequenceNode); ok {
		for i, item := range list.Values {
			step(i, item)
		}
	}
}

// Has reports whether path leads to something.
func (d *Document) Has(path ...any) bool {
	_, ok := d.exact(path)
	return ok
}

// Text returns the single value that path leads to, as it was meant.
func (d *Document) Text(path ...any) (string, bool) {
	at, ok := d.exact(path)
	if !ok {
		return "", false
	}
	return scalar(at.node)
}

// Duplicates finds keys that a mapping has twice, for files that are not
// decoded into a struct.
func (d *Document) Duplicates() []Finding {
	var list []Finding
	seen := map[ast.Node]bool{}
	var look func(n ast.Node, path []any)
	look = func(n ast.Node, path []any) {
		if seen[n] || len(list) >= MaxFindings {
			return
		}
		seen[n] = true
		keys := map[string]bool{}
		for _, e := range entries(n) {
			key := keyText(e.key)
			here := append(slices.Clip(path), any(key))
			if keys[key] {
				f := *d.at(start(e.key), "the key "+quote(key)+" appears twice", "keep one of the two")
				f.Path = here
				list = append(list, f)
			}
			keys[key] = true
			look(e.node, here)
		}
		if s, ok := n.(*ast.SequenceNode); ok {
			for i, item := range s.Values {
				look(item, append(slices.Clip(path), any(i)))
			}
		}
	}
	look(d.root, nil)
	return list
}

// Value is the document as plain data: map[string]any, []any, string, int,
// float64, bool and nil.
func (d *Document) Value() any { return value(d.root) }

func value(n ast.Node) any {
	if _, ok := n.(ast.MapNode); ok {
		m := map[string]any{}
		for _, e := range entries(n) {
			m[keyText(e.key)] = value(e.node)
		}
		return m
	}
	switch n := n.(type) {
	case *ast.SequenceNode:
		list := make([]any, 0, len(n.Values))
		for _, item := range n.Values {
			list = append(list, value(item))
		}
		return list
	case *ast.IntegerNode:
		switch v := n.Value.(type) {
		case int64:
			return int(v)
		case uint64:
			if v < 1<<62 {
				return int(v)
			}
		}
		return n.Token.Value
	case *ast.FloatNode:
		return n.Value
	case *ast.BoolNode:
		return n.Value
	case *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value
	}
	if text, ok := scalar(n); ok {
		return text
	}
	return nil
}
