package config_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ingot/config"
)

// Broken files that are too large to keep: each ends in time, with one finding
// at its place.
func TestGeneratedFiles(t *testing.T) {
	t.Parallel()
	const megabyte = 1 << 20
	pad := func(unit string, size int) string { return strings.Repeat(unit, size/len(unit)) }
	deep := func(levels int) string {
		var b strings.Builder
		for i := range levels {
			fmt.Fprintf(&b, "%sa:\n", strings.Repeat(" ", i))
		}
		return b.String()
	}
	for name, c := range map[string]struct {
		text         string
		line, column int
		message      string
	}{
		"1 MB of brackets":        {pad("[", megabyte), 1, 1, "larger than 64 KiB"},
		"1 MB of nested mappings": {pad("{a: ", megabyte), 1, 1, "larger than 64 KiB"},
		"1 MB of indentation":     {deep(1500), 1, 1, "larger than 64 KiB"},
		"1 MB of closed brackets": {pad("[", megabyte/2) + pad("]", megabyte/2), 1, 1, "larger than 64 KiB"},
		"1 MB of dashes":          {pad("- ", megabyte), 1, 1, "larger than 64 KiB"},
		"1 MB of comments":        {pad("# nothing\n", megabyte), 1, 1, "larger than 64 KiB"},
		"1 MB in one text":        {"name: \"" + pad("a", megabyte) + "\"", 1, 1, "larger than 64 KiB"},
		"60 KB of brackets":       {pad("[", 60<<10), 1, 25, "nested more than 24 levels"},
		"60 KB of braces":         {pad("{a: ", 60<<10), 1, 97, "nested more than 24 levels"},
		"25 levels of blocks":     {deep(25), 25, 25, "nested more than 24 levels"},
		"25 levels of lists":      {pad("- ", 50) + "a", 1, 49, "nested more than 24 levels"},
		"deep behind a good line": {"name: a\nadmin: " + pad("[", 100), 2, 0, "nested more than 24 levels"},
		"60 KB of anchors":        {pad("&a ", 60<<10), 1, 1, "anchors (&name) are not used"},
		"billion laughs":          {laughs(), 1, 4, "anchors (&name) are not used"},
		"60 KB of aliases":        {"a: [" + pad("*a, ", 60<<10) + "]", 1, 5, "aliases (*name) are not used"},
		"60 KB of zero width":     {"name: " + pad("\u200b", 60<<10), 1, 7, "cannot be seen, U+200B"},
		"60 KB of byte marks":     {pad("\ufeff", 60<<10), 1, 1, "cannot be seen, U+FEFF"},
		"60 KB of NUL":            {pad("\x00", 60<<10), 1, 1, "not text"},
		"60 KB of documents":      {pad("---\na\n", 60<<10), 4, 1, "a second YAML document"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(project(t, c.text, nil), config.FileName)
			findings := loadInTime(t, file, time.Minute)
			if len(findings) != 1 {
				t.Fatalf("%d findings, want one", len(findings))
			}
			f := findings[0]
			if f.Line != c.line || c.column != 0 && f.Column != c.column || !strings.Contains(f.Message, c.message) || f.Advice == "" {
				t.Errorf("%d:%d: %s (%s), want %d:%d: …%s…", f.Line, f.Column, f.Message, f.Advice, c.line, c.column, c.message)
			}
			if text := f.String(); len(text) > 1000 {
				t.Errorf("the finding is %d bytes long", len(text))
			}
		})
	}
}

// laughs grows to 10^9 items where aliases are expanded.
func laughs() string {
	var b strings.Builder
	b.WriteString("a: &a0 [lol]\n")
	for i := 1; i < 10; i++ {
		fmt.Fprintf(&b, "b%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	return b.String()
}

// A custom layer's files are read with the same limits.
func TestGeneratedCustomFiles(t *testing.T) {
	t.Parallel()
	text := replace(t, exampleText(t), "layers:\n", "layers:\n  custom: [./app]\n")
	const good = "variant: fcos\n"
	for name, c := range map[string]struct{ file, content, message string }{
		"config.bu of 1 MB":         {"config.bu", strings.Repeat("{a: ", 1<<18), "larger than 64 KiB"},
		"config.bu too deep":        {"config.bu", strings.Repeat("[", 60<<10), "nested more than 24 levels"},
		"layer.yaml of 1 MB":        {"layer.yaml", strings.Repeat("[", 1<<20), "larger than 64 KiB"},
		"layer.yaml too deep":       {"layer.yaml", "ports: " + strings.Repeat("[", 60<<10), "nested more than 24 levels"},
		"checks.yaml of 1 MB":       {"checks.yaml", strings.Repeat("# x\n", 1<<18), "larger than 64 KiB"},
		"checks.yaml with a bomb":   {"checks.yaml", laughs(), "anchors (&name) are not used"},
		"layer.yaml is binary":      {"layer.yaml", strings.Repeat("\x00", 100), "not text"},
		"checks.yaml in UTF-16":     {"checks.yaml", "\xff\xfec\x00h\x00", "not text"},
		"layer.yaml, hidden letter": {"layer.yaml", "packages: [busy\u200bbox]\n", "cannot be seen, U+200B"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{"app/config.bu": good}
			files["app/"+c.file] = c.content
			file := filepath.Join(project(t, text, files), config.FileName)
			findings := loadInTime(t, file, time.Minute)
			if len(findings) != 1 || filepath.Base(findings[0].File) != c.file || !strings.Contains(findings[0].Message, c.message) {
				t.Errorf("findings %v, want …%s… in %s", findings, c.message, c.file)
			}
		})
	}
}

// Thousands of mistakes are cut to what somebody reads.
func TestManyMistakesAreCut(t *testing.T) {
	t.Parallel()
	text := replace(t, exampleText(t), "      - {port: 443, proto: tcp, why: HTTPS reverse proxy}\n",
		strings.Repeat("      - {port: 0}\n", 3000))
	findings := loadInTime(t, filepath.Join(project(t, text, nil), config.FileName), time.Minute)
	if len(findings) != 100 || !strings.Contains(findings[99].Message, "more mistakes") {
		t.Errorf("%d findings, the last: %v", len(findings), findings[len(findings)-1])
	}
}
