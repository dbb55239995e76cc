package document

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
)

// Finding is one mistake in a file: where it is, what is wrong, what to do.
type Finding struct {
	File    string `json:"file"`
	Line    int    `json:"line"`   // from 1
	Column  int    `json:"column"` // from 1, in characters
	Message string `json:"message"`
	Advice  string `json:"advice"`
	Source  string `json:"-"` // the line, with secrets masked
	Path    []any  `json:"-"` // of the offending node, nil when there is none
}

// Finding makes a finding at the place that path leads to, see [Document.Find].
func (d *Document) Finding(path []any, missing bool, message, advice string) Finding {
	f := *d.at(d.Find(path, missing), message, advice)
	f.Path = path
	return f
}

// KeyFinding makes a finding at the key, or the list item, that path names.
func (d *Document) KeyFinding(path []any, message, advice string) Finding {
	f := *d.at(d.Key(path), message, advice)
	f.Path = path
	return f
}

// Sort orders findings by file and position; findings in the file named first
// come first.
func Sort(first string, findings []Finding) {
	slices.SortStableFunc(findings, func(a, b Finding) int {
		if a.File != b.File && (a.File == first || b.File == first) {
			if a.File == first {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column), cmp.Compare(a.Message, b.Message))
	})
}

// Render writes findings for people: position and message, the source line
// with a caret below the offending place, and the advice. The error is that of
// writing.
func Render(w io.Writer, findings []Finding) error {
	for _, f := range findings {
		if _, err := io.WriteString(w, f.String()); err != nil {
			return fmt.Errorf("write findings: %w", err)
		}
	}
	return nil
}

// String renders one finding as [Render] does.
func (f Finding) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: %s\n", printable(f.File), f.Line, f.Column, printable(f.Message))
	if strings.TrimSpace(f.Source) != "" {
		source, caret := excerpt(f.Source, f.Column)
		number := fmt.Sprint(f.Line)
		fmt.Fprintf(&b, "  %s | %s\n", number, source)
		fmt.Fprintf(&b, "  %s | %s^\n", strings.Repeat(" ", len(number)), caret)
	}
	if f.Advice != "" {
		fmt.Fprintf(&b, "  %s\n", printable(f.Advice))
	}
	return b.String()
}

// excerptWidth is how many characters of a long line are shown.
const excerptWidth = 100

// excerpt cuts a long line around column and returns it with the blanks that
// bring a caret below that column. Tabs stay tabs in both.
func excerpt(line string, column int) (text, blanks string) {
	runes := []rune(printable(line))
	at := min(max(column-1, 0), len(runes))
	if len(runes) > excerptWidth {
		from := min(max(at-excerptWidth/2, 0), len(runes)-excerptWidth)
		runes, at = runes[from:from+excerptWidth], at-from
	}
	before := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, string(runes[:at]))
	return string(runes), before
}

// printable keeps a file from steering the terminal it is shown on.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || unicode.IsPrint(r) && !hidden(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}
