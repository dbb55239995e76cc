package document

import (
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	t.Parallel()
	names := []string{"name", "hostname", "base", "admin", "layers", "publicKey", "slotSize"}
	for got, want := range map[string]string{
		"nmae": "name", "hostnam": "hostname", "host_name": "hostname", "Admin": "admin", "layer": "layers",
		"public-key": "publicKey", "slot_size": "slotSize", "publikKey": "publicKey",
		"zzz": "", "": "", "x": "", "fail2ban": "", strings.Repeat("name", 1000): "",
	} {
		if n := Nearest(got, names); n != want {
			t.Errorf("%q suggests %q, want %q", got, n, want)
		}
	}
}

func TestMask(t *testing.T) {
	t.Parallel()
	const private = "kG6yFm8UkwJA/xpBuxYC5r8hCfBM6CuZs8en6K18zHY="
	const public = "c8rjWkBU97aluuFEv5nHSQpHqLiXjG6ooLm7EOC0pAE="
	for name, c := range map[string]struct{ text, gone, kept string }{
		"wireguard": {"key: " + private + " # mine", private, "# mine"},
		"public":    {"key: " + public, "no such", public},
		"pem":       {"a\n-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\nb: 1", "abc", "\nb: 1"},
		"cut pem":   {"a: 1\n  -----BEGIN PRIVATE KEY-----\n  abc\n", "abc", "a: 1\n"},
		"openssh":   {"k: b3BlbnNzaC1rZXktdjEAAAAABG5vbmU", "AAAABG5vbmU", "k: "},
		"age":       {"AGE-SECRET-KEY-1QQPQZXJ", "QQPQZXJ", ""},
		"password":  {"{user: a, password: hunter2, b: c}", "hunter2", "user: a"},
		"token":     {"api_key: \"abc def\"\nname: x", "abc", "name: x"},
	} {
		got := maskFile(c.text)
		if strings.Contains(got, c.gone) || !strings.Contains(got, c.kept) {
			t.Errorf("%s: %q", name, got)
		}
		if len([]rune(got)) != len([]rune(c.text)) || strings.Count(got, "\n") != strings.Count(c.text, "\n") {
			t.Errorf("%s: lines or columns moved: %q", name, got)
		}
	}
}

func TestExcerpt(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 300) + "X" + strings.Repeat("b", 300)
	for _, c := range []struct {
		line   string
		column int
		under  rune
	}{
		{"name: x", 7, 'x'}, {"\tx", 2, 'x'}, {"日本 x", 4, 'x'}, {long, 301, 'X'}, {"Y" + long, 1, 'Y'}, {long + "Z", 602, 'Z'},
	} {
		text, blanks := excerpt(c.line, c.column)
		at := len([]rune(blanks))
		if runes := []rune(text); at >= len(runes) || runes[at] != c.under || len(runes) > excerptWidth {
			t.Errorf("column %d of %q: %q, caret at %d", c.column, c.line, text, at)
		}
	}
	if text, blanks := excerpt("ab", 9); text != "ab" || len(blanks) != 2 {
		t.Errorf("beyond the end: %q %q", text, blanks)
	}
	if text, _ := excerpt("a\x1b[31m", 1); strings.Contains(text, "\x1b") {
		t.Errorf("an escape sequence passes: %q", text)
	}
}

// A finding must point at the very thing, whatever comes before it.
func TestFind(t *testing.T) {
	t.Parallel()
	doc, findings := Parse("x", []byte("é: ü\n\nlist: # c\n  - a: 1\n    b: \"x y\"\n\n  - {c: [u, v], d: }\ntext: |\n  l1\n\nlast: z\n"))
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	for _, c := range []struct {
		path    []any
		missing bool
		want    Position
	}{
		{[]any{"é"}, false, Position{1, 4}},
		{[]any{"list", 0, "b"}, false, Position{5, 8}},
		{[]any{"list", 0, "zz"}, true, Position{4, 5}},
		{[]any{"list", 1, "c", 1}, false, Position{7, 13}},
		{[]any{"list", 1, "d"}, false, Position{7, 17}},
		{[]any{"list", "nothing"}, true, Position{3, 1}},
		{[]any{"text"}, false, Position{8, 7}},
		{[]any{"last"}, false, Position{11, 7}},
		{[]any{"absent"}, true, Position{1, 1}},
	} {
		if got := doc.Find(c.path, c.missing); got != c.want {
			t.Errorf("%v is at %v, want %v", c.path, got, c.want)
		}
	}
}
