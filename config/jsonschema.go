package config

import (
	"bytes"
	"embed"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"ingot/layers/custom"
)

// The schema is generated from the option types, with their doc comments as
// descriptions, by "go test ./config -update".
//
//go:embed *.schema.json
var schemas embed.FS

// SchemaJSON is the JSON Schema (draft 7, which editors know best) of a file:
// ingot.yaml, or layer.yaml and checks.yaml of a custom layer. It says what fits
// by itself; what depends on other options, and what the keys and addresses
// mean, only [Load] knows. It is nil for any other name.
func SchemaJSON(file string) []byte {
	text, err := schemas.ReadFile(schemaName(file))
	if err != nil {
		return nil
	}
	return text
}

// SchemaFiles are the names that [SchemaJSON] knows.
func SchemaFiles() []string { return []string{FileName, custom.ManifestName, custom.ChecksName} }

func schemaName(file string) string { return strings.TrimSuffix(file, ".yaml") + ".schema.json" }

// schema is one node of it. Properties keep the order of the struct's fields.
type schema struct {
	Schema      string             `json:"$schema,omitempty"`
	Ref         string             `json:"$ref,omitempty"`
	Title       string             `json:"title,omitempty"`
	Description string             `json:"description,omitempty"`
	Type        any                `json:"type,omitempty"` // a name or a list of names
	Properties  properties         `json:"properties,omitempty"`
	Required    []string           `json:"required,omitempty"`
	Additional  any                `json:"additionalProperties,omitempty"` // false or a schema
	Items       *schema            `json:"items,omitempty"`
	AnyOf       []*schema          `json:"anyOf,omitempty"`
	Enum        []string           `json:"enum,omitempty"`
	Pattern     string             `json:"pattern,omitempty"`
	MaxLength   int                `json:"maxLength,omitempty"`
	MinItems    int                `json:"minItems,omitempty"`
	Minimum     *int               `json:"minimum,omitempty"`
	Maximum     *int               `json:"maximum,omitempty"`
	Default     any                `json:"default,omitempty"`
	Of          string             `json:"x-ingot-of,omitempty"` // ofImage, ofInstance, ofVerdict or ofDownload
	Definitions map[string]*schema `json:"definitions,omitempty"`
}

type property struct {
	name string
	schema
}

type properties []property

// MarshalJSON implements json.Marshaler.
func (p properties) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, x := range p {
		if i > 0 {
			b.WriteByte(',')
		}
		value, err := encode(x.schema)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%q:%s", x.name, value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *properties) UnmarshalJSON(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if _, err := d.Token(); err != nil { // {
		return err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		x := property{name: fmt.Sprint(name)}
		if err := d.Decode(&x.schema); err != nil {
			return err
		}
		*p = append(*p, x)
	}
	return nil
}

// encode is json.Marshal without escapes for HTML.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSpace(b.Bytes()), err
}

// commentsOf gives the doc comments of a type, or of its field.
type commentsOf func(t reflect.Type, field string) string

// What an option is of.
const (
	ofImage    = "image"
	ofInstance = "instance"
	ofVerdict  = "verdict"
	ofDownload = "download"
)

// newSchema makes the schema of a file.
func newSchema(file string, comments commentsOf) *schema {
	g := generator{comments: comments}
	t, prefix := reflect.TypeFor[ingotFile](), ""
	if other := custom.Types()[file]; other != nil {
		t, prefix = other, file
	}
	root := g.structure(t, prefix, ofImage)
	root.Schema, root.Title = "http://json-schema.org/draft-07/schema#", file
	if g.layers != nil {
		root.Description = "A server in one file: its options, for editors; generated from Ingot's option types."
		root.Definitions = map[string]*schema{"layers": g.layers}
	}
	return root
}

type generator struct {
	comments commentsOf
	layers   *schema // of the struct with the flag "names"
}

// node makes the schema of a value of type t at path.
func (g *generator) node(t reflect.Type, path, of string) *schema {
	pointer := t.Kind() == reflect.Pointer
	if pointer {
		t = t.Elem()
	}
	var s *schema
	switch {
	case reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		s = &schema{Type: []string{"string", "number", "boolean"}}
		if hints[path].pattern != "" {
			s.Type = "string"
		}
	case t.Kind() == reflect.Struct:
		s = g.structure(t, path, of)
		if len(s.Required) == 0 {
			s.Type = []string{"object", "null"}
		}
	case t.Kind() == reflect.Slice:
		s = &schema{Type: []string{"array", "null"}, Items: g.node(t.Elem(), path+"[]", of)}
	case t.Kind() == reflect.Map:
		s = &schema{Type: []string{"object", "null"}, Additional: g.node(t.Elem(), path+".*", of)}
	case t.Kind() == reflect.Int:
		s = &schema{Type: "integer"}
	case t.Kind() == reflect.Bool:
		s = &schema{Type: "boolean", Default: false}
	case t.Kind() == reflect.String:
		s = &schema{Type: "string"}
	default:
		panic("config: no schema for " + t.String())
	}
	hints[path].apply(s)
	return s
}

func (g *generator) structure(t reflect.Type, path, of string) *schema {
	s := &schema{Type: "object", Additional: false, Description: g.comments(t, "")}
	for i := range t.NumField() {
		field := t.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		flags := "," + field.Tag.Get("ingot") + ","
		here := strings.TrimPrefix(path+"."+name, ".")
		own := of
		for _, other := range []string{ofInstance, ofVerdict, ofDownload} {
			if strings.Contains(flags, ","+other+",") {
				own = other
			}
		}
		x := g.node(field.Type, here, own)
		if strings.Contains(flags, ",names,") {
			x = g.named(x)
		}
		if comment := g.comments(t, field.Name); comment != "" {
			x.Description = comment
		}
		x.Of = own
		if strings.Contains(flags, ",required,") {
			s.Required = append(s.Required, name)
		}
		s.Properties = append(s.Properties, property{name, *x})
	}
	return s
}

// named lets a mapping also be a list of bare names, or of mappings.
func (g *generator) named(mapping *schema) *schema {
	var names []string
	for _, p := range mapping.Properties {
		names = append(names, p.name)
	}
	g.layers = mapping
	ref := &schema{Ref: "#/definitions/layers"}
	return &schema{AnyOf: []*schema{ref, {Type: "array", Items: &schema{AnyOf: []*schema{{Enum: names}, ref}}}}}
}
