package document

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml/token"
)

// MaxBytes is the size of the largest file that is read. The longest real file
// is some ten kilobytes, and the parser's time grows faster than its input.
const MaxBytes = 64 << 10

// MaxFindings is how many findings are made for one file.
const MaxFindings = 100

// maxDepth is how deeply a file may be nested; ingot.yaml needs 6, config.bu 7.
const maxDepth = 24

const byteOrderMark = "\ufeff"

// text checks that data is text that can be shown and parsed, and returns it
// without byte order mark and carriage returns.
func (d *Document) text(data []byte) (string, *Finding) {
	if len(data) > MaxBytes {
		return "", d.atf(Position{1, 1}, "keep large files beside it and refer to them by path",
			"the file is larger than %d KiB", MaxBytes>>10)
	}
	text := strings.TrimPrefix(string(data), byteOrderMark)
	text = strings.ReplaceAll(text, "\r\n", "\n")
	if bad := strings.IndexFunc(text, hidden); bad >= 0 {
		d.lines = strings.Split(maskFile(text), "\n")
		char, _ := utf8.DecodeRuneInString(text[bad:])
		return text, d.atf(positionAt(text, bad), "remove it: a file must mean what it shows",
			"the file holds a character that cannot be seen, %U", char)
	}
	if bad := strings.IndexFunc(text, unreadable); bad >= 0 {
		d.lines = strings.Split(maskFile(text), "\n")
		return text, d.at(positionAt(text, bad), "the file holds a byte that is not text",
			"save the file as UTF-8 without control characters")
	}
	return text, nil
}

// unreadable reports runes that no editor shows. An invalid byte is seen as
// U+FFFD, which has no place in such a file either.
func unreadable(r rune) bool {
	return r == utf8.RuneError || unicode.IsControl(r) && r != '\n' && r != '\t'
}

// hidden reports characters that are text and are not seen: of zero width, or
// such that they turn the direction of what follows ("Trojan Source",
// CVE-2021-42574), or end a line only for some readers. A byte order mark is
// one of them, anywhere but at the beginning.
func hidden(r rune) bool {
	if r == 0xfe0e || r == 0xfe0f {
		return false // text or picture: part of many a symbol in a comment
	}
	return unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Variation_Selector)
}

// positionAt turns a byte offset into a position.
func positionAt(text string, offset int) Position {
	before := []byte(text[:offset])
	line := bytes.Count(before, []byte("\n")) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	return Position{line, column}
}

// tokenLimits refuses what would make the parser slow or a file unclear,
// before the parser sees it.
func (d *Document) tokenLimits(tokens token.Tokens, shared bool) *Finding {
	var depth nesting
	refused := refusals()
	if shared {
		delete(refused, token.AnchorType)
		delete(refused, token.AliasType)
		delete(refused, token.MergeKeyType)
	}
	for _, t := range tokens {
		if refusal, ok := refused[t.Type]; ok {
			return d.at(position(t), refusal, "write the value out where it is used")
		}
		if depth.enter(t) > maxDepth {
			return d.atf(position(t), "bring the file into the shape of the examples", "nested more than %d levels deep", maxDepth)
		}
	}
	return nil
}

func refusals() map[token.Type]string {
	return map[token.Type]string{
		token.AnchorType:    "anchors (&name) are not used here",
		token.AliasType:     "aliases (*name) are not used here",
		token.MergeKeyType:  "merge keys (<<) are not used here",
		token.TagType:       "tags (!name) are not used here",
		token.DirectiveType: "directives (%NAME) are not used here",
	}
}

// nesting counts open brackets and indentation levels: an upper bound of how
// deep the parser will go.
type nesting struct {
	flow    int
	columns []int
}

func (n *nesting) enter(t *token.Token) int {
	switch t.Type {
	case token.MappingStartType, token.SequenceStartType:
		n.flow++
	case token.MappingEndType, token.SequenceEndType:
		n.flow--
	}
	if n.flow > 0 {
		return n.flow + len(n.columns)
	}
	column := t.Position.Column
	for len(n.columns) > 0 && n.columns[len(n.columns)-1] >= column {
		n.columns = n.columns[:len(n.columns)-1]
	}
	if t.Type == token.SequenceEntryType || t.Type == token.MappingKeyType || t.NextType() == token.MappingValueType {
		n.columns = append(n.columns, column)
	}
	return n.flow + len(n.columns)
}
