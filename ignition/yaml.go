package ignition

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// marshal writes v as YAML, indented by two spaces.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("write Butane: %w", err)
	}
	if err := e.Close(); err != nil {
		return nil, fmt.Errorf("write Butane: %w", err)
	}
	return b.Bytes(), nil
}

// octal is a file mode as people write it.
type octal int

// MarshalYAML implements [yaml.Marshaler].
func (m octal) MarshalYAML() (any, error) {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: fmt.Sprintf("%#o", int(m))}, nil
}

// text is the content of a file. What would not survive YAML's block style as
// the library writes it is quoted.
type text string

// MarshalYAML implements [yaml.Marshaler].
func (t text) MarshalYAML() (any, error) {
	s := string(t)
	if !utf8.ValidString(s) {
		return s, nil // becomes !!binary
	}
	style := yaml.DoubleQuotedStyle
	if readable(s) {
		style = yaml.LiteralStyle
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s, Style: style}, nil
}

// readable reports whole lines of printable text that begin at the margin.
func readable(s string) bool {
	first, _ := utf8.DecodeRuneInString(s)
	return strings.HasSuffix(s, "\n") && !unicode.IsSpace(first) &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' && r != '\t' })
}
