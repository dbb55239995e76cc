package document

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// KeyAdviser is implemented by a struct that knows better than "unknown key"
// what somebody meant with a key it does not have.
type KeyAdviser interface {
	// KeyAdvice returns an empty message for a key it knows nothing about.
	KeyAdvice(key string) (message, advice string)
}

// ValueError is what UnmarshalText of an option type returns, so that the
// finding has an advice.
type ValueError struct{ Message, Advice string }

func (e ValueError) Error() string { return e.Message }

// Decode fills into, a pointer to a struct, and returns everything that does
// not fit. A field is named by its yaml tag; those tagged ingot:"required"
// must be there; a struct tagged ingot:"names" may also be given as a list of
// bare names. Fields may be string, int, bool, struct, slice, map with string
// keys, a pointer to one of these, or implement encoding.TextUnmarshaler.
func (d *Document) Decode(into any) []Finding {
	if d.root == nil {
		return nil
	}
	dec := decoder{doc: d}
	dec.value(reflect.ValueOf(into).Elem(), place{node: d.root}, nil)
	return dec.findings
}

type decoder struct {
	doc      *Document
	findings []Finding
}

// full ends the walk through a file that is hopeless: looking further would
// take time with the square of its size.
func (d *decoder) full() bool { return len(d.findings) >= MaxFindings }

func (d *decoder) report(path []any, p Position, message, advice string) {
	f := *d.doc.at(p, message, advice)
	f.Path = append([]any{}, path...) // the root's is empty, not nil
	d.findings = append(d.findings, f)
}

func (d *decoder) value(v reflect.Value, at place, path []any) {
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	if text, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		d.text(text, at, path)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structure(v, at, path)
	case reflect.Slice:
		d.list(v, at, path)
	case reflect.Map:
		d.table(v, at, path)
	default:
		d.scalar(v, at, path)
	}
}

func (d *decoder) structure(v reflect.Value, at place, path []any) {
	if empty(at.node) {
		d.missing(v, nil, at, path)
		return
	}
	if _, ok := at.node.(ast.MapNode); !ok {
		d.wrongType(at, path, "a mapping of key: value")
		return
	}
	seen, keys := map[string]bool{}, present(at.node)
	for _, e := range entries(at.node) {
		if d.full() {
			return
		}
		d.field(v, keys, e, path, seen)
	}
	d.missing(v, seen, at, path)
}

// present returns the keys of a mapping, or the names in a list of names.
func present(n ast.Node) map[string]bool {
	keys := map[string]bool{}
	for _, e := range entries(n) {
		keys[keyText(e.key)] = true
	}
	if list, ok := n.(*ast.SequenceNode); ok {
		for _, item := range list.Values {
			name, _ := scalar(item)
			keys[name] = true
		}
	}
	return keys
}

// field decodes one entry of a mapping into the struct's field of that name.
func (d *decoder) field(v reflect.Value, present map[string]bool, e place, path []any, seen map[string]bool) {
	key := keyText(e.key)
	here := append(slices.Clone(path), key)
	if seen[key] {
		d.report(here, start(e.key), fmt.Sprintf("the key %s appears twice", quote(key)), "keep one of the two")
		return
	}
	for i := range v.NumField() {
		name, flags := tags(v.Type().Field(i))
		if name != key {
			continue
		}
		seen[key] = true
		if _, isList := e.node.(*ast.SequenceNode); isList && flags["names"] {
			d.names(v.Field(i), e, here)
			return
		}
		d.value(v.Field(i), e, here)
		return
	}
	d.unknownKey(v, present, e, here)
}

func (d *decoder) unknownKey(v reflect.Value, present map[string]bool, e place, path []any) {
	key := keyText(e.key)
	if adviser, ok := v.Addr().Interface().(KeyAdviser); ok {
		if message, advice := adviser.KeyAdvice(key); message != "" {
			d.report(path, start(e.key), message, advice)
			return
		}
	}
	known := fieldNames(v.Type())
	// A key that is there already is not the one that was misspelt.
	likely := slices.DeleteFunc(slices.Clone(known), func(name string) bool { return present[name] })
	d.report(path, start(e.key), "unknown key "+quote(key), keyAdvice(key, likely, known))
}

func keyAdvice(key string, likely, known []string) string {
	if near := Nearest(key, likely); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	return "known here: " + strings.Join(known, ", ")
}

// names decodes a list of bare names, or of mappings with one key, into a
// struct: each name is a field that gets its defaults.
func (d *decoder) names(v reflect.Value, at place, path []any) {
	seen, keys := map[string]bool{}, present(at.node)
	for i, item := range at.node.(*ast.SequenceNode).Values {
		if d.full() {
			return
		}
		if name, ok := scalar(item); ok {
			_, isText := item.(*ast.StringNode)
			if !isText || name == "" {
				d.wrongType(place{node: item}, append(slices.Clone(path), i), "a name")
				continue
			}
			d.field(v, keys, place{key: item}, path, seen)
			continue
		}
		if _, ok := item.(ast.MapNode); !ok {
			d.wrongType(place{node: item}, append(slices.Clone(path), i), "a name")
			continue
		}
		for _, e := range entries(item) {
			d.field(v, keys, e, path, seen)
		}
	}
	d.missing(v, seen, at, path)
}

func (d *decoder) missing(v reflect.Value, seen map[string]bool, at place, path []any) {
	for i := range v.NumField() {
		name, flags := tags(v.Type().Field(i))
		if flags["required"] && !seen[name] {
			d.report(append(slices.Clone(path), name), at.head(),
				fmt.Sprintf("the key %q is missing", name), fmt.Sprintf("add %s:", name))
		}
	}
}

func (d *decoder) list(v reflect.Value, at place, path []any) {
	if empty(at.node) {
		return
	}
	list, ok := at.node.(*ast.SequenceNode)
	if !ok {
		d.wrongType(at, path, "a list")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(list.Values), len(list.Values)))
	for i, item := range list.Values {
		if d.full() {
			return
		}
		d.value(v.Index(i), place{node: item}, append(slices.Clone(path), i))
	}
}

func (d *decoder) table(v reflect.Value, at place, path []any) {
	if empty(at.node) {
		return
	}
	if _, ok := at.node.(ast.MapNode); !ok {
		d.wrongType(at, path, "a mapping of key: value")
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, e := range entries(at.node) {
		if d.full() {
			return
		}
		key := reflect.ValueOf(keyText(e.key))
		here := append(slices.Clone(path), keyText(e.key))
		if v.MapIndex(key).IsValid() {
			d.report(here, start(e.key), fmt.Sprintf("the key %s appears twice", quote(keyText(e.key))), "keep one of the two")
			continue
		}
		item := reflect.New(v.Type().Elem()).Elem()
		d.value(item, e, here)
		v.SetMapIndex(key, item)
	}
}

func (d *decoder) text(into encoding.TextUnmarshaler, at place, path []any) {
	raw, ok := scalar(at.node)
	if !ok {
		d.wrongType(at, path, "a single value")
		return
	}
	err := into.UnmarshalText([]byte(raw))
	var problem ValueError
	switch {
	case errors.As(err, &problem):
		d.report(path, at.body(), problem.Message, problem.Advice)
	case err != nil:
		d.report(path, at.body(), err.Error(), "correct the value")
	}
}

func (d *decoder) scalar(v reflect.Value, at place, path []any) {
	switch v.Kind() {
	case reflect.String:
		switch n := at.node.(type) {
		case *ast.StringNode, *ast.LiteralNode:
			text, _ := scalar(n)
			v.SetString(text)
		default:
			d.wrongType(at, path, "text")
		}
	case reflect.Int:
		d.integer(v, at, path)
	case reflect.Bool:
		if n, ok := at.node.(*ast.BoolNode); ok {
			v.SetBool(n.Value)
			return
		}
		d.wrongType(at, path, "true or false")
	default:
		panic("document: cannot decode into " + v.Type().String())
	}
}

func (d *decoder) integer(v reflect.Value, at place, path []any) {
	n, ok := at.node.(*ast.IntegerNode)
	if !ok {
		d.wrongType(at, path, "a whole number")
		return
	}
	digits := strings.TrimLeft(n.Token.Value, "+-")
	if len(digits) > 1 && digits[0] == '0' || strings.Contains(digits, "_") {
		// YAML reads 0443 as octal, 291, and 4_43 as 443: nobody means that.
		d.report(path, at.body(), fmt.Sprintf("%s is not written as a decimal number", quote(n.Token.Value)), "write it in decimal without a leading zero")
		return
	}
	switch value := n.Value.(type) {
	case int64:
		v.SetInt(value)
	case uint64:
		if value > 1<<62 {
			d.report(path, at.body(), "the number is too large", "write a smaller one")
			return
		}
		v.SetInt(int64(value))
	}
}

func (d *decoder) wrongType(at place, path []any, want string) {
	if empty(at.node) {
		d.report(path, at.body(), fmt.Sprintf("has no value, %s is expected", want), "give a value or remove the key")
		return
	}
	advice := "write " + want
	if _, text := scalar(at.node); text && want == "text" {
		advice = "put the value in quotes"
	}
	d.report(path, at.body(), fmt.Sprintf("%s is expected, this is %s", want, describe(at.node)), advice)
}

func describe(n ast.Node) string {
	raw, _ := scalar(n)
	switch n.(type) {
	case ast.MapNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.BoolNode:
		return "a truth value, " + quote(raw)
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number, " + quote(raw)
	default:
		return "text, " + quote(raw)
	}
}

// scalar returns the text of a single value as it was meant (quotes gone) and
// false for lists, mappings and nothing at all.
func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}

// tags returns the YAML name of a field and the words of its ingot tag.
func tags(f reflect.StructField) (name string, flags map[string]bool) {
	name, _, _ = strings.Cut(f.Tag.Get("yaml"), ",")
	flags = map[string]bool{}
	for flag := range strings.SplitSeq(f.Tag.Get("ingot"), ",") {
		flags[flag] = true
	}
	return name, flags
}

func fieldNames(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		if name, _ := tags(t.Field(i)); name != "" && name != "-" {
			names = append(names, name)
		}
	}
	return names
}

// quote shows a value from a file, masked and cut to a readable length.
func quote(s string) string {
	runes := []rune(mask(s))
	if len(runes) > 40 {
		runes = append(runes[:39], '…')
	}
	return fmt.Sprintf("%q", string(runes))
}
