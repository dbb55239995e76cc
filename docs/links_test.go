package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestLinks follows every link of the README and of these pages that leads to
// a file of the repository, and to a heading of it.
func TestLinks(t *testing.T) {
	t.Parallel()
	pages := []string{"../README.md"}
	for _, pattern := range []string{"*.md", "decisions/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	followed := 0
	for _, page := range pages {
		for _, m := range link.FindAllStringSubmatch(read(t, page), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			followed++
			file, heading, _ := strings.Cut(m[1], "#")
			target := page
			if file != "" {
				target = filepath.Join(filepath.Dir(page), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
			} else if heading != "" && !strings.Contains(anchors(read(t, target)), "\n"+heading+"\n") {
				t.Errorf("%s links to %s: there is no such heading", page, m[1])
			}
		}
	}
	if followed == 0 {
		t.Error("no link was found")
	}
}

// anchors are the headings of a page as its links name them, a line each.
func anchors(page string) string {
	var b strings.Builder
	b.WriteByte('\n')
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(page, -1) {
		name := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(m[1]), "")
		b.WriteString(strings.ReplaceAll(name, " ", "-") + "\n")
	}
	return b.String()
}
